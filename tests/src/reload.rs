//! A pgwarden before two tenants whose configuration is a file, to be changed while it runs.

use std::fs;

use crate::tenants::{ACME, GLOBEX, values};
use crate::wait::until;
use crate::wire::Fields;
use crate::{Pgwarden, PgwardenBuilder, Server, Signal, Wire};

/// Reloads that brought the new configuration into force, in `/metrics`.
pub const OK: &str = "pgwarden_reloads_total{outcome=\"ok\"}";
/// Reloads that changed nothing, in `/metrics`.
pub const FAILED: &str = "pgwarden_reloads_total{outcome=\"failed\"}";
/// Nobody has to prove anything.
pub const TRUST: &str = "auth.method = \"trust\"";

/// The server as pgwarden is told about it.
pub fn upstream(server: &Server) -> String {
    format!("{}?sslmode=disable", server.url_for("app", "", "postgres"))
}

/// A pgwarden with this upstream, the two tenants, and what else is said, all in a file.
#[must_use]
pub fn told(upstream: &str, more: &str) -> PgwardenBuilder {
    let file = configuration(upstream, more);
    Pgwarden::builder().given_nothing().file("pgwarden.toml", &file).argument("--config=pgwarden.toml")
}

/// Writes another configuration.
pub fn rewrite(pgwarden: &Pgwarden, upstream: &str, more: &str) {
    let text = configuration(upstream, more).replace("{port}", &pgwarden.port().to_string());
    let text = text.replace("{admin_port}", &pgwarden.admin_port().to_string());
    write(pgwarden, "pgwarden.toml", &text.replace("{dir}", &pgwarden.directory().to_string_lossy()));
}

/// Writes a file that the configuration names.
pub fn write(pgwarden: &Pgwarden, name: &str, text: &str) {
    fs::write(pgwarden.directory().join(name), text).expect("a file can be written");
}

/// Sends SIGHUP, and returns when the outcome has been counted.
#[track_caller]
pub fn reload(pgwarden: &Pgwarden, outcome: &str) {
    let before = pgwarden.metric(outcome).expect("it is counted");
    pgwarden.signal(Signal::HUP);
    until("it is reloaded", || (pgwarden.metric(outcome) == Some(before + 1.0)).then_some(()));
}

/// A login in the database `postgres`, or why there is none.
pub fn log_in(pgwarden: &Pgwarden, user: &str, password: &str) -> Result<Wire, Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    let login = wire.try_log_in(password, &[("user", user), ("database", "postgres")]);
    login.map(|_| wire).map_err(|error| error.fields())
}

/// The same where there must be one.
#[track_caller]
pub fn client(pgwarden: &Pgwarden, user: &str, password: &str) -> Wire {
    log_in(pgwarden, user, password).unwrap_or_else(|error| panic!("{user} is refused: {error}"))
}

/// The organisation that a client acts for.
#[track_caller]
pub fn org(wire: &mut Wire) -> Vec<String> {
    values(&wire.query("SELECT org()"))
}

fn configuration(upstream: &str, more: &str) -> String {
    format!(
        "listen = \"127.0.0.1:{{port}}\"\nmode = \"enforce\"\nupstream.url = \"{upstream}\"\n\
         context.variables = \"app.current_org_id=tenant:uuid\"\n\
         context.fixed = \"acme=tenant:{ACME}, globex=tenant:{GLOBEX}\"\n\
         admin.listen = \"127.0.0.1:{{admin_port}}\"\n{more}\n"
    )
}
