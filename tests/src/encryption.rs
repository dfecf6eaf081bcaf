//! How a client of pgwarden gets in, as far as TLS is concerned: psql tells by itself.

use std::process::Output;

use crate::{Pgwarden, PgwardenBuilder, Server, psql};

/// pgwarden in front of the superuser's databases, without a context.
#[must_use]
pub fn before(server: &Server) -> PgwardenBuilder {
    let upstream = format!("{}?sslmode=disable", server.url());
    Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust")
}

/// psql with parameters of libpq; it says whether the connection is encrypted.
#[must_use]
pub fn conninfo(pgwarden: &Pgwarden, parameters: &str) -> Output {
    let url = format!("{}?{parameters}", pgwarden.url("postgres", "", "postgres"));
    psql(&url, &["-c", "\\conninfo"])
}

/// How psql got in.
#[derive(Debug, PartialEq, Eq)]
pub enum Way {
    /// In clear text.
    Clear,
    /// Through TLS.
    Encrypted,
    /// Not at all; what psql said.
    Refused(String),
}

/// How psql got in, by what it printed.
#[must_use]
pub fn way(output: &Output) -> Way {
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr).into_owned());
    match output.status.success() {
        true if stdout.contains("SSL connection") => Way::Encrypted,
        true => Way::Clear,
        false => Way::Refused(stderr),
    }
}

/// Checks that psql was refused, and why.
#[track_caller]
pub fn assert_refused(found: &Way, reason: &str, parameters: &str) {
    let Way::Refused(stderr) = found else { panic!("{parameters}: {found:?}") };
    assert!(stderr.contains(reason), "{parameters}: {stderr}");
}
