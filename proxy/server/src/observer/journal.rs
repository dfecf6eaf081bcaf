//! What was staged, promoted and demoted, and by whom: the journal that the commands keep in the database, handed over to
//! the trail.

use crate::lookup::{Line, LookupError, Question, Row};
use crate::trail::Trail;
use pgwarden_audit::{Event, Staging, Step};
use std::collections::BTreeMap;

/// Entries to fetch at once.
const ROWS: u16 = 500;
/// Whether there is a journal that may be read.
const IS_THERE: &str = "SELECT coalesce(pg_catalog.has_schema_privilege('pgwarden', 'USAGE')
    AND pg_catalog.has_table_privilege('pgwarden.journal', 'SELECT'), false)
    FROM (SELECT WHERE EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                               WHERE n.nspname = 'pgwarden' AND c.relname = 'journal')) AS there";

/// The highest number that anybody can see.
const HIGHEST: &str = "SELECT coalesce(pg_catalog.max(id), 0)::pg_catalog.text FROM pgwarden.journal";

/// Whether somebody writes an entry, whose number may be lower than one that can be seen already: numbers are given out
/// before transactions end, and not in the same order.
const IS_WRITTEN: &str = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks
    WHERE locktype = 'relation' AND relation = 'pgwarden.journal'::pg_catalog.regclass AND mode = 'RowExclusiveLock'
      AND database = (SELECT d.oid FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))";

/// Entries between two numbers, the oldest first: by the number, and not by the text that is answered under its name. Texts
/// of arrays and documents are JSON.
const ENTRIES: &str = "SELECT id::pg_catalog.text, step, by_user,
    pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
    pg_catalog.array_to_json(tables)::pg_catalog.text, reason, detail::pg_catalog.text
    FROM pgwarden.journal entry WHERE id > $1::pg_catalog.int8 AND id <= $2::pg_catalog.int8 ORDER BY entry.id LIMIT 500";

/// Whether it may be read what is staged.
const IS_STAGED: &str = "SELECT coalesce(pg_catalog.has_schema_privilege('pgwarden', 'USAGE')
    AND pg_catalog.has_table_privilege('pgwarden.staged', 'SELECT'), false)
    FROM (SELECT WHERE EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                               WHERE n.nspname = 'pgwarden' AND c.relname = 'staged')) AS there";

/// What the last command about each table has left.
const STEPS: &str = "SELECT coalesce(pg_catalog.json_object_agg(s.relation::pg_catalog.oid,
    s.state || ' ' || pg_catalog.to_char(s.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US')), '{}')::pg_catalog.text
    FROM pgwarden.staged s";

/// What the last command about each table has left, by OID; nothing where that may not be read.
///
/// # Errors
/// [`LookupError`] when the server cannot be asked.
pub(super) async fn steps(line: &Line) -> Result<BTreeMap<u32, String>, LookupError> {
    if value(line, IS_STAGED).await?.as_deref() != Some("t") {
        return Ok(BTreeMap::new());
    }
    let steps = value(line, STEPS).await?.unwrap_or_default();
    serde_json::from_str(&steps).map_err(|error| LookupError::Answer(error.to_string()))
}

/// Follows the journal of one database.
#[derive(Debug)]
pub(super) struct Journal {
    database: String,
    /// The number of the last entry that was handed over.
    last: i64,
    /// Whether it was said that it may not be read.
    is_said: bool,
}

impl Journal {
    /// Goes on behind what the trail has.
    pub(super) fn new(database: &str, trail: &Trail) -> Self {
        Self {
            database: database.to_owned(),
            last: trail.journal_position(database).unwrap_or(0),
            is_said: false,
        }
    }

    /// Hands over what is new, in the order of the numbers. What can be seen is complete up to the highest number if
    /// nobody writes once that was asked for.
    ///
    /// # Errors
    /// [`LookupError`] when the server cannot be asked.
    pub(super) async fn follow(&mut self, line: &Line, trail: &Trail) -> Result<(), LookupError> {
        let there = value(line, IS_THERE).await?;
        if there.as_deref() != Some("t") {
            if there.is_some() && !self.is_said {
                tracing::warn!(
                    database = self.database,
                    "the observer may not read what is staged, promoted and resolved; see \"pgwarden stage --observer\""
                );
            }
            self.is_said = there.is_some();
            return Ok(());
        }
        let highest = value(line, HIGHEST).await?.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        if highest <= self.last || value(line, IS_WRITTEN).await?.as_deref() != Some("f") {
            return Ok(());
        }
        while self.last < highest {
            let values = [self.last.to_string(), highest.to_string()];
            let values = values.each_ref().map(String::as_str);
            let entries = line.ask(Question { sql: ENTRIES, values: &values, rows: ROWS }).await?;
            if entries.is_empty() {
                self.last = highest;
            }
            for entry in entries {
                self.hand_over(&entry, trail)?;
            }
        }
        Ok(())
    }

    fn hand_over(&mut self, entry: &Row, trail: &Trail) -> Result<(), LookupError> {
        let text = |at: usize| entry.get(at).and_then(Option::as_ref).map(|text| text.to_string());
        let unreadable = || LookupError::Answer("an entry of the journal cannot be read".to_owned());
        let id: i64 = text(0).and_then(|text| text.parse().ok()).ok_or_else(unreadable)?;
        self.last = id;
        let Some(step) = text(1).and_then(|step| step_named(&step)) else {
            tracing::warn!(
                id,
                database = self.database,
                "an entry of the journal names no step that is known"
            );
            return Ok(());
        };
        trail.record(Event::Staging(Box::new(Staging {
            id,
            step,
            database: self.database.clone(),
            by: text(2).unwrap_or_default(),
            at: text(3).unwrap_or_default(),
            tables: text(4).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
            reason: text(5),
            detail: text(6).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default(),
        })));
        Ok(())
    }
}

fn step_named(name: &str) -> Option<Step> {
    serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
}

/// The one value that a question is answered with.
async fn value(line: &Line, sql: &str) -> Result<Option<String>, LookupError> {
    let rows = line.ask(Question { sql, values: &[], rows: 1 }).await?;
    Ok(rows.into_iter().next().and_then(|row| row.into_iter().next()).flatten().map(|text| text.to_string()))
}
