//! `pgwarden report` and `pgwarden verdict`.

use super::problem::ReportError;
use super::{Database, Keys, RULES, Sources, csv, now, page, screen, since};
use crate::cli::{self, Format};
use crate::status::command::{AskError, Place, fetch};
use crate::{BAD_CONFIGURATION, BAD_SYSTEM, NO_ANSWER, NOT_PERMITTED, complain, say, settings};
use pgwarden_config::Settings;
use pgwarden_shadow::verdict::{Report, Rules, Verdict, is_same};
use std::path::Path;
use std::process::ExitCode;

/// The largest report that is fetched, in bytes.
const MOST: u64 = 256 * 1024 * 1024;
/// `pgwarden verdict --exit-code`: something is not ready.
const NOT_READY: u8 = 1;
/// The same: too little is known.
const INSUFFICIENT: u8 = 3;

/// Prints a report.
///
/// # Errors
/// The exit code.
pub(crate) fn report(flags: &cli::Report) -> Result<(), ExitCode> {
    let report = gathered(&flags.from).map_err(|error| refuse(&error))?;
    let text = match flags.format {
        Format::Table => screen::render(&report),
        Format::Json => format!("{}\n", serde_json::to_string_pretty(&report).unwrap_or_default()),
        Format::Csv => csv::render(&report),
        Format::Html => page::render(&report),
    };
    match &flags.output {
        None => say(&text),
        Some(path) => write(path, &text).map_err(|error| refuse(&error))?,
    }
    Ok(())
}

/// Prints the verdict on tables.
///
/// # Errors
/// The exit code.
pub(crate) fn verdict(flags: &cli::Verdict) -> Result<(), ExitCode> {
    let mut report = gathered(&flags.from).map_err(|error| refuse(&error))?;
    let unknown: Vec<&String> = flags.tables.iter().filter(|name| !is_known(&report, name)).collect();
    if !flags.tables.is_empty() {
        report.tables.retain(|one| flags.tables.iter().any(|name| is_same(&one.table, name)));
    }
    if flags.output.json {
        say(&format!("{}\n", serde_json::to_string_pretty(&report.tables).unwrap_or_default()));
    } else {
        let mut page = String::new();
        screen::verdicts(&report.tables, &mut page);
        say(page.trim_start());
    }
    for name in &unknown {
        complain(&format_args!("INSUFFICIENT DATA  {name}: nothing is known of it"));
    }
    let lacking = (!unknown.is_empty() || report.tables.is_empty()).then_some(Verdict::InsufficientData);
    let worst = report.tables.iter().map(|one| one.verdict).chain(lacking).min();
    match worst {
        Some(Verdict::NotReady) if flags.exit_code => Err(ExitCode::from(NOT_READY)),
        Some(Verdict::InsufficientData) if flags.exit_code => Err(ExitCode::from(INSUFFICIENT)),
        _ => Ok(()),
    }
}

fn is_known(report: &Report, name: &str) -> bool {
    report.tables.iter().any(|one| is_same(&one.table, name))
}

/// The report that the flags ask for. Blocks.
///
/// # Errors
/// [`ReportError`] when there is none.
pub(crate) fn gathered(from: &cli::From) -> Result<Report, ReportError> {
    let named = match &from.url {
        None => None,
        Some(url) => {
            Some(settings::of_url(url).map_err(|problem| ReportError::Argument { name: "--url", problem })?)
        }
    };
    gathered_for(from, named.as_ref())
}

/// The same, where the server that is asked is known: to whoever promotes. Blocks.
///
/// # Errors
/// [`ReportError`] when there is none.
pub(crate) fn gathered_for(from: &cli::From, named: Option<&Settings>) -> Result<Report, ReportError> {
    if let Some(admin) = &from.admin {
        return fetched(from, admin);
    }
    let now = now();
    let since = from.since.as_deref().map(|text| {
        since(text, now).ok_or_else(|| ReportError::Argument {
            name: "--since",
            problem: format!("{text:?} is no time; expected a date, a time like 2030-01-31T12:00:00Z, or an age like 2h or 30d"),
        })
    });
    let mut sources = Sources {
        trails: from.trail.clone(),
        since: since.transpose()?,
        rules: RULES,
        keys: Keys::None,
        databases: named.map(Database::named).transpose()?.into_iter().collect(),
    };
    if from.trail.is_empty() || from.config.is_some() {
        configured(&mut sources, from)?;
    }
    if !from.public_key.is_empty() {
        sources.keys = Keys::named(&from.public_key)?;
    }
    if let Some(days) = from.min_days {
        sources.rules.min_days = days;
    }
    sources.report()
}

/// What the configuration says, where nobody has said otherwise.
fn configured(sources: &mut Sources, from: &cli::From) -> Result<(), ReportError> {
    let settings = settings::read(&cli::Settings::of_file(from.config.clone()))
        .map_err(|lines| ReportError::Argument { name: "the configuration", problem: lines.join("\n") })?;
    if sources.trails.is_empty() {
        sources.trails.extend(settings.audit.directory.clone());
    }
    if sources.databases.is_empty() {
        sources.databases = Database::observed_of(&settings)?;
    }
    sources.rules = rules_of(&settings);
    sources.keys = Keys::of(&settings.audit);
    Ok(())
}

/// What the configuration asks for.
pub(crate) fn rules_of(settings: &Settings) -> Rules {
    Rules {
        min_days: settings.report.min_days,
        min_replays: u64::from(settings.report.min_replays),
        max_uncovered: settings.report.max_uncovered,
    }
}

/// The report of a running pgwarden.
fn fetched(from: &cli::From, admin: &str) -> Result<Report, ReportError> {
    let place = Place::named(admin, from.token.as_deref())?;
    let mut path = "/report.json".to_owned();
    if let Some(since) = &from.since {
        let is_plain = since.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-:.".contains(&byte));
        let problem = || ReportError::Argument { name: "--since", problem: format!("{since:?} is no time") };
        path = is_plain.then(|| format!("{path}?since={since}")).ok_or_else(problem)?;
    }
    let body = fetch(&place, &path, MOST)?;
    serde_json::from_str(&body)
        .map_err(|error| AskError::Strange { address: admin.to_owned(), cause: error.to_string() }.into())
}

fn write(path: &Path, text: &str) -> Result<(), ReportError> {
    std::fs::write(path, text).map_err(|error| ReportError::Output { path: path.to_owned(), error })
}

/// Says what is wrong; returns the exit code.
pub(super) fn refuse(error: &ReportError) -> ExitCode {
    complain(&format_args!("pgwarden: {}", crate::causes::WithCauses(error)));
    ExitCode::from(match error {
        ReportError::Nowhere
        | ReportError::Argument { .. }
        | ReportError::NoTrail { .. }
        | ReportError::Key(_)
        | ReportError::Unknown { .. }
        | ReportError::Ambiguous { .. }
        | ReportError::NoJournal { .. }
        | ReportError::Asked(AskError::Address(_) | AskError::Token(_)) => BAD_CONFIGURATION,
        ReportError::Asked(AskError::Refused { .. }) => NOT_PERMITTED,
        ReportError::Asked(AskError::System(_))
        | ReportError::Trail { .. }
        | ReportError::Output { .. }
        | ReportError::System(_) => BAD_SYSTEM,
        ReportError::Server(_) | ReportError::Asked(_) => NO_ANSWER,
    })
}
