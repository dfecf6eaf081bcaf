//! `pgwarden ignore` and `pgwarden resolve`: what somebody says about a finding stands in the journal of the database, and
//! from there in the trail.

use super::command::{gathered, refuse};
use super::now;
use super::problem::ReportError;
use super::server::{Database, until};
use crate::{cli, say, settings};
use pgwarden_shadow::verdict::Report;
use serde_json::{Value, json};
use std::process::ExitCode;

/// The longest reason and the longest name, in characters.
const LONGEST: usize = 500;

/// A finding, or a statement that is not evaluated.
struct Subject {
    id: String,
    database: String,
    tables: Vec<String>,
}

/// Leaves findings out of the verdict for a time.
///
/// # Errors
/// The exit code.
pub(crate) fn ignore(flags: &cli::Ignore) -> Result<(), ExitCode> {
    let noted = until(&flags.until, now()).filter(|until| *until > now()).ok_or_else(|| ReportError::Argument {
        name: "--until",
        problem: format!(
            "{:?} is not in the future; expected a date, a time like 2030-01-31T12:00:00Z, or a length like 30d",
            flags.until
        ),
    });
    let done = noted.and_then(|until| {
        let more = json!({ "until": until.to_string() });
        for subject in note("ignore", &flags.what, &more)? {
            say(&format!("{} in {} does not count until {until}\n", subject.id, subject.database));
        }
        Ok(())
    });
    done.map_err(|error| refuse(&error))
}

/// Says that findings are mended: each counts again when it is met again.
///
/// # Errors
/// The exit code.
pub(crate) fn resolve(flags: &cli::Resolve) -> Result<(), ExitCode> {
    let done = note("resolve", &flags.what, &json!({})).map(|subjects| {
        for subject in subjects {
            say(&format!("{} in {} is resolved, until it is met again\n", subject.id, subject.database));
        }
    });
    done.map_err(|error| refuse(&error))
}

/// Writes it into the journal, of each of them, if all are known.
fn note(step: &str, what: &cli::Disposal, more: &Value) -> Result<Vec<Subject>, ReportError> {
    for (name, text) in [("--reason", &what.reason), ("--owner", &what.owner)] {
        if text.trim().is_empty() || text.chars().count() > LONGEST {
            let problem = format!("is empty, or longer than {LONGEST} characters");
            return Err(ReportError::Argument { name, problem });
        }
    }
    let server = match &what.from.url {
        Some(url) => {
            settings::of_url(url).map_err(|problem| ReportError::Argument { name: "--url", problem })?
        }
        None => settings::read(&cli::Settings::of_file(what.from.config.clone())).map_err(|lines| {
            ReportError::Argument { name: "the configuration", problem: lines.join("\n") }
        })?,
    };
    let report = gathered(&what.from)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ReportError::System)?;
    runtime.block_on(async {
        let mut witness = Database::named(&server)?.witness().await?;
        let database = witness.database().to_owned();
        let named = what.findings.iter().map(|id| subject(&report, id, &database));
        let subjects = named.collect::<Result<Vec<_>, _>>()?;
        if !witness.has_journal().await? {
            return Err(ReportError::NoJournal { database });
        }
        for subject in &subjects {
            let mut detail = json!({ "finding": subject.id, "owner": what.owner.trim() });
            if let (Some(detail), Some(more)) = (detail.as_object_mut(), more.as_object()) {
                detail.extend(more.clone());
            }
            witness.write(step, &subject.tables, what.reason.trim(), &detail).await?;
        }
        Ok(subjects)
    })
}

/// The finding, or the statement, whose name begins so.
fn subject(report: &Report, id: &str, database: &str) -> Result<Subject, ReportError> {
    let begins = |name: &str, of: &str| !id.is_empty() && name.starts_with(id) && of == database;
    let findings =
        report.findings.iter().filter(|issue| begins(&issue.id, &issue.key.database)).map(|issue| Subject {
            id: issue.id.clone(),
            database: issue.key.database.clone(),
            tables: issue.key.table.iter().cloned().collect(),
        });
    let statements = report.statements.iter().map(|one| &one.examined);
    let statements = statements.filter(|one| begins(&one.fingerprint, &one.database)).map(|one| Subject {
        id: one.fingerprint.clone(),
        database: one.database.clone(),
        tables: one.tables.iter().cloned().collect(),
    });
    let unseen = report.unseen.iter().filter(|one| begins(&one.fingerprint, &one.database)).map(|one| {
        Subject { id: one.fingerprint.clone(), database: one.database.clone(), tables: one.tables.clone() }
    });
    let mut found: Vec<Subject> = findings.chain(statements).chain(unseen).collect();
    match (found.pop(), found.is_empty()) {
        (None, _) => Err(ReportError::Unknown { id: id.to_owned() }),
        (Some(_), false) => Err(ReportError::Ambiguous { id: id.to_owned() }),
        (Some(subject), true) => Ok(subject),
    }
}
