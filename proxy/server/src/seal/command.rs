//! `pgwarden seal`: the readers' SQL, new keys, and the SQL that makes a key known to the readers.

use crate::cli::Install;
use pgwarden_config::{SealSettings, Settings};
use pgwarden_tenant::{NotASealKey, Pads, SealKey};
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use thiserror::Error;
use zeroize::Zeroizing;

/// The readers, with the names that they have unless they are told others.
const KIT: &str = include_str!("../../../../deploy/sql/seal.sql");
const OWNER: &str = "pgwarden_kit";
const VARIABLE: &str = "app.context_seal";

/// Why there is nothing to print.
#[derive(Debug, Error)]
pub(crate) enum SealError {
    /// Configuration: no key.
    #[error("context.seal.key is not set: there is no key to make known")]
    NoKey,
    /// Configuration: what should be a key is none.
    #[error("context.seal.key")]
    Key(#[from] NotASealKey),
    /// A name that would have to be quoted.
    #[error("{0:?} is no plain name: letters, digits and underscores, dots in a variable's")]
    Name(String),
    /// System: the file is there already, or cannot be written.
    #[error("the key cannot be written")]
    File(#[source] io::Error),
}

/// The script that installs the readers.
///
/// # Errors
/// [`SealError::Name`] when a name would have to be quoted.
pub(crate) fn install(flags: &Install) -> Result<String, SealError> {
    let owner = plain(flags.owner.as_deref().unwrap_or(OWNER), "")?;
    let variable = plain(flags.variable.as_deref().unwrap_or(VARIABLE), ".")?;
    Ok(KIT.replace(OWNER, owner).replace(VARIABLE, variable))
}

/// A new key, in a file that only its owner may read, or to be printed.
///
/// # Errors
/// [`SealError::File`] when the file is there already, or cannot be written.
pub(crate) fn keygen(file: Option<&Path>) -> Result<Zeroizing<String>, SealError> {
    let mut key = Zeroizing::new(String::with_capacity(65));
    for byte in Zeroizing::new(rand::random::<[u8; 32]>()).iter() {
        let _fits = write!(key, "{byte:02x}");
    }
    key.push('\n');
    let Some(path) = file else { return Ok(key) };
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    created.and_then(|mut file| file.write_all(key.as_bytes())).map_err(SealError::File)?;
    Ok(Zeroizing::new(String::new()))
}

/// The script that makes the key of the configuration known to the readers. As the rows of a COPY, it is in no log.
///
/// # Errors
/// [`SealError`] when there is no key.
pub(crate) fn key(settings: &Settings) -> Result<Zeroizing<String>, SealError> {
    let SealSettings { key: text, .. } = settings.context.seal.as_ref().ok_or(SealError::NoKey)?;
    let (key, pads) = (SealKey::parse(text.expose())?, Pads::parse(text.expose())?);
    let names: Vec<&str> = settings.context.variables.iter().map(|variable| variable.name.as_str()).collect();
    let mut script = Zeroizing::new(String::with_capacity(1024));
    script.push_str("COPY pgwarden.seal_key (id, inner_pad, outer_pad, variables) FROM stdin;\n");
    script.push_str(key.id());
    for pad in [&pads.inner, &pads.outer] {
        script.push_str("\t\\\\x");
        for byte in pad.iter() {
            let _fits = write!(script, "{byte:02x}");
        }
    }
    let _fits = write!(script, "\t{{{}}}\n\\.\n", names.join(","));
    Ok(script)
}

/// A name that means the same with and without quotes.
fn plain<'a>(name: &'a str, more: &str) -> Result<&'a str, SealError> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || more.contains(c);
    match name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(plain) {
        true => Ok(name),
        false => Err(SealError::Name(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_take_the_place_of_the_kits_own() {
        let flags = Install { owner: Some("seal_owner".into()), variable: Some("my.seal".into()) };
        let script = install(&flags).expect("names");
        assert!(!script.contains(OWNER) && !script.contains(VARIABLE));
        assert!(
            script.contains("CREATE ROLE seal_owner") && script.contains("current_setting('my.seal', true)")
        );
        let bad = Install { owner: Some("x; DROP".into()), variable: None };
        assert!(install(&bad).is_err());
    }

    #[test]
    fn a_key_never_takes_the_place_of_another() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        keygen(Some(&path)).expect("written");
        let key = std::fs::read_to_string(&path).expect("readable");
        assert!(SealKey::parse(key.trim_end()).is_ok());
        assert!(matches!(keygen(Some(&path)), Err(SealError::File(_))));
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), key);
    }
}
