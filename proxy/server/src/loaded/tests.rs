//! What is found in files, and what is not asked for.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::Path;

use pgwarden_config::Source;
use tempfile::TempDir;

use super::*;
use crate::causes::WithCauses;

/// The file system, and no environment.
struct Files;

impl Source for Files {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn env(&self, _: &str) -> Option<OsString> {
        None
    }
}

/// Settings of these variables, with `{}` for a folder that holds these files.
fn settings(variables: &[(&str, &str)], files: &[(&str, &str)]) -> (TempDir, Settings) {
    let folder = TempDir::new().unwrap();
    for (name, contents) in files {
        fs::write(folder.path().join(name), contents).unwrap();
    }
    let place = folder.path().to_str().unwrap();
    let variables = [&[("PGWARDEN_UPSTREAM", "postgres://app@localhost/app")], variables].concat();
    let variables: Vec<_> =
        variables.iter().map(|(name, value)| ((*name).to_owned(), value.replace("{}", place))).collect();
    let settings = pgwarden_config::load(None, &variables, &[], &Files).unwrap();
    (folder, settings)
}

fn mistakes(settings: &Settings) -> Vec<String> {
    let mistakes = load(settings, Purpose::Check).unwrap_err();
    mistakes.iter().map(|mistake| WithCauses(mistake).to_string()).collect()
}

#[test]
fn one_mistake_does_not_hide_the_next_and_each_says_why() {
    let (_folder, settings) = settings(
        &[
            ("PGWARDEN_UPSTREAM", "postgres://app:SCRAM-SHA-256$@localhost/app"),
            ("PGWARDEN_AUTH", "md5"),
            ("PGWARDEN_USERS_FILE", "{}/users"),
            ("PGWARDEN_TLS_CERT", "{}/users"),
            ("PGWARDEN_TLS_KEY", "{}/users"),
            ("PGWARDEN_JWT_KEY", "file:{}/short"),
        ],
        &[("users", "alice hunter2"), ("short", "hunter2")],
    );
    let found = mistakes(&settings);
    let expected = [
        ("the password for the server", "is no valid verifier"),
        ("users", "holds no certificate in PEM"),
        ("the users file", "line 1: "),
        ("no keys in", "the HMAC secret is shorter than 32 bytes"),
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (line, (what, why)) in found.iter().zip(expected) {
        assert!(line.contains(what) && line.contains(why), "{what}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn a_check_asks_no_address_and_derives_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let key = ("PGWARDEN_JWT_KEY", url.as_str());
    let users = [key, ("PGWARDEN_AUTH", "scram-sha-256"), ("PGWARDEN_USERS_FILE", "{}/users")];
    let (_folder, settings) = settings(&users, &[("users", "\"alice\" \"secret\"\n")]);
    let loaded = load(&settings, Purpose::Check).unwrap();
    assert!(loaded.tokens.keys.is_none());
    assert!(loaded.users.secret("alice").is_some() && loaded.users.verifier("alice").is_none());
    assert_eq!(listener.accept().map(drop).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}
