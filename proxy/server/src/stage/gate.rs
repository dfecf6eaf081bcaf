//! Who may pass to enforcement: tables that are READY, and those that somebody answers for.

use super::arguments::Move;
use super::failure::Failure;
use crate::report::{self, ReportError};
use crate::{cli, settings};
use pgwarden_shadow::verdict::{Cause, Judgement, Report, Verdict};
use std::io;

/// Lets a promotion pass. The verdict comes from the trail of the pgwarden that the tables are promoted through, from those
/// that are named, or from that of the configuration; where there is none, nothing was evaluated, and that is not clean.
///
/// # Errors
/// [`Failure::Refused`] unless all of the tables are READY, or somebody answers for them.
pub(crate) async fn pass(
    tables: &[&str],
    database: &str,
    flags: &Move,
    answered_for: Option<&str>,
) -> Result<(), Failure> {
    if answered_for.is_some() {
        return Ok(());
    }
    let from = cli::From {
        config: flags.whom.config.clone(),
        trail: flags.trail.clone(),
        admin: flags.through.clone().filter(|_| flags.trail.is_empty()),
        token: flags.token.clone(),
        url: None,
        public_key: Vec::new(),
        since: None,
        min_days: None,
    };
    let server = settings::load_for_server(flags.whom.config.clone(), flags.whom.url.as_deref()).ok();
    let made = tokio::task::spawn_blocking(move || report::gathered_for(&from, server.as_ref())).await;
    match made.unwrap_or_else(|failed| Err(ReportError::System(io::Error::other(failed)))) {
        Ok(report) => judged(&report, database, tables),
        Err(error) => Err(Failure::refused(
            format!("the verdict on {} is INSUFFICIENT DATA", tables.join(", ")),
            format!("There is no report: {error}"),
            "Say with --trail or --through where the audit trail is, or answer for it: --force --reason '…'.",
        )),
    }
}

fn judged(report: &Report, database: &str, tables: &[&str]) -> Result<(), Failure> {
    let of = |table: &&str| report::verdict_of(report, database, table);
    let verdict = |table: &&str| of(table).map_or(Verdict::InsufficientData, |one| one.verdict);
    let held_back: Vec<&&str> = tables.iter().filter(|table| verdict(table) != Verdict::Ready).collect();
    let Some(worst) = held_back.iter().map(|table| verdict(table)).min() else { return Ok(()) };
    let why: Vec<String> = held_back.iter().map(|table| format!("{table}: {}", reasons(of(table)))).collect();
    let names: Vec<&str> = held_back.iter().map(|table| **table).collect();
    Err(Failure::refused(
        format!("the verdict on {} is {}", names.join(", "), worst.label()),
        why.join("; "),
        "pgwarden report names the findings. Mend them, or answer for it: --force --reason '…'.",
    ))
}

/// What stands against it; what has to be known besides is said when it is in force.
fn reasons(judgement: Option<&Judgement>) -> String {
    let texts = judgement.map(|one| {
        let against = one.reasons.iter().filter(|reason| reason.code != Cause::Note);
        against.map(|reason| reason.text.as_str()).collect::<Vec<_>>()
    });
    texts.map_or_else(|| "nothing is known of it".to_owned(), |texts| texts.join(", "))
}
