//! Statements that went past pgwarden: what pg_stat_statements has met, by pgwarden's own fingerprint.

use crate::stage::{Administrator, Failure};
use pgwarden_shadow::verdict::{Surroundings, Unseen, is_same};
use pgwarden_sql::{Normaliser, StringSyntax, fingerprint};
use serde::Deserialize;

/// Where pg_stat_statements is, if it is there.
const SCHEMA: &str = "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
    WHERE e.extname = 'pg_stat_statements'";

/// Statements of roles that policies bind. What pgwarden itself runs as one of them (replays, the plans that staging looks at)
/// bears a mark.
const STATEMENTS: &str = "SELECT s.query AS text, r.rolname AS role, s.calls AS calls \
    FROM {schema}.pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid \
    WHERE d.datname = current_database() AND NOT r.rolsuper AND NOT r.rolbypassrls AND s.queryid IS NOT NULL \
    AND s.query IS NOT NULL AND s.toplevel AND position('/* pgwarden ' IN s.query) = 0";

/// How many may not be read: whoever is not a member of pg_read_all_stats sees the texts of its own alone.
const HIDDEN: &str = "SELECT count(*) FROM {schema}.pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid \
    WHERE d.datname = current_database() AND s.queryid IS NULL";

/// Tables with owners whom no policy binds, now or when what is staged is in force.
const OWNERS: &str = "SELECT n.nspname || '.' || c.relname AS relation, r.rolname AS role FROM pg_class c \
    JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_roles r ON pg_has_role(r.oid, c.relowner, 'USAGE') \
    WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND NOT r.rolsuper AND NOT c.relforcerowsecurity";
/// The same, where something is staged.
const NOT_FORCED: &str = " AND NOT EXISTS (SELECT FROM pgwarden.staged s WHERE s.relation::oid = c.oid \
    AND (s.change ->> 'force')::boolean)";

/// What pg_stat_statements shows of a statement.
#[derive(Debug, Deserialize)]
struct Met {
    text: String,
    role: String,
    calls: u64,
}

/// Somebody whom no policy of a table binds.
#[derive(Debug, Deserialize)]
struct Owner {
    relation: String,
    role: String,
}

/// Adds the statements that the server has met, or says why they are not known.
///
/// # Errors
/// As [`Administrator::read`], but for what the server refuses.
pub(super) async fn look(session: &mut Administrator, known: &mut Surroundings) -> Result<(), Failure> {
    let database = session.database.clone();
    let schema = session.text(SCHEMA).await?;
    let unknown = "statements that went past pgwarden are not known";
    if schema.is_empty() {
        known.caveats.push(format!("pg_stat_statements is not installed in {database}: {unknown}"));
        return Ok(());
    }
    match met(session, &schema, known).await {
        // Not loaded, of an earlier version, or not for this login.
        Err(Failure::Server(error)) => {
            known.caveats.push(format!(
                "pg_stat_statements cannot be asked in {database}: {} ({}): {unknown}",
                error.message, error.sqlstate
            ));
            Ok(())
        }
        done => done,
    }
}

async fn met(session: &mut Administrator, schema: &str, known: &mut Surroundings) -> Result<(), Failure> {
    let database = session.database.clone();
    let hidden = session.text(&HIDDEN.replace("{schema}", schema)).await?;
    if hidden != "0" {
        known.caveats.push(format!(
            "{hidden} statements of pg_stat_statements in {database} may not be read: GRANT pg_read_all_stats to who asks"
        ));
    }
    let has_staged = !session.text("SELECT to_regclass('pgwarden.staged')").await?.is_empty();
    let owners = if has_staged { format!("{OWNERS}{NOT_FORCED}") } else { OWNERS.to_owned() };
    let owners: Vec<Owner> = session.objects(&owners).await?;
    let question = STATEMENTS.replace("{schema}", schema);
    let mut unreadable = 0_u64;
    for met in session.objects::<Met>(&question).await? {
        match statement(&database, met) {
            Some(mut one) => {
                one.tables.retain(|table| is_bound(table, &one.role, &owners));
                known.server_statements.extend(Some(one).filter(|one| !one.tables.is_empty()));
            }
            None => unreadable += 1,
        }
    }
    if unreadable > 0 {
        known.caveats.push(format!("{unreadable} statements of pg_stat_statements could not be read"));
    }
    Ok(())
}

/// Whether policies of a table can bind a role: it has rows of the application's, and the role is not its owner.
fn is_bound(table: &str, role: &str, owners: &[Owner]) -> bool {
    let is_catalog = ["pg_catalog.", "information_schema.", "pgwarden.", "pg_"]
        .iter()
        .any(|prefix| table.starts_with(prefix));
    let is_owner = owners.iter().any(|owner| owner.role == role && is_same(&owner.relation, table));
    !is_catalog && !is_owner
}

/// A statement with the tables that it names; `None` for one that cannot be read.
fn statement(database: &str, met: Met) -> Option<Unseen> {
    let mut normaliser = Normaliser::default();
    let fingerprint = fingerprint(normaliser.read(met.text.as_bytes(), StringSyntax::Standard)?);
    let uses = pgwarden_sql::relation_uses(&met.text).ok()?;
    let tables = uses.read.iter().chain(&uses.written).map(ToString::to_string).collect();
    Some(Unseen {
        database: database.to_owned(),
        fingerprint,
        text: normaliser.text()?,
        role: met.role,
        calls: met.calls,
        tables,
        accepted: None,
    })
}
