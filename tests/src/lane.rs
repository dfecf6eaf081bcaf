//! A service beside the two tenants: the stage of the tests about migrations and jobs.

use crate::reload::{self, TRUST};
use crate::tenants::Tenants;
use crate::tokens::Value;
use crate::wire::Fields;
use crate::{Pgwarden, Server, Wire, until};

/// The service `migrations`: the user `migrator`, on the server the role `owner`.
pub const MIGRATIONS: &str =
    "[service.migrations]\nuser = \"migrator\"\nupstream_user = \"owner\"\npooling = \"session\"\n";

/// The tables belong to `owner`, for whom their policies hold as well, and who may bypass them.
const OWNED: &str = "
CREATE ROLE owner LOGIN BYPASSRLS;
GRANT ALL ON SCHEMA public TO owner;
GRANT CREATE ON DATABASE postgres TO owner;
ALTER TABLE items OWNER TO owner;
ALTER TABLE notes OWNER TO owner;
ALTER TABLE items FORCE ROW LEVEL SECURITY;
ALTER ROLE owner SET log_statement = 'all';
";

/// The tables of the two tenants, and their owner.
#[track_caller]
pub fn load(server: &Server) {
    Tenants::load(server);
    server.psql(OWNED);
}

/// Loads the tables and starts a pgwarden with one backend for tenants; `services` is the end of its configuration.
#[track_caller]
pub fn start<'a>(server: &'a Server, services: &str) -> Tenants<'a> {
    load(server);
    Tenants { server, pgwarden: told(server, services).start() }
}

/// The same with pgwarden alone, not started.
pub fn told(server: &Server, services: &str) -> crate::PgwardenBuilder {
    reload::told(&reload::upstream(server), &configured(services)).env("PGWARDEN_LOG_FORMAT", "json")
}

/// Writes other services into the configuration and reloads it.
#[track_caller]
pub fn reload(stage: &Tenants<'_>, services: &str) {
    reload::rewrite(&stage.pgwarden, &reload::upstream(stage.server), &configured(services));
    reload::reload(&stage.pgwarden, reload::OK);
}

fn configured(services: &str) -> String {
    format!("{TRUST}\npool.size = 1\n{services}")
}

/// Logs in as a user that says what for.
pub fn enter(pgwarden: &Pgwarden, user: &str, reason: &str) -> Result<Wire, Fields> {
    enter_with(pgwarden, &[("user", user), ("database", "postgres"), ("application_name", reason)])
}

/// Logs in with these parameters.
pub fn enter_with(pgwarden: &Pgwarden, parameters: &[(&str, &str)]) -> Result<Wire, Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    let login = wire.try_log_in("", parameters);
    login.map(|_| wire).map_err(|error| error.fields())
}

/// Logs in as the service.
#[track_caller]
pub fn migrator(stage: &Tenants<'_>) -> Wire {
    enter(&stage.pgwarden, "migrator", "OPS-1").unwrap_or_else(|error| panic!("it is refused: {error}"))
}

/// The lines of the log with this message, as JSON.
pub fn accounts(pgwarden: &Pgwarden, message: &str) -> Vec<Value> {
    let log = pgwarden.stderr();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == message).collect()
}

/// The account of the session that has ended, as the log has it; there is one.
#[track_caller]
pub fn last_account(pgwarden: &Pgwarden) -> Value {
    until("the account of the session is in the log", || {
        accounts(pgwarden, "service session ended").into_iter().next()
    })
}
