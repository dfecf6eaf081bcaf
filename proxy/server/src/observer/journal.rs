//! What was staged, promoted and demoted, and by whom: the journal that the commands keep in the database, handed over to
//! the trail.

use crate::lookup::{Line, LookupError, Question, Row};
use crate::trail::Trail;
use pgwarden_audit::{Event, Staging, Step};
use std::collections::BTreeSet;

/// Entries to fetch at once.
const ROWS: u16 = 500;
/// How far back an entry may come to light: numbers are given out before transactions end, and not in the same order.
const WINDOW: i64 = 1000;

/// Whether there is a journal that may be read.
const IS_THERE: &str = "SELECT coalesce(pg_catalog.has_schema_privilege('pgwarden', 'USAGE')
    AND pg_catalog.has_table_privilege('pgwarden.journal', 'SELECT'), false)
    FROM (SELECT WHERE EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                               WHERE n.nspname = 'pgwarden' AND c.relname = 'journal')) AS there";

/// Entries behind a number, the oldest first. Texts of arrays and documents are JSON.
const ENTRIES: &str = "SELECT id::pg_catalog.text, step, by_user,
    pg_catalog.to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'),
    pg_catalog.array_to_json(tables)::pg_catalog.text, reason, detail::pg_catalog.text
    FROM pgwarden.journal WHERE id > $1::pg_catalog.int8 AND NOT id = ANY ($2::pg_catalog.int8[]) ORDER BY id";

/// Follows the journal of one database.
#[derive(Debug)]
pub(super) struct Journal {
    database: String,
    /// The highest number that was handed over.
    highest: i64,
    /// Those below it that were handed over by this process.
    known: BTreeSet<i64>,
}

impl Journal {
    /// Goes on behind what the trail has.
    pub(super) fn new(database: &str, trail: &Trail) -> Self {
        let highest = trail.journal_position(database).unwrap_or(0);
        Self { database: database.to_owned(), highest, known: BTreeSet::new() }
    }

    /// Hands over what is new.
    ///
    /// # Errors
    /// [`LookupError`] when the server cannot be asked.
    pub(super) async fn follow(&mut self, line: &Line, trail: &Trail) -> Result<(), LookupError> {
        let there = line.ask(Question { sql: IS_THERE, values: &[], rows: 1 }).await?;
        let is_there = there.first().and_then(|row| row.first()).and_then(Option::as_ref);
        if is_there.is_none_or(|text| text.as_str() != "t") {
            return Ok(());
        }
        loop {
            // What this process has not handed over is the trail's, or of a transaction that ended late.
            let from = match self.known.first() {
                Some(first) => (self.highest - WINDOW).max(first - 1),
                None => self.highest,
            };
            let known: Vec<String> = self.known.iter().map(i64::to_string).collect();
            let values = [from.to_string(), format!("{{{}}}", known.join(","))];
            let values = [values[0].as_str(), values[1].as_str()];
            let entries = line.ask(Question { sql: ENTRIES, values: &values, rows: ROWS }).await?;
            let count = entries.len();
            for entry in entries {
                self.hand_over(&entry, trail)?;
            }
            if count < usize::from(ROWS) {
                return Ok(());
            }
        }
    }

    fn hand_over(&mut self, entry: &Row, trail: &Trail) -> Result<(), LookupError> {
        let text = |at: usize| entry.get(at).and_then(Option::as_ref).map(|text| text.to_string());
        let unreadable = || LookupError::Answer("an entry of the journal cannot be read".to_owned());
        let id: i64 = text(0).and_then(|text| text.parse().ok()).ok_or_else(unreadable)?;
        self.highest = self.highest.max(id);
        self.known.insert(id);
        let before = self.highest - WINDOW;
        self.known.retain(|id| *id > before);
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
