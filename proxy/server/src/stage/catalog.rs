//! What the catalog says about tables and their policies.

use super::administrator::Administrator;
use super::failure::Failure;
use pgwarden_shadow::policy::{Change, Table, literal, qualified};
use serde::Deserialize;

/// Whether a row of `pg_policy` was made by staging.
const OURS: &str = "(p.polname = 'pgwarden_open' OR (p.polname ^@ 'pgwarden_' AND EXISTS (SELECT FROM pg_roles s \
     WHERE s.oid = ANY (p.polroles) AND s.rolname ~ '^pgwarden_shadow(_[0-9]+)?$')))";

/// A hash of what the policies say that were made by staging, of the table `c`.
const MADE: &str = "(SELECT md5(coalesce(string_agg(concat_ws('|', p.polname, p.polcmd, p.polpermissive, \
     (SELECT string_agg(r.rolname, ',' ORDER BY r.rolname) FROM pg_roles r WHERE r.oid = ANY (p.polroles)), \
     pg_get_expr(p.polqual, p.polrelid), '/', pg_get_expr(p.polwithcheck, p.polrelid)), E'\\n' ORDER BY p.polname), '')) \
     FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname <> 'pgwarden_open' AND ";

/// The statement that remembers the hash of what was just made for a table.
pub(crate) fn remember(oid: u32) -> String {
    format!(
        "UPDATE pgwarden.staged s SET made = (SELECT {MADE}{OURS}) FROM pg_class c WHERE c.oid = {oid}) \
         WHERE s.relation::oid = {oid}"
    )
}

/// A table with what it has today.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Relation {
    /// Its number.
    pub(crate) oid: u32,
    /// Its schema.
    pub(crate) schema: String,
    /// Its name.
    pub(crate) name: String,
    /// Its owner.
    pub(crate) owner: String,
    /// What it has today, without what was staged.
    pub(crate) today: Table,
    /// The names of the policies that were staged.
    pub(crate) staged: Vec<String>,
    /// A hash of what these say.
    pub(crate) made: String,
}

impl Relation {
    /// Its name as SQL has it.
    pub(crate) fn sql(&self) -> String {
        qualified(&self.schema, &self.name)
    }

    /// Its name for people.
    pub(crate) fn label(&self) -> String {
        format!("{}.{}", self.schema, self.name)
    }
}

/// A row of `pgwarden.staged`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct StagedTable {
    /// The table's number.
    pub(crate) oid: u32,
    /// Its name for people.
    pub(crate) label: String,
    /// `staged`, `promoted` or `refused`.
    pub(crate) state: String,
    /// Where it comes from.
    pub(crate) source: String,
    /// Why it could not be staged.
    pub(crate) reason: Option<String>,
    /// What is pending.
    pub(crate) change: Change,
    /// What the table had when it was staged, or promoted.
    pub(crate) today: Table,
    /// The statements that staged it.
    pub(crate) sql: String,
    /// The hash of what was made; empty where an earlier version has staged it.
    pub(crate) made: String,
    /// When.
    pub(crate) at: String,
    /// By whom.
    pub(crate) by_user: String,
}

/// The tables with these numbers, in their order.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn relations(session: &mut Administrator, oids: &[u32]) -> Result<Vec<Relation>, Failure> {
    let policies = format!(
        "SELECT coalesce(json_agg(json_build_object('name', p.polname, \
         'shape', CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END, \
         'command', CASE p.polcmd WHEN '*' THEN 'all' WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' \
         WHEN 'w' THEN 'update' ELSE 'delete' END, \
         'roles', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r \
         WHERE r.oid = ANY (p.polroles)), 'using', pg_get_expr(p.polqual, p.polrelid), \
         'check', pg_get_expr(p.polwithcheck, p.polrelid), 'comment', obj_description(p.oid, 'pg_policy')) \
         ORDER BY p.polname), '[]') FROM pg_policy p WHERE p.polrelid = c.oid AND NOT {OURS}"
    );
    let query = format!(
        "SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, \
         pg_get_userbyid(c.relowner) AS owner, json_build_object('enabled', c.relrowsecurity AND NOT EXISTS \
         (SELECT FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'pgwarden_open'), \
         'forced', c.relforcerowsecurity, 'policies', ({policies})) AS today, \
         (SELECT coalesce(json_agg(p.polname ORDER BY p.polname), '[]') FROM pg_policy p \
         WHERE p.polrelid = c.oid AND {OURS}) AS staged, {MADE}{OURS}) AS made \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid IN ({}) AND c.relkind IN ('r', 'p') ORDER BY c.oid",
        numbers(oids)
    );
    session.objects(&query).await
}

/// A list for IN; never empty.
pub(crate) fn numbers(oids: &[u32]) -> String {
    let numbers: Vec<String> =
        std::iter::once(0).chain(oids.iter().copied()).map(|oid| oid.to_string()).collect();
    numbers.join(", ")
}

/// What has been staged in this database.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn staged(session: &mut Administrator) -> Result<Vec<StagedTable>, Failure> {
    if session.text("SELECT to_regclass('pgwarden.staged')").await?.is_empty() {
        return Ok(Vec::new());
    }
    let query = "SELECT s.relation::oid::bigint AS oid, coalesce(n.nspname || '.' || c.relname, \
         'table ' || s.relation::oid || ', which is gone') AS label, \
         s.state, s.source, s.reason, CASE s.change WHEN '{}' THEN '{\"dropped\": [], \"created\": []}' \
         ELSE s.change END AS change, CASE s.today WHEN '{}' \
         THEN '{\"enabled\": false, \"forced\": false, \"policies\": []}' ELSE s.today END AS today, s.sql, coalesce(to_jsonb(s) ->> 'made', '') AS made, \
         to_char(s.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at, s.by_user \
         FROM pgwarden.staged s LEFT JOIN pg_class c ON c.oid = s.relation \
         LEFT JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 2";
    session.objects(query).await
}

/// The table of that name; `schema.table`, or one that the login's search path finds.
///
/// # Errors
/// [`Failure::Caller`] when there is none.
pub(crate) async fn find(
    session: &mut Administrator,
    name: &str,
    path: Option<&str>,
) -> Result<u32, Failure> {
    let path = path.map_or_else(|| session.search_path.clone(), str::to_owned);
    let query = format!(
        "BEGIN READ ONLY; SET LOCAL search_path = {}; SELECT c.oid FROM pg_catalog.pg_class c \
         WHERE c.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({}) \
         AND c.relkind OPERATOR(pg_catalog.=) ANY (ARRAY['r', 'p']::\"char\"[]); COMMIT",
        if path.is_empty() { "''" } else { &path },
        literal(name)
    );
    let oid = session.text(&query);
    let oid = match oid.await {
        Ok(oid) => oid,
        // A name that cannot be read as one.
        Err(Failure::Server(_)) => {
            session.read("ROLLBACK").await?;
            String::new()
        }
        Err(failure) => return Err(failure),
    };
    oid.parse().map_err(|_| {
        Failure::caller(
            format!("there is no table {name}"),
            "Write schema.table, in quotes where SQL needs them.",
        )
    })
}
