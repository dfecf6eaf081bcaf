//! Reports on what the policies would have done, made of the audit trail: for a terminal, as JSON, CSV and HTML; and the
//! commands that say something about a finding (`ignore`, `resolve`).
//!
//! A report is made anew from the trail's files each time, and verifies them on the way: nothing else knows more than the
//! trail, and nothing in it needs a running pgwarden.

mod alike;
mod command;
mod csv;
mod dispose;
mod facts;
mod live;
mod page;
mod past;
mod problem;
mod screen;
mod server;
mod trail;

pub(crate) use command::{gathered_for, report, rules_of, verdict};
pub(crate) use dispose::{ignore, resolve};
pub(crate) use live::{Live, Terms};
pub(crate) use page::{Attempt, POLICY, login, render as page};
pub(crate) use problem::ReportError;
pub(crate) use server::Database;
pub(crate) use trail::Keys;

use pgwarden_shadow::verdict::{Judgement, Ledger, Moment, Report, Rules, Surroundings, judge};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What has to be there before a table can be ready, unless somebody says otherwise.
pub(crate) const RULES: Rules = Rules { min_days: 7, min_replays: 3, max_uncovered: 0 };

/// What a report is made of.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    /// The directories of trails: one of each pgwarden.
    pub(crate) trails: Vec<PathBuf>,
    /// Findings and executions from before are left out.
    pub(crate) since: Option<Moment>,
    /// What has to be there before a table can be ready.
    pub(crate) rules: Rules,
    /// What verifies the signatures of the trails.
    pub(crate) keys: Keys,
    /// The databases that are asked.
    pub(crate) databases: Vec<Database>,
}

impl Sources {
    /// Reads the trails, asks the databases, and judges. Blocks; it must not be called by a thread of a runtime that does
    /// not expect that.
    ///
    /// # Errors
    /// [`ReportError`] when a trail cannot be read, or a database that was named cannot be asked.
    pub(crate) fn report(&self) -> Result<Report, ReportError> {
        let (mut ledger, mut known) = self.read()?;
        if self.databases.is_empty() {
            known.caveats.push(
                "the database was not asked (--url): steps that no trail has yet, what promotion would run into, and \
                 statements that went past pgwarden, are not known"
                    .to_owned(),
            );
            return Ok(judge(&ledger, known, self.rules, now()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ReportError::System)?;
        runtime.block_on(async {
            for database in &self.databases {
                database.tell(&mut ledger, &mut known).await?;
            }
            Ok(judge(&ledger, known, self.rules, now()))
        })
    }

    fn read(&self) -> Result<(Ledger, Surroundings), ReportError> {
        if self.trails.is_empty() {
            return Err(ReportError::Nowhere);
        }
        let mut ledger = Ledger::new(self.since);
        let mut known =
            Surroundings { version: env!("CARGO_PKG_VERSION").to_owned(), ..Surroundings::default() };
        for directory in &self.trails {
            known.trails.push(trail::read(directory, &self.keys, &mut ledger)?);
        }
        Ok((ledger, known))
    }
}

/// What a report says of one table; `None` where nothing is known of it, which is not the same as nothing against it.
pub(crate) fn verdict_of<'a>(report: &'a Report, database: &str, table: &str) -> Option<&'a Judgement> {
    report
        .tables
        .iter()
        .find(|one| one.database == database && pgwarden_shadow::verdict::is_same(&one.table, table))
}

/// The time.
pub(crate) fn now() -> Moment {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Moment::of_micros(i64::try_from(elapsed.as_micros()).unwrap_or(i64::MAX))
}

/// A length of time as people write it: `90m`, `2h`, `30d`.
pub(crate) fn age(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(digits)?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// A point in time as people write it: a date, a time with its zone, or so long ago.
pub(crate) fn since(text: &str, now: Moment) -> Option<Moment> {
    Moment::parse(text).or_else(|| Some(now.before(age(text)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_have_a_unit() {
        let seconds = |text| age(text).map(|age| age.as_secs());
        assert_eq!(
            ["90s", "5min", "2h", "30d", "1w"].map(seconds),
            [90, 300, 7_200, 2_592_000, 604_800].map(Some)
        );
        assert_eq!(["", "5", "h", "5 h", "-1d", "1.5h", "1y"].map(seconds), [None; 7]);
        let now = Moment::of_seconds(10_000);
        assert_eq!(since("1h", now), Some(Moment::of_seconds(6_400)));
        assert_eq!(since("1970-01-01", now), Some(Moment::of_seconds(0)));
    }
}
