//! The lock of a table, without anybody waiting behind it for long.
//!
//! Whoever waits for ACCESS EXCLUSIVE makes all others wait that come later. So each try gives up after a tenth of a
//! second, and the next one begins a while later.

use super::administrator::Administrator;
use super::failure::{Failure, Told};
use super::through::Traffic;
use std::time::{Duration, Instant};

/// How long a try waits; PostgreSQL's own unit is the millisecond.
const LOCK_TIMEOUT: &str = "SET LOCAL lock_timeout = '100ms'";

/// How long nobody is in the way, between the first tries; later ones leave more room.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Begins a transaction that holds `tables`, written as SQL has them.
///
/// # Errors
/// [`Failure::Locked`] when others held them for the whole of `patience`.
pub(crate) async fn begin(
    session: &mut Administrator,
    tables: &[String],
    patience: Duration,
) -> Result<(), Failure> {
    begin_holding(session, tables, patience, &Traffic::free()).await
}

/// The same while traffic is held, for the time of each try. It still is at the end, unless there is an error.
///
/// # Errors
/// As [`begin`], and when the traffic cannot be held.
pub(crate) async fn begin_holding(
    session: &mut Administrator,
    tables: &[String],
    patience: Duration,
    traffic: &Traffic,
) -> Result<(), Failure> {
    let started = Instant::now();
    let mut pause = PAUSE;
    loop {
        traffic.hold().await?;
        let tried = attempt(session, tables).await;
        if tried.is_err() {
            traffic.release().await;
        }
        match tried {
            Err(failure) if failure.is_about_locks() && started.elapsed() + pause < patience => {
                // What comes at the same time elsewhere should not come at the same time again.
                let share = rand::random_range(0.5..1.0);
                tokio::time::sleep(pause.mul_f64(share)).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(failure) if failure.is_about_locks() => return Err(blocked(session, tables, patience).await?),
            done => return done,
        }
    }
}

async fn attempt(session: &mut Administrator, tables: &[String]) -> Result<(), Failure> {
    let locks = match tables {
        [] => String::new(),
        tables => format!("; LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE", tables.join(", ONLY ")),
    };
    let locked = session.read(&format!("BEGIN; {LOCK_TIMEOUT}{locks}")).await;
    if matches!(locked, Err(Failure::Server(_))) {
        session.read("ROLLBACK").await?;
    }
    locked.map(drop)
}

/// Who is in the way.
async fn blocked(
    session: &mut Administrator,
    tables: &[String],
    patience: Duration,
) -> Result<Failure, Failure> {
    let names: Vec<String> = tables.iter().map(|table| pgwarden_shadow::policy::literal(table)).collect();
    let query = format!(
        "SELECT DISTINCT format('process %s (user %s, %s%s)', a.pid, a.usename, a.state, \
         coalesce(', since ' || date_trunc('second', a.xact_start), '')) \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.granted AND l.locktype = 'relation' \
         AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND l.relation IN (SELECT to_regclass(t)::oid FROM unnest(ARRAY[{}]::text[]) t) AND a.pid <> pg_backend_pid()",
        names.join(", ")
    );
    let holders = session.texts(&query);
    Ok(Failure::Locked(Told::new(
        format!("the lock of {} did not come within {} seconds", tables.join(", "), patience.as_secs_f64()),
        format!("In the way, by now: {}.", holders.await?.join("; ")),
        "Run the same command again: what is done stays done. demote --force --through ends sessions of that pgwarden.",
    )))
}

/// Runs `sql` in the transaction that [`begin`] has begun, and commits; on an error nothing of it is done.
///
/// # Errors
/// As [`Administrator::read`].
pub(crate) async fn finish(session: &mut Administrator, statements: &[String]) -> Result<(), Failure> {
    let done = session.read(&format!("{};\nCOMMIT", statements.join(";\n"))).await.map(drop);
    if matches!(done, Err(Failure::Server(_))) {
        session.read("ROLLBACK").await?;
    }
    done
}
