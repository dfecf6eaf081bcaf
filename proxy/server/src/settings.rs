//! Reading the configuration: the one place where its files and variables are opened.

use crate::BAD_CONFIGURATION;
use crate::cli;
use pgwarden_config::{Settings, Source, config_path, load as resolve};
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// The real file system and environment.
struct System;

impl Source for System {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// The settings, or the exit code after every mistake was printed.
///
/// # Errors
/// The exit code.
pub(crate) fn load(flags: &cli::Settings) -> Result<Settings, ExitCode> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let overrides = flags.overrides();
    let path = config_path(&environment, &overrides);
    let text = match &path {
        None => None,
        Some(path) => match std::fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) => {
                eprintln!("pgwarden: cannot read {}: {error}", path.display());
                return Err(ExitCode::from(BAD_CONFIGURATION));
            }
        },
    };
    let file = path.as_deref().zip(text.as_deref());
    resolve(file, &environment, &overrides, &System).map_err(|mistakes| {
        for mistake in &mistakes {
            eprintln!("{mistake}");
        }
        ExitCode::from(BAD_CONFIGURATION)
    })
}
