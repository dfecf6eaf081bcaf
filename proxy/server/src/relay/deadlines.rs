//! How long a session may be idle, and a statement run: backstops, looked at four times in each period.
//!
//! Nothing is noted when a statement begins or ends. The timer compares what it sees with what it saw the last time; so a
//! limit strikes at the earliest when its time has passed, and at the latest a quarter of it later.

use pgwarden_config::Limits;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::{Interval, MissedTickBehavior};

/// How often one period is looked at.
const LOOKS: u32 = 4;

/// How long the server has to act on a cancel before the connection is given up.
const CANCEL_GRACE: Duration = Duration::from_secs(10);

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing, outside of a transaction; and how often something moved so far.
    Idle(u64),
    /// Nothing, inside of a transaction.
    IdleInTransaction(u64),
    /// The statement whose reply has this place among all.
    Running(usize),
}

/// A limit that has been passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The client has been idle for too long.
    Idle,
    /// The client has been idle for too long inside of a transaction.
    IdleInTransaction,
    /// The statement has run for too long.
    Statement,
    /// And a cancel did not end it.
    Stuck,
}

/// The limits of one session, and what was seen of it.
#[derive(Debug)]
pub(super) struct Deadlines {
    idle: Option<Duration>,
    idle_in_transaction: Option<Duration>,
    statement: Option<Duration>,
    /// `None` where there is no limit.
    timer: Option<Box<Interval>>,
    seen: Doing,
    since: Instant,
    /// When the statement was cancelled.
    cancelled: Option<Instant>,
}

impl Deadlines {
    /// For a session that begins.
    pub(super) fn new(limits: &Limits) -> Self {
        let (idle, idle_in_transaction, statement) =
            (limits.client_idle_timeout, limits.idle_in_transaction_timeout, limits.statement_timeout);
        let shortest = [idle, idle_in_transaction, statement].into_iter().flatten().min();
        let timer = shortest.map(|period| {
            let mut timer = tokio::time::interval(period / LOOKS);
            timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
            Box::new(timer)
        });
        let seen = Doing::Idle(u64::MAX);
        Self { idle, idle_in_transaction, statement, timer, seen, since: Instant::now(), cancelled: None }
    }

    /// Whether it is time to look.
    pub(super) fn poll_tick(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) => timer.poll_tick(cx).map(drop),
            None => Poll::Pending,
        }
    }

    /// Looks at what the session does now; says what is overdue.
    pub(super) fn look(&mut self, doing: Doing, now: Instant) -> Option<Overdue> {
        if self.seen != doing {
            (self.seen, self.since, self.cancelled) = (doing, now, None);
            return None;
        }
        let passed = |limit: Option<Duration>| limit.is_some_and(|limit| now - self.since >= limit);
        match (doing, self.cancelled) {
            (Doing::Idle(_), _) => passed(self.idle).then_some(Overdue::Idle),
            (Doing::IdleInTransaction(_), _) => {
                passed(self.idle_in_transaction).then_some(Overdue::IdleInTransaction)
            }
            (Doing::Running(_), Some(at)) => (now - at >= CANCEL_GRACE).then_some(Overdue::Stuck),
            (Doing::Running(_), None) if passed(self.statement) => {
                self.cancelled = Some(now);
                Some(Overdue::Statement)
            }
            (Doing::Running(_), None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadlines(idle: u64, statement: u64) -> Deadlines {
        Deadlines {
            idle: Some(Duration::from_secs(idle)),
            idle_in_transaction: None,
            statement: Some(Duration::from_secs(statement)),
            timer: None,
            seen: Doing::Idle(u64::MAX),
            since: Instant::now(),
            cancelled: None,
        }
    }

    #[test]
    fn idleness_counts_from_the_first_look_that_saw_it() {
        let (mut deadlines, start) = (deadlines(4, 100), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(deadlines.look(Doing::Idle(7), at(10)), None);
        assert_eq!(deadlines.look(Doing::Idle(7), at(13)), None);
        assert_eq!(deadlines.look(Doing::Idle(8), at(14)), None, "something moved");
        assert_eq!(deadlines.look(Doing::Idle(8), at(18)), Some(Overdue::Idle));
        assert_eq!(deadlines.look(Doing::IdleInTransaction(8), at(500)), None, "there is no limit for it");
    }

    #[test]
    fn a_statement_is_cancelled_once_and_then_given_up() {
        let (mut deadlines, start) = (deadlines(1000, 4), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(deadlines.look(Doing::Running(3), at(0)), None);
        assert_eq!(deadlines.look(Doing::Running(3), at(4)), Some(Overdue::Statement));
        assert_eq!(deadlines.look(Doing::Running(3), at(5)), None);
        assert_eq!(deadlines.look(Doing::Running(3), at(14)), Some(Overdue::Stuck));
        assert_eq!(deadlines.look(Doing::Running(4), at(15)), None, "the next one");
    }
}
