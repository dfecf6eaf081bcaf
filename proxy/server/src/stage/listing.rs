//! `pgwarden staged`: what is staged, and what is in force of it.

use super::arguments::Staged;
use super::catalog::{self, StagedTable};
use super::command::in_session;
use crate::say;
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

/// Shows what is staged and promoted.
///
/// # Errors
/// The exit code.
pub(crate) fn staged(flags: &Staged) -> Result<(), ExitCode> {
    in_session(&flags.whom, async |session| {
        let rows = catalog::staged(session).await?;
        say(&if flags.json { as_json(&rows) } else { as_table(&rows) });
        Ok(())
    })
}

fn as_json(rows: &[StagedTable]) -> String {
    let rows: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({ "table": row.label, "state": row.state, "source": row.source, "reason": row.reason,
                    "at": row.at, "by": row.by_user, "change": row.change })
        })
        .collect();
    format!("{}\n", serde_json::to_string_pretty(&rows).unwrap_or_default())
}

fn as_table(rows: &[StagedTable]) -> String {
    let widest = rows.iter().map(|row| row.label.chars().count()).max().unwrap_or(0);
    let mut page = String::new();
    for row in rows {
        let about = row.reason.as_deref().unwrap_or(&row.source);
        let _fits = writeln!(page, "{:<widest$}  {:<8}  {}  {about}", row.label, row.state, row.at);
    }
    let count = |state: &str| rows.iter().filter(|row| row.state == state).count();
    let _fits = writeln!(
        page,
        "{} staged, {} promoted, {} could not be staged",
        count("staged"),
        count("promoted"),
        count("refused")
    );
    page
}
