//! Where the secrets of users come from that no file lists: the server itself.

use std::time::Duration;

use crate::mistake::Fault;
use crate::reader::Reader;
use crate::secret::SecretText;
use crate::upstream::Upstream;

const USER: &str = "auth.query.user";
const TTL: Duration = Duration::from_secs(10);
const UNKNOWN_TTL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ENTRIES: usize = 10_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// What finds the secret of a role that may log in and whose password has not expired, by the server's clock
/// (`get_role_password` in `crypt.c`), and for how many seconds that is so. Whom no policy binds is not found.
const SQL: &str = "SELECT rolname, rolpassword, CASE WHEN pg_catalog.isfinite(rolvaliduntil) \
                   THEN EXTRACT(epoch FROM rolvaliduntil - pg_catalog.clock_timestamp()) END \
                   FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin AND NOT rolsuper AND NOT rolbypassrls \
                   AND (rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.clock_timestamp())";

/// How secrets are looked up on the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthQuery {
    /// The login for it, used for nothing else.
    pub user: String,
    /// The password of that login.
    pub password: Option<SecretText>,
    /// The database in which it is asked.
    pub database: String,
    /// The statement; `$1` is the user's name.
    pub sql: String,
    /// For how long an answer is good.
    pub ttl: Duration,
    /// For how long a user is taken for unknown.
    pub unknown_ttl: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// The most users to remember.
    pub max_entries: usize,
}

/// Reads `[auth.query]`; nothing without a user.
pub(crate) fn resolve(reader: &mut Reader<'_>, upstream: Option<&Upstream>) -> Option<AuthQuery> {
    let (moment, second) = (Duration::from_millis(1), Duration::from_secs(1));
    let user = reader.text(USER);
    let password = reader.secret("auth.query.password");
    let database = reader.text("auth.query.database");
    let sql = reader.parse("auth.query.sql", statement);
    let ttl = reader.duration("auth.query.ttl", Duration::ZERO, HOUR).unwrap_or(TTL);
    let unknown_ttl = reader.duration("auth.query.unknown_ttl", Duration::ZERO, HOUR).unwrap_or(UNKNOWN_TTL);
    let timeout = reader.duration("auth.query.timeout", moment, 60 * second).unwrap_or(TIMEOUT);
    let max_entries = reader.number("auth.query.max_entries", 1..=1_000_000).unwrap_or(MAX_ENTRIES);
    for key in ["auth.query.password", "auth.query.database"] {
        if reader.is_written(key) && !reader.is_written(USER) {
            reader.missing(USER, key, Fault::new("is missing", "the role that may read the secrets"));
        }
    }
    let elsewhere = || upstream.and_then(|upstream| upstream.database.clone());
    Some(AuthQuery {
        user: user?,
        password,
        database: database.or_else(elsewhere).unwrap_or_else(|| "postgres".to_owned()),
        sql: sql.unwrap_or_else(|| SQL.to_owned()),
        ttl,
        unknown_ttl,
        timeout,
        max_entries,
    })
}

/// A statement about nobody would let everybody in with the same password.
fn statement(text: &str) -> Result<String, Fault> {
    match text.contains("$1") {
        true => Ok(text.to_owned()),
        false => Err(Fault::new("does not ask for a user", "a statement with $1 for the user's name")),
    }
}
