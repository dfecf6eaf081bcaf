//! What the login may do by itself, and what it may use.

use super::ask::Asked;
use super::report::{Finding, Severity};
use crate::upstream::UpstreamError;

/// A question whose rows are findings: object, message, SQL.
struct Question {
    severity: Severity,
    kind: &'static str,
    sql: &'static str,
}

/// Who the login is, and whom it can become.
const LOGIN: [Question; 4] = [
    Question {
        severity: Severity::Serious,
        kind: "login",
        sql: "SELECT quote_ident(rolname), 'is ' || concat_ws(' and ', CASE WHEN rolsuper THEN 'a superuser' END, \
              CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END) \
              || ': policies do not bind it, or it can see to that', \
              format('ALTER ROLE %I NOSUPERUSER NOBYPASSRLS NOCREATEROLE', rolname) \
              FROM pg_roles WHERE rolname = current_user AND (rolsuper OR rolbypassrls OR rolcreaterole)",
    },
    Question {
        severity: Severity::Serious,
        kind: "table",
        sql: "SELECT c.oid::regclass::text, 'belongs to ' || quote_ident(pg_get_userbyid(relowner)) \
              || ', which the login is or can become: its policies do not bind the owner', \
              format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', c.oid::regclass) FROM pg_class c \
              WHERE relrowsecurity AND NOT relforcerowsecurity AND relkind IN ('r', 'p') \
              AND pg_has_role(current_user, relowner, 'MEMBER') \
              AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1",
    },
    Question {
        severity: Severity::Warning,
        kind: "table",
        sql: "SELECT c.oid::regclass::text, 'belongs to ' || quote_ident(pg_get_userbyid(relowner)) \
              || ', which the login is or can become: it can drop the policies', '' FROM pg_class c \
              WHERE relrowsecurity AND relforcerowsecurity AND relkind IN ('r', 'p') \
              AND pg_has_role(current_user, relowner, 'MEMBER') \
              AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1",
    },
    Question {
        severity: Severity::Serious,
        kind: "role",
        sql: "SELECT quote_ident(rolname), 'the login can become it, and it is ' || concat_ws(' and ', \
              CASE WHEN rolsuper THEN 'a superuser' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END, \
              CASE WHEN rolcreaterole THEN 'CREATEROLE' END, \
              CASE WHEN rolname ~ '^pg_' THEN 'as good as the server''s own account' END), \
              format('REVOKE %I FROM %I', rolname, current_user) FROM pg_roles r \
              WHERE rolname <> current_user AND pg_has_role(current_user, r.oid, 'MEMBER') \
              AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolname IN \
              ('pg_execute_server_program', 'pg_write_server_files', 'pg_read_server_files')) \
              AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) ORDER BY 1",
    },
];

/// Who has a right, of those whose rights the login has; `granted` and `holder` are the columns of the list.
macro_rules! right {
    ($kind:literal, $message:literal, $revoked:literal, $object:literal, $from:literal, $right:literal) => {
        Question {
            severity: Severity::Warning,
            kind: $kind,
            sql: concat!(
                "SELECT ",
                $object,
                ", '",
                $message,
                "', format('REVOKE ",
                $revoked,
                " %s FROM %s', ",
                $object,
                ", CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END) FROM ",
                $from,
                " WHERE privilege_type = '",
                $right,
                "' AND grantee <> owner",
                " AND (grantee = 0 OR pg_has_role(current_user, grantee, 'MEMBER')) ORDER BY 1, 3"
            ),
        }
    };
}

/// What helps somebody who can send SQL.
const RIGHTS: [Question; 5] = [
    right!(
        "database",
        "may hold temporary objects of the login: functions, types and views of its own",
        "TEMPORARY ON DATABASE",
        "quote_ident(datname)",
        "(SELECT datname, datdba AS owner, (aclexplode(coalesce(datacl, acldefault('d', datdba)))).* \
         FROM pg_database WHERE datname = current_database()) x",
        "TEMPORARY"
    ),
    right!(
        "schema",
        "may hold objects that the login makes",
        "CREATE ON SCHEMA",
        "quote_ident(nspname)",
        "(SELECT nspname, nspowner AS owner, (aclexplode(coalesce(nspacl, acldefault('n', nspowner)))).* \
         FROM pg_namespace WHERE nspname !~ '^pg_') x",
        "CREATE"
    ),
    right!(
        "database",
        "may hold schemas that the login makes",
        "CREATE ON DATABASE",
        "quote_ident(datname)",
        "(SELECT datname, datdba AS owner, (aclexplode(coalesce(datacl, acldefault('d', datdba)))).* \
         FROM pg_database WHERE datname = current_database()) x",
        "CREATE"
    ),
    right!(
        "language",
        "lets the login write code, with DO or a function",
        "USAGE ON LANGUAGE",
        "quote_ident(lanname)",
        "(SELECT lanname, lanowner AS owner, (aclexplode(coalesce(lanacl, acldefault('l', lanowner)))).* \
         FROM pg_language WHERE lanname NOT IN ('internal', 'c')) x",
        "USAGE"
    ),
    right!(
        "function",
        "changes any setting from within any statement; pgwarden does without it where nobody may call it",
        "EXECUTE ON FUNCTION",
        "'pg_catalog.set_config(text, text, boolean)'",
        "(SELECT proowner AS owner, (aclexplode(coalesce(proacl, acldefault('f', proowner)))).* \
         FROM pg_proc WHERE oid = 'pg_catalog.set_config(text, text, boolean)'::regprocedure) x",
        "EXECUTE"
    ),
];

/// What is wrong with the login itself.
///
/// # Errors
/// As [`Asked::rows`].
pub(super) async fn of_login(asked: &mut Asked) -> Result<Vec<Finding>, UpstreamError> {
    each(asked, &LOGIN).await
}

/// What the login may use.
///
/// # Errors
/// As [`Asked::rows`].
pub(super) async fn look(asked: &mut Asked) -> Result<Vec<Finding>, UpstreamError> {
    each(asked, &RIGHTS).await
}

async fn each(asked: &mut Asked, questions: &[Question]) -> Result<Vec<Finding>, UpstreamError> {
    let mut findings = Vec::new();
    for Question { severity, kind, sql } in questions {
        for row in asked.rows(sql).await? {
            let mut values = row.into_iter();
            let mut next = || values.next().unwrap_or_default();
            let (object, message, sql) = (next(), next(), Some(next()).filter(|sql| !sql.is_empty()));
            findings.push(Finding { severity: *severity, kind, object, message, sql });
        }
    }
    Ok(findings)
}
