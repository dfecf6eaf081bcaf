//! The status as one screen of text.

use super::table::{Side, Table};
use crate::status::Report;
use std::io::{self, IsTerminal};

/// The most clients that are listed.
const CLIENTS: usize = 20;

/// The most tables that are listed.
const TABLES: usize = 40;

/// Whether text may be emphasised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paint {
    /// Letters alone.
    Plain,
    /// A terminal's bold and yellow.
    Terminal,
}

impl Paint {
    /// What standard output takes; `NO_COLOR` (<https://no-color.org>) is honoured.
    pub(super) fn of_output() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        if wanted && io::stdout().is_terminal() { Self::Terminal } else { Self::Plain }
    }

    fn heading(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn warning(self, text: &str) -> String {
        self.wrap("33", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Terminal => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

/// The whole screen.
pub(super) fn render(report: &Report, paint: Paint) -> String {
    let mut text = head(report, paint);
    for table in [
        pools(report),
        pins(report),
        services(report),
        service_sessions(report),
        staging(report),
        sinks(report),
    ]
    .iter()
    .filter(|table| !table.is_empty())
    {
        section(table, paint, &mut text);
    }
    let more = report.staging.len().saturating_sub(TABLES);
    if more > 0 {
        text.push_str(&format!("… {more} more tables are staged: pgwarden staged lists them\n"));
    }
    let (table, unlisted) = clients(report);
    if !table.is_empty() {
        section(&table, paint, &mut text);
    }
    if unlisted > 0 {
        text.push_str(&format!("… and {unlisted} more\n"));
    }
    text
}

fn head(report: &Report, paint: Paint) -> String {
    let Report { version, state, mode, pool_mode, clients, waits, .. } = report;
    let title = format!("pgwarden {version}, {state}, up {}", duration(report.uptime_seconds));
    let ready = match report.unready.as_slice() {
        [] => "yes".to_owned(),
        reasons => paint.warning(&format!("no: {}", reasons.join(", "))),
    };
    let reload = match &report.last_reload {
        None => "none since the start".to_owned(),
        Some(last) => format!("{}, {} ago", last.outcome, duration(last.seconds_ago)),
    };
    let waiting = match (waits.clients, waits.longest_seconds) {
        (0, _) => "nobody".to_owned(),
        (count, longest) => paint.warning(&format!("{count} for a backend, the first {}", wait(longest))),
    };
    let lines = [
        ("Mode", format!("{mode}, {pool_mode} pooling")),
        ("Ready", ready),
        ("Reload", reload),
        (
            "Clients",
            format!(
                "{} of at most {}: {} idle, {} in a transaction, {} waiting, {} pinned, {} logging in",
                clients.total,
                clients.limit,
                clients.idle,
                clients.transaction,
                clients.waiting,
                clients.pinned,
                clients.logging_in
            ),
        ),
        ("Waiting", waiting),
    ];
    let lines: Vec<String> = lines.iter().map(|(name, value)| format!("{name:<9}{value}\n")).collect();
    format!("{}\n{}", paint.heading(&title), lines.concat())
}

fn section(table: &Table, paint: Paint, text: &mut String) {
    let lines = table.lines();
    for (number, line) in lines.iter().enumerate() {
        text.push_str(if number == 0 { "\n" } else { "" });
        text.push_str(&if number == 0 { paint.heading(line) } else { line.clone() });
        text.push('\n');
    }
}

fn pools(report: &Report) -> Table {
    let mut table = Table::new(&[
        ("DATABASE", Side::Left),
        ("LOGIN", Side::Left),
        ("CLIENTS", Side::Right),
        ("SIZE", Side::Right),
        ("LEASED", Side::Right),
        ("IDLE", Side::Right),
        ("OPENING", Side::Right),
        ("CLOSING", Side::Right),
        ("WAITING", Side::Right),
        ("LONGEST WAIT", Side::Right),
    ]);
    for pool in &report.pools {
        let login = pool.login.clone().unwrap_or_else(|| format!("({} logins)", pool.pools));
        let numbers =
            [pool.clients, pool.size, pool.leased, pool.idle, pool.opening, pool.closing, pool.waiting];
        let longest =
            pool.longest_wait_seconds.map_or_else(|| "-".to_owned(), |_| wait(pool.longest_wait_seconds));
        let cells =
            [pool.database.clone(), login].into_iter().chain(numbers.map(|number| number.to_string()));
        table.row(cells.chain([longest]));
    }
    table
}

fn pins(report: &Report) -> Table {
    let mut table = Table::new(&[("PIN", Side::Left), ("CLIENTS", Side::Right), ("LONGEST", Side::Right)]);
    for pin in &report.pins {
        table.row([pin.reason.clone(), pin.clients.to_string(), duration(pin.longest_seconds)]);
    }
    table
}

fn services(report: &Report) -> Table {
    let mut table = Table::new(&[
        ("SERVICE", Side::Left),
        ("ROLE", Side::Left),
        ("STATE", Side::Left),
        ("SESSIONS", Side::Right),
        ("AT MOST", Side::Right),
        ("SO FAR", Side::Right),
        ("TRANSACTIONS", Side::Right),
        ("STATEMENTS", Side::Right),
        ("ERRORS", Side::Right),
    ]);
    for one in &report.services {
        let state = match &one.expires {
            Some(moment) if one.state == "open" => format!("open until {moment}"),
            _ => one.state.clone(),
        };
        let numbers = [one.sessions.to_string(), one.limit.to_string()];
        let totals = [one.sessions_total, one.transactions, one.statements, one.errors];
        let cells = [one.service.clone(), one.role.clone(), state].into_iter().chain(numbers);
        table.row(cells.chain(totals.map(|number| number.to_string())));
    }
    table
}

fn service_sessions(report: &Report) -> Table {
    let mut table = Table::new(&[
        ("SESSION", Side::Right),
        ("SERVICE", Side::Left),
        ("USER", Side::Left),
        ("FROM", Side::Left),
        ("REASON", Side::Left),
        ("FOR", Side::Right),
        ("STATEMENTS", Side::Right),
        ("TABLES READ", Side::Right),
        ("WRITTEN", Side::Right),
    ]);
    for one in report.service_sessions.iter().take(CLIENTS) {
        let said = [&one.user, &one.client, &one.reason].map(String::clone);
        let numbers = [one.statements.to_string(), one.read.len().to_string(), one.written.len().to_string()];
        let first = [one.session.to_string(), one.service.clone()];
        let cells = first.into_iter().chain(said).chain([duration(one.seconds)]).chain(numbers);
        table.row(cells);
    }
    table
}

fn staging(report: &Report) -> Table {
    let mut table = Table::new(&[
        ("STAGED DATABASE", Side::Left),
        ("TABLE", Side::Left),
        ("POLICIES", Side::Left),
        ("SINCE", Side::Left),
    ]);
    for one in report.staging.iter().take(TABLES) {
        let state = match one.state.as_str() {
            "promoted" => "in force",
            "refused" => "could not be staged",
            other => other,
        };
        let since = one.since.as_deref().unwrap_or("-");
        table.row([one.database.as_str(), &one.table, state, since].map(str::to_owned));
    }
    table
}

fn sinks(report: &Report) -> Table {
    let mut table = Table::new(&[
        ("SINK", Side::Left),
        ("STATE", Side::Left),
        ("BEHIND", Side::Right),
        ("DELIVERED", Side::Right),
        ("RETRIES", Side::Right),
        ("REJECTED", Side::Right),
        ("SKIPPED", Side::Right),
        ("LAST FAILURE", Side::Left),
    ]);
    for one in &report.sinks {
        let numbers = [one.behind, one.delivered, one.retries, one.rejected, one.skipped];
        let cells =
            [one.sink.clone(), one.state.clone()].into_iter().chain(numbers.map(|number| number.to_string()));
        table.row(cells.chain([one.last_failure.clone().unwrap_or_else(|| "-".to_owned())]));
    }
    table
}

/// Those who do something, and how many of them find no place.
fn clients(report: &Report) -> (Table, usize) {
    let mut table = Table::new(&[
        ("CLIENT", Side::Right),
        ("DATABASE", Side::Left),
        ("STATE", Side::Left),
        ("FOR", Side::Right),
        ("SERVER PROCESS", Side::Right),
        ("PIN", Side::Left),
    ]);
    let listed: Vec<_> = report.sessions.iter().filter(|one| one.state != "idle").take(CLIENTS).collect();
    let groups = &report.clients;
    let unlisted = (groups.waiting + groups.transaction + groups.pinned).saturating_sub(listed.len());
    for one in listed {
        let process = one.server_process.map_or_else(|| "-".to_owned(), |process| process.to_string());
        let pin = match (&one.pin, one.pin_seconds) {
            (Some(reason), Some(seconds)) => format!("{reason} for {}", duration(seconds)),
            _ => "-".to_owned(),
        };
        let state = if one.state == "transaction" { "in a transaction" } else { one.state.as_str() };
        let (id, seconds) = (one.id.to_string(), duration(one.seconds));
        table.row([id, one.database.clone(), state.to_owned(), seconds, process, pin]);
    }
    (table, unlisted)
}

/// The two largest units of a time in seconds.
fn duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = Vec::new();
    for (unit, size) in units.iter().skip(first).take(2) {
        if rest >= *size || parts.is_empty() {
            parts.push(format!("{} {unit}", rest / size));
        }
        rest %= size;
    }
    parts.join(" ")
}

/// A wait: with tenths of a second while it is short.
fn wait(seconds: Option<f64>) -> String {
    let seconds = seconds.unwrap_or_default().max(0.0);
    if seconds < 10.0 {
        return format!("{seconds:.1} s");
    }
    duration(std::time::Duration::try_from_secs_f64(seconds).unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests;
