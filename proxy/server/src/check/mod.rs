//! `pgwarden check`: asks the server what would let a client past its policies.

mod ask;
mod functions;
mod promoted;
mod report;
mod rights;

use crate::causes::WithCauses;
use crate::loaded::{self, Purpose};
use crate::meters::Meters;
use crate::upstream::{Credentials, Seals, Server, UpstreamError};
use crate::{BAD_CONFIGURATION, BAD_SYSTEM, NO_ANSWER, cli, complain, refuse, say, settings};
use ask::Asked;
use pgwarden_config::Settings;
use pgwarden_tenant::Protected;
use report::{Finding, Severity};
use std::fmt::Display;
use std::process::ExitCode;
use std::sync::Arc;

/// Something serious was found.
const SERIOUS: u8 = 1;

/// Checks the server and prints what is found.
///
/// # Errors
/// The exit code: of a mistake, or because something serious was found.
pub(crate) fn run(flags: &cli::Check) -> Result<(), ExitCode> {
    let settings = settings::load_for_check(flags)?;
    let protected = protected(&settings, &flags.setting);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| stop(&error, BAD_SYSTEM))?;
    let mut findings = runtime.block_on(look(&settings, &protected))?;
    if protected.is_empty() {
        findings.push(Finding {
            severity: Severity::Warning,
            kind: "settings",
            object: "-".to_owned(),
            message: "no variable is known, so that functions that set one cannot be told".to_owned(),
            sql: None,
        });
    }
    findings.sort_by_key(|finding| finding.severity);
    say(&match (flags.output.json, flags.sql) {
        (true, _) => report::json(&findings),
        (false, true) => report::hardening(&findings),
        (false, false) => report::table(&findings),
    });
    match findings.first().map(|finding| finding.severity) {
        Some(Severity::Serious) => Err(ExitCode::from(SERIOUS)),
        _ => Ok(()),
    }
}

fn protected(settings: &Settings, named: &[String]) -> Protected {
    let variables = settings.context.variables.iter().map(|variable| variable.name.as_str());
    let names: Vec<&str> = variables.chain(named.iter().map(String::as_str)).collect();
    Protected::new(&names).with_functions(&settings.guard.functions)
}

fn stop(error: &dyn Display, code: u8) -> ExitCode {
    complain(&format_args!("pgwarden: {error}"));
    ExitCode::from(code)
}

async fn look(settings: &Settings, protected: &Protected) -> Result<Vec<Finding>, ExitCode> {
    let loaded = loaded::load(settings, Purpose::Check).map_err(|mistakes| refuse(&mistakes))?;
    let Some(user) = settings.upstream.user.clone() else {
        return Err(stop(
            &"upstream.url names no user: say with --url who is to be checked",
            BAD_CONFIGURATION,
        ));
    };
    let server = Server::new(&settings.upstream, loaded.connector, &settings.tcp, Arc::new(Meters::new()));
    let database = settings.upstream.database.clone().unwrap_or_else(|| user.clone());
    let login = Credentials { user, secret: loaded.upstream_secret, keys: None };
    let unanswered = |error: UpstreamError| stop(&WithCauses(&error), NO_ANSWER);
    let connection = server.connect(&login, &database, (&[], Seals::Off), &[]).await.map_err(unanswered)?;
    let mut asked = Asked::new(connection.stream).await.map_err(unanswered)?;
    let mut findings = rights::of_login(&mut asked).await.map_err(unanswered)?;
    findings.extend(functions::look(&mut asked, protected).await.map_err(unanswered)?);
    findings.extend(rights::look(&mut asked).await.map_err(unanswered)?);
    findings.extend(promoted::look(&mut asked).await.map_err(unanswered)?);
    Ok(findings)
}
