//! The call centre's database, in one of its phases, and a pgwarden before it.

use std::process::{Command, Output};

use pgwarden_tests::tokens::SECRET;
use pgwarden_tests::{Pgwarden, Server, examples, psql};

/// The files of the migration, in their order.
pub const PHASES: [&str; 8] = [
    "0-organizations",
    "1-discover",
    "2-add-column",
    "3-backfill",
    "4-not-null",
    "5-claims",
    "6-immutable",
    "7-policies",
];

/// A database `calls` as it was before the migration.
#[track_caller]
pub fn load(server: &Server) -> String {
    server.psql("CREATE DATABASE calls");
    let url = server.url_for("postgres", "", "calls");
    for file in ["01-schema", "02-data"] {
        examples::run(&url, &format!("calls/{file}.sql"));
    }
    url
}

/// Runs a file of the migration.
#[track_caller]
pub fn migrate(url: &str, file: &str) -> String {
    said(&examples::run(url, &format!("calls/migration/{file}.sql")))
}

/// The database with the migration behind it.
#[track_caller]
pub fn load_migrated(server: &Server) -> String {
    let url = load(server);
    PHASES.iter().for_each(|phase| _ = migrate(&url, phase));
    url
}

/// What one statement of the superuser answers.
#[track_caller]
pub fn ask(url: &str, sql: &str) -> String {
    let output = psql(url, &["-c", sql]);
    assert!(output.status.success(), "{sql}: {}", said(&output));
    said(&output).trim().to_owned()
}

/// What one statement of the superuser is refused with.
#[track_caller]
pub fn refused(url: &str, sql: &str) -> String {
    let output = psql(url, &["-v", "VERBOSITY=verbose", "-c", sql]);
    assert!(!output.status.success(), "{sql} went through");
    said(&output)
}

/// A pgwarden with the example's configuration.
#[track_caller]
pub fn pgwarden(server: &Server) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url_for("authenticator", "", "calls"));
    Pgwarden::builder()
        .config(&examples::text("calls/pgwarden.toml"))
        .upstream(&upstream)
        .file("users.txt", "\"app\" \"app-secret\"\n\"jobs\" \"jobs-secret\"\n")
        .env("AUTHENTICATOR_PASSWORD", "of the applications")
        .env("SERVICE_PASSWORD", "of the jobs")
        .env("JWT_SECRET", SECRET)
        .env("PGWARDEN_POOL_SIZE", "2")
        .start()
}

/// A token as the example's own script makes it.
#[track_caller]
pub fn token(url: &str, email: &str) -> String {
    let mut script = Command::new("bash");
    script.arg(examples::path("calls/token.sh")).arg(email).env("DATABASE", url).env("JWT_SECRET", SECRET);
    let output = script.output().expect("bash is installed");
    assert!(output.status.success(), "token.sh: {}", said(&output));
    said(&output).trim().to_owned()
}

/// Both outputs of a program.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
