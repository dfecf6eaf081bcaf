//! What the server itself says: its steps, its tables, and the statements that it has met.

use super::facts;
use super::problem::ReportError;
use crate::check::Asked;
use crate::loaded::{self, Purpose};
use crate::meters::Meters;
use crate::upstream::{Credentials, Seals, Server, UpstreamError};
use pgwarden_audit::Staging;
use pgwarden_config::Settings;
use pgwarden_shadow::verdict::{Fact, Ledger, Moment, Surroundings, Unseen};
use pgwarden_sql::{Normaliser, StringSyntax, fingerprint};
use serde::Deserialize;
use std::io;
use std::sync::Arc;

/// The journal, as [`Staging`] is written.
const JOURNAL: &str = "SELECT json_build_object('id', id, 'step', step, 'database', current_database(), 'by', by_user, \
    'at', to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), 'tables', tables, 'reason', reason, \
    'detail', detail) FROM pgwarden.journal WHERE step IN ('stage', 'unstage', 'promote', 'demote', 'ignore', 'resolve') \
    ORDER BY id";

/// Tables with a policy of pgwarden's.
const STAGED: &str = "SELECT DISTINCT n.nspname || '.' || c.relname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid \
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.polname LIKE 'pgwarden\\_%'";

/// Where pg_stat_statements is, if it is there and loaded.
const STATEMENTS_SCHEMA: &str = "SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace \
    WHERE e.extname = 'pg_stat_statements' \
    AND 'pg_stat_statements' = ANY (regexp_split_to_array(current_setting('shared_preload_libraries'), '\\s*,\\s*'))";

/// Statements of roles that policies bind.
const STATEMENTS: &str = "SELECT json_build_object('text', s.query, 'role', r.rolname, 'calls', s.calls) \
    FROM {schema}.pg_stat_statements s JOIN pg_roles r ON r.oid = s.userid JOIN pg_database d ON d.oid = s.dbid \
    WHERE d.datname = current_database() AND NOT r.rolsuper AND NOT r.rolbypassrls AND s.query IS NOT NULL AND s.toplevel";

/// What pg_stat_statements shows of a statement.
#[derive(Debug, Deserialize)]
struct Met {
    text: String,
    role: String,
    calls: u64,
}

/// A connection to the server that is asked.
#[derive(Debug)]
pub(super) struct Witness {
    asked: Asked,
    /// The database.
    pub(super) database: String,
}

impl Witness {
    /// Connects as the settings say.
    ///
    /// # Errors
    /// [`ReportError`] when that is not possible.
    pub(super) async fn open(settings: &Settings) -> Result<Self, ReportError> {
        let loaded = loaded::load(settings, Purpose::Check).map_err(|mistakes| {
            let lines: Vec<String> =
                mistakes.iter().map(|mistake| crate::causes::WithCauses(mistake).to_string()).collect();
            ReportError::System(io::Error::other(lines.join("\n")))
        })?;
        let user = settings.upstream.user.clone().ok_or_else(|| ReportError::Argument {
            name: "--url",
            problem: "names no user; expected postgres://user:password@host:port/database".to_owned(),
        })?;
        let server =
            Server::new(&settings.upstream, loaded.connector, &settings.tcp, Arc::new(Meters::new()));
        let database = settings.upstream.database.clone().unwrap_or_else(|| user.clone());
        let login = Credentials { user, secret: loaded.upstream_secret, keys: None };
        let connection = server.connect(&login, &database, (&[], Seals::Off), &[]).await?;
        let mut asked = Asked::new(connection.stream).await?;
        asked.rows("SET standard_conforming_strings = on; SET client_encoding = 'UTF8'").await?;
        Ok(Self { asked, database })
    }

    /// Adds the steps that the journal has and no trail has yet. What the trail has stands there as it was.
    ///
    /// # Errors
    /// [`UpstreamError`] when the server refuses.
    pub(super) async fn steps(&mut self, ledger: &mut Ledger) -> Result<(), UpstreamError> {
        if !self.has_journal().await? {
            return Ok(());
        }
        for staging in self.objects::<Staging>(JOURNAL).await? {
            if ledger.knows_step(&self.database, staging.id) {
                continue;
            }
            if let Some(Fact::Step(step)) = facts::step(staging) {
                ledger.note_step(&step);
            }
        }
        Ok(())
    }

    /// Adds what only the server knows.
    ///
    /// # Errors
    /// [`UpstreamError`] when the server refuses.
    pub(super) async fn surroundings(&mut self, known: &mut Surroundings) -> Result<(), UpstreamError> {
        for row in self.asked.rows(STAGED).await? {
            known.tables.extend(row.into_iter().map(|table| (self.database.clone(), table)));
        }
        let Some(schema) = self.asked.rows(STATEMENTS_SCHEMA).await?.into_iter().flatten().next() else {
            known.caveats.push(format!(
                "pg_stat_statements is not installed in {}: statements that went past pgwarden are not known",
                self.database
            ));
            return Ok(());
        };
        let question = STATEMENTS.replace("{schema}", &schema);
        let (mut unreadable, database) = (0_u64, self.database.clone());
        for met in self.objects::<Met>(&question).await? {
            match unseen(&database, met) {
                Some(unseen) => known.server_statements.push(unseen),
                None => unreadable += 1,
            }
        }
        if unreadable > 0 {
            known.caveats.push(format!("{unreadable} statements of pg_stat_statements could not be read"));
        }
        Ok(())
    }

    /// Whether there is a journal.
    ///
    /// # Errors
    /// [`UpstreamError`] when the server refuses.
    pub(super) async fn has_journal(&mut self) -> Result<bool, UpstreamError> {
        let found = self.asked.rows("SELECT to_regclass('pgwarden.journal') IS NOT NULL").await?;
        Ok(found.into_iter().flatten().next().as_deref() == Some("t"))
    }

    /// Writes a step into the journal.
    ///
    /// # Errors
    /// [`UpstreamError`] when the server refuses.
    pub(super) async fn write(
        &mut self,
        step: &str,
        tables: &[String],
        reason: &str,
        detail: &serde_json::Value,
    ) -> Result<(), UpstreamError> {
        let tables: Vec<String> = tables.iter().map(|table| literal(table)).collect();
        let sql = format!(
            "BEGIN READ WRITE; INSERT INTO pgwarden.journal (step, tables, reason, detail) \
             VALUES ({}, ARRAY[{}]::text[], {}, {}); NOTIFY pgwarden_shadow; COMMIT",
            literal(step),
            tables.join(", "),
            literal(reason),
            literal(&detail.to_string())
        );
        self.asked.rows(&sql).await.map(drop)
    }

    async fn objects<T: for<'de> Deserialize<'de>>(&mut self, sql: &str) -> Result<Vec<T>, UpstreamError> {
        let rows = self.asked.rows(sql).await?;
        let read = rows.into_iter().flatten().map(|text| serde_json::from_str(&text));
        read.collect::<Result<_, _>>().map_err(|error| UpstreamError::Protocol(error.to_string()))
    }
}

/// A statement that names tables; `None` for one that cannot be read.
fn unseen(database: &str, met: Met) -> Option<Unseen> {
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

/// A text as SQL reads it, whatever `standard_conforming_strings` is.
fn literal(text: &str) -> String {
    let quoted = text.replace('\\', "\\\\").replace('\'', "''");
    if quoted.contains('\\') { format!("E'{quoted}'") } else { format!("'{quoted}'") }
}

/// The time until which something is ignored: a time, or so long from now, like `30d`.
pub(super) fn until(text: &str, now: Moment) -> Option<Moment> {
    Moment::parse(text).or_else(|| Some(now.after(super::age(text)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_ends_its_literal() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"a\'b"), r"E'a\\''b'");
    }
}
