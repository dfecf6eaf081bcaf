//! Tests of the whole: text in, settings or rendered mistakes out.

mod audit;
mod auth_query;
mod context;
mod context_mistakes;
mod hostile;
mod lookups;
mod mistakes;
mod precedence;
mod reference;
mod roles;
mod rules;
mod seal;
mod secrets;
mod services;
mod shadow;
mod sinks;
mod token_mistakes;
mod variables;

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use crate::{Settings, Source, load};

/// The upstream of every test that is not about it.
const UPSTREAM: (&str, &str) = ("PGWARDEN_UPSTREAM", "postgres://proxy@db/app");

/// Authentication that needs nothing else.
const TRUST: (&str, &str) = ("PGWARDEN_AUTH", "trust");

/// Files and variables by name; every path under `/absent` is missing.
struct Fake;

impl Source for Fake {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some("/empty") => Ok(b"\n".to_vec()),
            Some("/binary") => Ok(vec![0xff, 0xfe]),
            Some(path) if path.starts_with("/absent") => Err(io::Error::other("no such file")),
            _ => Ok(b"hunter2-from-file\n".to_vec()),
        }
    }

    fn env(&self, name: &str) -> Option<OsString> {
        match name {
            "BINARY" => Some(OsString::from_vec(vec![0xff, 0xfe])),
            _ => name.ends_with("SECRET").then(|| "hunter2-from-env".into()),
        }
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn render(result: Result<Settings, Vec<crate::Mistake>>) -> Result<Settings, Vec<String>> {
    result.map_err(|mistakes| mistakes.iter().map(ToString::to_string).collect())
}

/// Loads from variables alone.
fn from_env(variables: &[(&str, &str)]) -> Result<Settings, Vec<String>> {
    render(load(None, &pairs(variables), &[], &Fake))
}

/// Loads from variables, with the upstream and `trust` given.
fn with(variables: &[(&str, &str)]) -> Settings {
    from_env(&[&[UPSTREAM, TRUST], variables].concat()).unwrap()
}

/// The mistakes of variables, with the upstream and `trust` given.
fn mistakes_with(variables: &[(&str, &str)]) -> Vec<String> {
    from_env(&[&[UPSTREAM, TRUST], variables].concat()).unwrap_err()
}

/// Loads from a file alone.
fn from_file(text: &str) -> Result<Settings, Vec<String>> {
    render(load(Some((Path::new("pgwarden.toml"), text)), &[], &[], &Fake))
}

/// Loads from a file, with the upstream and `trust` given by the environment.
fn from_file_with_upstream(text: &str) -> Result<Settings, Vec<String>> {
    render(load(Some((Path::new("pgwarden.toml"), text)), &pairs(&[UPSTREAM, TRUST]), &[], &Fake))
}
