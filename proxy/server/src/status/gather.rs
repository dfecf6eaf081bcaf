//! Puts the status together when somebody asks: from the board, the ledgers and the settings.
//!
//! Nothing stands still meanwhile: the numbers of one report can differ by those who moved while it was made.

use super::Source;
use super::board::{Doing, Seen};
use super::report::{Clients, PinReport, PoolReport, Report, SessionReport, Waits};
use crate::admin::Unready;
use crate::app::App;
use crate::clock;
use crate::pool::{Pool, Whose};
use crate::signals::Phase;
use arc_swap::ArcSwap;
use pgwarden_config::PoolMode;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Whose backends are counted together: the database, and the login where that is no client's name.
type Name = (String, Option<String>);

impl Source for ArcSwap<App> {
    fn report(&self) -> Report {
        self.load().report()
    }

    fn processes(&self, database: &str) -> Vec<u32> {
        let mut processes = Vec::new();
        self.load().board.look(clock::uptime(), |_, pool, seen| {
            processes.extend(seen.backend.filter(|_| pool.key.database == database));
        });
        processes
    }
}

impl App {
    fn report(&self) -> Report {
        let mut sessions = Vec::new();
        let mut pools = pools(self);
        let mut clients = Clients { limit: self.settings.limits.max_clients, ..Clients::default() };
        let mut pins: BTreeMap<&'static str, PinReport> = BTreeMap::new();
        self.board.look(clock::uptime(), |id, pool, seen| {
            let row = pools.entry(name(pool)).or_default();
            row.clients += 1;
            row.leased += usize::from(seen.backend.is_some());
            let state = count(&mut clients, &seen);
            if let Some((reason, seconds)) = seen.pin {
                let pin = pins.entry(reason.label()).or_default();
                pin.clients += 1;
                pin.longest_seconds = pin.longest_seconds.max(seconds);
            }
            sessions.push((seen, id, state, Arc::clone(pool)));
        });
        let logged_in = sessions.len();
        clients.total = self.admission.clients().max(logged_in);
        clients.logging_in = clients.total - logged_in;
        sessions.sort_by_key(|(seen, id, ..)| (place(seen), Reverse(seen.seconds), *id));
        sessions.truncate(Report::SESSIONS);
        let pools = rows(pools);
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.board.started.elapsed().as_secs(),
            state: phase(self.shutdown.phase()).to_owned(),
            unready: self.readiness.reasons().map(Unready::label).map(str::to_owned).collect(),
            mode: self.settings.mode.as_str().to_owned(),
            pool_mode: match self.settings.pool.mode {
                PoolMode::Transaction => "transaction".to_owned(),
                PoolMode::Session => "session".to_owned(),
            },
            last_reload: self.board.last_reload(),
            clients,
            waits: waits(&pools),
            pools,
            pins: pins
                .into_iter()
                .map(|(reason, pin)| PinReport { reason: reason.to_owned(), ..pin })
                .collect(),
            services: self.services.report(),
            staging: self.observer.staging(),
            sinks: self.sinks.report(),
            service_sessions: self.services.sessions(Report::SESSIONS),
            sessions: sessions
                .iter()
                .map(|(seen, id, state, pool)| session(*id, pool, state, seen))
                .collect(),
        }
    }
}

/// How a pool is called where names of clients' users are not shown.
fn name(pool: &Pool) -> Name {
    let login = match pool.key.whose {
        Whose::Everybodys | Whose::Service(_) => Some(pool.terms().target.login.user.clone()),
        Whose::Of(_) => None,
    };
    (pool.key.database.clone(), login)
}

/// Every pool's own numbers.
fn pools(app: &App) -> BTreeMap<Name, PoolReport> {
    let now = Instant::now();
    let mut rows: BTreeMap<Name, PoolReport> = BTreeMap::new();
    app.pools.each(|pool| {
        let row = rows.entry(name(pool)).or_default();
        row.pools += 1;
        row.size += pool.ledger.limit();
        row.opening += pool.opening.count();
        row.closing += pool.closing.count();
        // All that are open, for now: who holds one is on the board.
        row.idle += pool.ledger.open();
        pool.ledger.waiters(|caller| {
            let waited = now.saturating_duration_since(caller.since).as_secs_f64();
            if !caller.sender.is_closed() {
                row.waiting += 1;
                row.longest_wait_seconds = Some(row.longest_wait_seconds.unwrap_or_default().max(waited));
            }
        });
    });
    rows
}

/// The pools that are in use.
fn rows(pools: BTreeMap<Name, PoolReport>) -> Vec<PoolReport> {
    let finished = pools.into_iter().map(|((database, login), row)| PoolReport {
        database,
        login,
        idle: row.idle.saturating_sub(row.leased + row.opening),
        longest_wait_seconds: row.longest_wait_seconds.map(|seconds| (seconds * 1_000.0).round() / 1_000.0),
        ..row
    });
    let used =
        |row: &PoolReport| row.clients + row.leased + row.idle + row.opening + row.closing + row.waiting > 0;
    finished.filter(used).collect()
}

fn waits(pools: &[PoolReport]) -> Waits {
    Waits {
        clients: pools.iter().map(|pool| pool.waiting).sum(),
        longest_seconds: pools.iter().filter_map(|pool| pool.longest_wait_seconds).reduce(f64::max),
    }
}

/// Counts a client in its group, and names the group.
fn count(clients: &mut Clients, seen: &Seen) -> &'static str {
    let (group, name) = match (seen.doing, seen.pin) {
        (Doing::Transaction, _) => (&mut clients.transaction, "transaction"),
        (Doing::Waiting, _) => (&mut clients.waiting, "waiting"),
        (Doing::Idle, Some(_)) => (&mut clients.pinned, "pinned"),
        (Doing::Idle, None) => (&mut clients.idle, "idle"),
    };
    *group += 1;
    name
}

/// Who is listed first.
fn place(seen: &Seen) -> u8 {
    match (seen.doing, seen.pin) {
        (Doing::Waiting, _) => 0,
        (Doing::Transaction, _) => 1,
        (Doing::Idle, Some(_)) => 2,
        (Doing::Idle, None) => 3,
    }
}

fn session(id: u64, pool: &Pool, state: &str, seen: &Seen) -> SessionReport {
    SessionReport {
        id,
        database: pool.key.database.clone(),
        state: state.to_owned(),
        seconds: seen.seconds,
        server_process: seen.backend,
        pin: seen.pin.map(|(reason, _)| reason.label().to_owned()),
        pin_seconds: seen.pin.map(|(_, seconds)| seconds),
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Running => "running",
        // No new clients come in either case.
        Phase::HandingOver | Phase::Draining => "draining",
        Phase::Stopped => "stopped",
    }
}
