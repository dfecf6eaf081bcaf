//! Reading the configuration: the one place where its files and variables are opened.

use crate::cli;
use crate::{BAD_CONFIGURATION, complain};
use pgwarden_config::{Mistake, Origin, PREFIX, Settings, Source, config_path, load as resolve};
use pgwarden_session::Faults;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The real file system and environment.
struct System;

impl Source for System {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn env(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }
}

/// Reads the settings.
///
/// # Errors
/// Every mistake, as a line for the operator; none shows a secret.
pub(crate) fn read(flags: &cli::Settings) -> Result<Settings, Vec<String>> {
    let (environment, not_text) = environment();
    let overrides = flags.overrides();
    let path = config_path(&environment, &overrides);
    let text = match path.as_ref().map(std::fs::read_to_string).transpose() {
        Ok(text) => text,
        Err(error) => {
            let path = path.unwrap_or_default();
            let unreadable = format!("pgwarden: cannot read {}: {error}", path.display());
            return Err(not_text.iter().map(Mistake::to_string).chain([unreadable]).collect());
        }
    };
    let file = path.as_deref().zip(text.as_deref());
    let (settings, mut mistakes) = match resolve(file, &environment, &overrides, &System) {
        Ok(settings) => (Some(settings), Vec::new()),
        Err(mistakes) => (None, mistakes),
    };
    let flags_begin = mistakes.partition_point(|mistake| {
        matches!(mistake.origin, Origin::File { .. } | Origin::Environment { .. })
    });
    mistakes.splice(flags_begin..flags_begin, not_text);
    settings.filter(|_| mistakes.is_empty()).ok_or_else(|| mistakes.iter().map(Mistake::to_string).collect())
}

/// The settings, or the exit code after every mistake was printed.
///
/// # Errors
/// The exit code.
pub(crate) fn load(flags: &cli::Settings) -> Result<Settings, ExitCode> {
    read(flags).map_err(|mistakes| {
        mistakes.iter().for_each(|mistake| complain(mistake));
        ExitCode::from(BAD_CONFIGURATION)
    })
}

/// The settings for `check`: those of the configuration, or of an address alone.
///
/// # Errors
/// The exit code.
pub(crate) fn load_for_check(flags: &cli::Check) -> Result<Settings, ExitCode> {
    load_for_server(flags.config.clone(), flags.url.as_deref())
}

/// The settings for a command that asks the server: those of the configuration, or of an address alone.
///
/// # Errors
/// The exit code.
pub(crate) fn load_for_server(config: Option<PathBuf>, url: Option<&str>) -> Result<Settings, ExitCode> {
    let Some(url) = url else { return load(&cli::Settings::of_file(config)) };
    of_url(url).map_err(|problem| {
        complain(&format!("--url: {problem}"));
        ExitCode::from(BAD_CONFIGURATION)
    })
}

/// The settings for a command of whoever owns the tables: those of the configuration, of the environment at least, with
/// another server where an address is given. How clients log in is none of its business then, so that nothing need be there
/// for it.
///
/// # Errors
/// The exit code.
pub(crate) fn load_for_owner(config: Option<PathBuf>, url: Option<&str>) -> Result<Settings, ExitCode> {
    let named = cli::Settings::of_server(config, url.map(str::to_owned));
    let read = match read(&named) {
        Err(_) if url.is_some() => read(&named.without_clients()),
        read => read,
    };
    read.map_err(|mistakes| {
        mistakes.iter().for_each(|mistake| complain(&mistake.replace(OF_SERVE, "--url: ")));
        ExitCode::from(BAD_CONFIGURATION)
    })
}

/// Mistakes in the address of the server speak of the flag of `serve`, which is not the one that was typed.
const OF_SERVE: &str = "--upstream: upstream.url: ";

/// The settings that an address alone stands for.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn of_url(url: &str) -> Result<Settings, String> {
    let overrides = [("PGWARDEN_UPSTREAM", url), ("PGWARDEN_AUTH", "trust")];
    let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned()));
    resolve(None, &[], &overrides, &System)
        .map_err(|mistakes| mistakes.iter().map(Mistake::to_string).collect::<Vec<_>>().join("\n"))
        .map_err(|problem| problem.replace(OF_SERVE, ""))
}

/// Switches a rule off, in builds for tests alone.
#[cfg(debug_assertions)]
const FAULT: &str = "PGWARDEN_TEST_FAULT";

/// The rules that are switched off.
pub(crate) fn faults() -> Faults {
    #[cfg(debug_assertions)]
    return std::env::var(FAULT).ok().and_then(|name| Faults::named(&name)).unwrap_or_default();
    #[cfg(not(debug_assertions))]
    Faults::default()
}

/// The environment as text. What is not text and has our prefix is a mistake: overlooked, a mode that somebody wrote
/// would not be in force.
fn environment() -> (Vec<(String, String)>, Vec<Mistake>) {
    let mut variables = Vec::new();
    let mut not_text = Vec::new();
    for (name, value) in std::env::vars_os() {
        match (name.into_string(), value.into_string()) {
            #[cfg(debug_assertions)]
            (Ok(name), Ok(_)) if name == FAULT => (),
            (Ok(name), Ok(value)) => variables.push((name, value)),
            (Ok(name), Err(_)) if name.starts_with(PREFIX) => not_text.push(mistake(name)),
            (Err(name), _) if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) => {
                not_text.push(mistake(name.to_string_lossy().into_owned()));
            }
            _ => {}
        }
    }
    (variables, not_text)
}

fn mistake(name: String) -> Mistake {
    Mistake {
        origin: Origin::Environment { name },
        key: String::new(),
        problem: "is not UTF-8 text".to_owned(),
        expected: "a name and a value in UTF-8, or the variable left out".to_owned(),
    }
}
