//! What staging needs in a database: the schema `pgwarden`, and the functions that pending policies call.

use super::administrator::{Administrator, print};
use super::failure::Failure;
use pgwarden_shadow::policy::{Helper, identifier, literal};
use std::collections::BTreeMap;

/// The schema: the journal, what is staged, the shadow roles, the functions that were made.
const SCHEMA: &str = include_str!("schema.sql");

/// The statements that make the schema; none where it is there.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn schema(session: &mut Administrator) -> Result<Vec<String>, Failure> {
    let tables = session.text(
        "SELECT count(to_regclass(t)) + (SELECT count(*) FROM pg_attribute \
         WHERE attrelid = to_regclass('pgwarden.staged') AND attname = 'made') \
         FROM unnest(ARRAY['pgwarden.journal', 'pgwarden.shadow_role', 'pgwarden.staged', 'pgwarden.helper']) t",
    );
    let statements = SCHEMA.split(';').map(str::trim).filter(|statement| !statement.is_empty());
    Ok(if tables.await? == "5" { Vec::new() } else { statements.map(str::to_owned).collect() })
}

/// Every function with its definition.
const FUNCTIONS: &str = "SELECT p.oid, p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)) FROM pg_proc p \
     JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prokind IN ('f', 'p') AND n.nspname !~ '^pg_' \
     AND n.nspname <> 'information_schema'";

/// Makes the functions of a migration, all of them or none. A function that is there stays as it is: the application may
/// call it.
///
/// # Errors
/// [`Failure::Refused`] when the migration would change one.
pub(crate) async fn helpers(session: &mut Administrator, helpers: &[Helper]) -> Result<Vec<String>, Failure> {
    if helpers.is_empty() {
        return Ok(Vec::new());
    }
    let statements: Vec<String> =
        helpers.iter().flat_map(|helper| statements(helper, &session.search_path)).collect();
    if session.only_prints() {
        print(&statements);
        return Ok(Vec::new());
    }
    let done = run(session, &statements).await;
    if matches!(done, Err(Failure::Server(_) | Failure::Refused(_))) {
        session.read("ROLLBACK").await?;
    }
    done
}

fn statements(helper: &Helper, path: &str) -> Vec<String> {
    let path = helper.search_path.as_deref().unwrap_or(path);
    let path = if path.is_empty() { "''" } else { path };
    let mut statements = vec![format!("SET LOCAL search_path = {path}")];
    if let Some(role) = &helper.role {
        statements.push(format!("SET LOCAL ROLE {}", identifier(role)));
    }
    statements.push(helper.sql.clone());
    if helper.role.is_some() {
        statements.push("SET LOCAL ROLE NONE".to_owned());
    }
    statements.push("SET LOCAL search_path = pg_catalog, pg_temp".to_owned());
    statements
}

async fn run(session: &mut Administrator, statements: &[String]) -> Result<Vec<String>, Failure> {
    session.read("BEGIN").await?;
    let before = functions(session).await?;
    session.read(&statements.join(";\n")).await?;
    let after = functions(session).await?;
    let changed: Vec<&str> = after
        .iter()
        .filter(|(oid, (_, hash))| before.get(*oid).is_some_and(|(_, other)| other != hash))
        .map(|(_, (signature, _))| signature.as_str())
        .collect();
    if !changed.is_empty() {
        return Err(Failure::refused(
            format!("the migration changes functions that exist: {}", changed.join(", ")),
            "The application may call them as they are.",
            "Put what differs in place yourself, or give the migration's functions other names.",
        ));
    }
    let made: Vec<String> = after
        .into_iter()
        .filter(|(oid, _)| !before.contains_key(oid))
        .map(|(_, (signature, _))| signature)
        .collect();
    for signature in &made {
        let row =
            format!("INSERT INTO pgwarden.helper VALUES ({}) ON CONFLICT DO NOTHING", literal(signature));
        session.read(&row).await?;
    }
    session.read("COMMIT").await?;
    Ok(made)
}

async fn functions(session: &mut Administrator) -> Result<BTreeMap<String, (String, String)>, Failure> {
    let rows = session.read(FUNCTIONS).await?;
    let entry = |row: Vec<Option<String>>| match row.as_slice() {
        [Some(oid), Some(signature), Some(hash)] => Some((oid.clone(), (signature.clone(), hash.clone()))),
        _ => None,
    };
    Ok(rows.into_iter().filter_map(entry).collect())
}
