//! The example inventory on a server, with the files of `deploy/examples/inventory` as they are.

use std::path::PathBuf;

use pgwarden_tests::{Pgwarden, Server, psql};

/// The database.
pub const DATABASE: &str = "inventory";
/// The default organisation.
pub const DEFAULT: &str = "d0000000-0000-4000-8000-000000000001";
/// The organisation Acme, and one of its users.
pub const ACME: [&str; 2] = ["a0000000-0000-4000-8000-000000000001", "a0000000-0000-4000-8000-0000000000a1"];
/// The organisation Globex, and one of its users.
pub const GLOBEX: [&str; 2] =
    ["b0000000-0000-4000-8000-000000000001", "b0000000-0000-4000-8000-0000000000a1"];

/// A file of the example.
pub fn example(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/examples/inventory")).join(name)
}

/// A file of the example as text.
#[track_caller]
pub fn text(name: &str) -> String {
    let path = example(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The inventory as it was, in a database of its owner.
#[track_caller]
pub fn load(server: &Server) {
    server.psql(&text("00-roles.sql"));
    server.psql(&format!("CREATE DATABASE {DATABASE} OWNER inventory"));
    for name in ["01-schema.sql", "02-data.sql"] {
        run_file(&server.url_for("inventory", "", DATABASE), name);
    }
}

/// The same with three organisations and policies, behind pgwarden, through whose lane for services they came.
#[track_caller]
pub fn start(server: &Server) -> Pgwarden {
    load(server);
    let pgwarden = start_before_migration(server);
    for name in ["03-organisations.sql", "04-isolation.sql", "05-tenants.sql"] {
        run_file(&service(&pgwarden), name);
    }
    pgwarden
}

/// pgwarden with the configuration of the example.
#[track_caller]
pub fn start_before_migration(server: &Server) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url_for("inventory", "", DATABASE));
    let builder = Pgwarden::builder().upstream(&upstream).config(&text("pgwarden.toml"));
    builder.env("LOOKUP_PASSWORD", "unused").env("SERVICE_PASSWORD", "unused").start()
}

/// The address of the lane for services.
pub fn service(pgwarden: &Pgwarden) -> String {
    pgwarden.url("inventory_service", "", DATABASE)
}

/// The same without pgwarden.
pub fn service_directly(server: &Server, database: &str) -> String {
    server.url_for("inventory_service", "", database)
}

/// Runs a file of the example.
#[track_caller]
pub fn run_file(url: &str, name: &str) {
    let failed = try_file(url, &example(name).to_string_lossy()).err();
    assert_eq!(failed, None, "{name}");
}

/// Runs a file; what psql said where it fails.
pub fn try_file(url: &str, path: &str) -> Result<(), String> {
    let output = psql(url, &["-q", "-v", "ON_ERROR_STOP=1", "-f", path]);
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// What a query answers whom policies do not bind.
#[track_caller]
pub fn asked(server: &Server, database: &str, sql: &str) -> String {
    asked_by(&service_directly(server, database), sql)
}

/// What a query answers at this address.
#[track_caller]
pub fn asked_by(url: &str, sql: &str) -> String {
    let output = psql(url, &["-v", "ON_ERROR_STOP=1", "-c", sql]);
    assert!(output.status.success(), "{sql}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}
