//! Scripts of pgwarden's own, run on a connection of their own.

use crate::lookup::LookupError;
use crate::upstream::{Credentials, Seals, Server, UpstreamError, query_reporting};
use std::time::Duration;

/// How long a script waits for a table that somebody else has locked. Others wait behind it for as long.
const LOCK_TIMEOUT: &str = "100ms";
/// How often it is tried.
const TRIES: u32 = 20;
/// How long to wait before it is tried again, the first time; then longer.
const PAUSE: Duration = Duration::from_millis(50);
/// `lock_not_available`, and `deadlock_detected`.
const TRY_AGAIN: [&str; 2] = ["55P03", "40P01"];

/// Runs a script as one transaction, again and again while the tables are locked.
///
/// # Errors
/// [`LookupError`] when the server refuses it: then nothing of it was done.
pub(super) async fn run(
    server: &Server,
    login: &Credentials,
    database: &str,
    script: &str,
) -> Result<(), LookupError> {
    let settings = [("application_name", "pgwarden"), ("client_encoding", "UTF8")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let text = format!(
        "BEGIN; SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL client_min_messages = warning;\n\
         SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; SET LOCAL check_function_bodies = off;\n\
         SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtextextended('pgwarden writes', 0));\n{script}\nCOMMIT"
    );
    let mut pause = PAUSE;
    for last in (0..TRIES).rev() {
        let established = server.connect(login, database, (&[], Seals::Off), &settings).await?;
        let mut stream = established.stream;
        match query_reporting(&mut stream, text.as_bytes()).await {
            Ok(_) => return Ok(()),
            Err(UpstreamError::Refused { sqlstate, .. })
                if last > 0 && TRY_AGAIN.contains(&sqlstate.as_str()) =>
            {
                tokio::time::sleep(pause).await;
            }
            Err(UpstreamError::Refused { payload, .. }) => return Err(LookupError::refused(&payload)),
            Err(error) => return Err(error.into()),
        }
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    Ok(())
}
