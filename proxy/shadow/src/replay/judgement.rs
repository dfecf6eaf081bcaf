//! What the results of the runs say.

use pgwarden_sql::Depends;
use std::time::Duration;

/// What a run returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Rows.
    pub count: u64,
    /// The sum of their hashes, as the server writes it.
    pub hash: String,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What it returned, or the SQLSTATE of its error.
    pub result: Result<Answer, String>,
    /// How long it took.
    pub took: Duration,
}

/// When a run is much slower than another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// So many times.
    pub factor: f64,
    /// And at least so much.
    pub floor: Duration,
}

/// What has to be found out before it can be said whether a difference is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Whether a limit cuts between equal rows.
    Ties,
    /// Whether only the order within gathered values is another.
    Pieces,
}

/// What is to be said about a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// The policies change nothing.
    Same,
    /// They change the result.
    Differs,
    /// They change how many rows come, of a query whose result depends on the plan.
    Unstable,
    /// They make it fail, with this SQLSTATE.
    Fails(String),
    /// They make it much slower.
    Slower,
    /// It could not be run again, with this SQLSTATE.
    Error(String),
    /// There was no time, or no connection.
    Dropped,
    /// The results are others, which may be due to the plan alone.
    Undecided,
    /// More has to be asked.
    Ask(Doubt),
}

/// Compares the run of the application's role, its repetition, and that of the shadow role.
#[must_use]
pub fn judge(application: &Run, control: &Run, shadow: &Run, depends: Depends, pace: Pace) -> Judgement {
    let (first, second) = match (&application.result, &control.result) {
        (Ok(first), Ok(second)) => (first, second),
        (Err(code), _) | (_, Err(code)) => return failed(code, Judgement::Error),
    };
    let with_policies = match &shadow.result {
        Ok(answer) => answer,
        Err(code) if code == CANCELED && is_slower(application, control, shadow, pace) => {
            return Judgement::Slower;
        }
        // A right that the shadow role lacks says nothing about the policies.
        Err(code) if code == NO_PRIVILEGE => return Judgement::Error(code.clone()),
        Err(code) => return failed(code, Judgement::Fails),
    };
    if first == with_policies {
        return if is_slower(application, control, shadow, pace) {
            Judgement::Slower
        } else {
            Judgement::Same
        };
    }
    if first != second {
        return if first.count == second.count {
            by_count(first, with_policies)
        } else {
            Judgement::Undecided
        };
    }
    match depends {
        Depends::Rows => Judgement::Differs,
        Depends::Ties => Judgement::Ask(Doubt::Ties),
        Depends::Order => Judgement::Ask(Doubt::Pieces),
        Depends::Plan => by_count(first, with_policies),
    }
}

/// Decides where there was a doubt: `sure` are pairs of answers that have to be equal for the difference to count.
#[must_use]
pub fn settle(doubt: Doubt, application: &Run, shadow: &Run, pairs: &[(Run, Run)]) -> Judgement {
    let (Ok(first), Ok(with_policies)) = (&application.result, &shadow.result) else {
        return Judgement::Undecided;
    };
    let answers = pairs.iter().map(|(one, other)| one.result.as_ref().ok().zip(other.result.as_ref().ok()));
    let Some(answers) = answers.collect::<Option<Vec<_>>>() else { return by_count(first, with_policies) };
    match doubt {
        Doubt::Ties if answers.iter().all(|(cut, with_ties)| cut.count == with_ties.count) => {
            Judgement::Differs
        }
        Doubt::Ties => by_count(first, with_policies),
        Doubt::Pieces if answers.iter().all(|(one, other)| one == other) => Judgement::Same,
        Doubt::Pieces => Judgement::Differs,
    }
}

/// `query_canceled`: `statement_timeout`, for a query of pgwarden's own.
const CANCELED: &str = "57014";
/// `insufficient_privilege`.
const NO_PRIVILEGE: &str = "42501";
/// Classes of errors that are about the moment, and not about the query.
const PASSING: [&str; 5] = ["08", "40", "53", "55", "57"];

/// What an error says about a query: nothing where it is about the moment, such as a lock or a shutdown.
#[must_use]
pub fn failed(code: &str, say: impl FnOnce(String) -> Judgement) -> Judgement {
    let passes = PASSING.iter().any(|class| code.starts_with(class));
    if passes { Judgement::Dropped } else { say(code.to_owned()) }
}

fn by_count(one: &Answer, other: &Answer) -> Judgement {
    if one.count == other.count { Judgement::Undecided } else { Judgement::Unstable }
}

fn is_slower(application: &Run, control: &Run, shadow: &Run, pace: Pace) -> bool {
    let usual = application.took.max(control.took);
    let more = shadow.took.saturating_sub(usual);
    shadow.took.as_secs_f64() > usual.as_secs_f64() * pace.factor && more >= pace.floor
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { factor: 2.0, floor: Duration::from_millis(20) };

    fn run(count: u64, hash: &str, millis: u64) -> Run {
        Run { result: Ok(Answer { count, hash: hash.into() }), took: Duration::from_millis(millis) }
    }

    fn error(code: &str, millis: u64) -> Run {
        Run { result: Err(code.into()), took: Duration::from_millis(millis) }
    }

    #[track_caller]
    fn check(runs: [&Run; 3], depends: Depends, expected: &Judgement) {
        assert_eq!(judge(runs[0], runs[1], runs[2], depends, PACE), *expected);
    }

    #[test]
    fn another_result_is_a_finding_where_rows_alone_decide() {
        let (own, other) = (run(2, "a", 1), run(1, "b", 1));
        check([&own, &own, &own], Depends::Plan, &Judgement::Same);
        check([&own, &own, &other], Depends::Rows, &Judgement::Differs);
        check([&own, &own, &run(2, "b", 1)], Depends::Rows, &Judgement::Differs);
        check([&own, &own, &other], Depends::Plan, &Judgement::Unstable);
        check([&own, &own, &run(2, "b", 1)], Depends::Plan, &Judgement::Undecided);
        check([&own, &own, &other], Depends::Ties, &Judgement::Ask(Doubt::Ties));
    }

    #[test]
    fn what_differs_from_itself_says_nothing_about_policies() {
        check([&run(2, "a", 1), &run(2, "b", 1), &run(2, "c", 1)], Depends::Rows, &Judgement::Undecided);
        check([&run(2, "a", 1), &run(2, "b", 1), &run(1, "c", 1)], Depends::Rows, &Judgement::Unstable);
        check([&run(2, "a", 1), &run(3, "b", 1), &run(1, "c", 1)], Depends::Rows, &Judgement::Undecided);
    }

    #[test]
    fn an_error_is_told_by_whose_it_is() {
        let own = run(2, "a", 1);
        check([&error("42703", 1), &own, &own], Depends::Rows, &Judgement::Error("42703".into()));
        check([&own, &own, &error("54001", 1)], Depends::Rows, &Judgement::Fails("54001".into()));
        check([&own, &own, &error("42501", 1)], Depends::Rows, &Judgement::Error("42501".into()));
        check([&error("57014", 2_000), &own, &own], Depends::Rows, &Judgement::Dropped);
        check([&own, &own, &error("57P01", 1)], Depends::Rows, &Judgement::Dropped);
        check([&own, &own, &error("57014", 2_000)], Depends::Rows, &Judgement::Slower);
        let slow = run(2, "a", 1_900);
        check([&slow, &slow, &error("57014", 2_000)], Depends::Rows, &Judgement::Dropped);
    }

    #[test]
    fn slower_is_twice_as_long_and_long_enough_to_be_felt() {
        let own = run(2, "a", 15);
        check([&own, &own, &run(2, "a", 34)], Depends::Rows, &Judgement::Same);
        check([&own, &own, &run(2, "a", 36)], Depends::Rows, &Judgement::Slower);
        check([&run(2, "a", 5), &run(2, "a", 30), &run(2, "a", 55)], Depends::Rows, &Judgement::Same);
    }

    #[test]
    fn a_limit_counts_when_no_tie_is_cut() {
        let (own, other) = (run(5, "a", 1), run(5, "b", 1));
        let settled = |pairs: &[(Run, Run)]| settle(Doubt::Ties, &own, &other, pairs);
        assert_eq!(settled(&[(run(5, "", 1), run(5, "", 1))]), Judgement::Differs);
        assert_eq!(settled(&[(run(5, "", 1), run(6, "", 1))]), Judgement::Undecided);
        assert_eq!(settled(&[(run(5, "", 1), error("22004", 1))]), Judgement::Undecided);
        let fewer = settle(Doubt::Ties, &own, &run(3, "b", 1), &[(run(5, "", 1), run(6, "", 1))]);
        assert_eq!(fewer, Judgement::Unstable);
    }

    #[test]
    fn gathered_values_are_compared_by_their_pieces() {
        let (own, other) = (run(1, "a", 1), run(1, "b", 1));
        let settled = |one, with| settle(Doubt::Pieces, &own, &other, &[(run(1, one, 1), run(1, with, 1))]);
        assert_eq!(settled("p", "p"), Judgement::Same);
        assert_eq!(settled("p", "q"), Judgement::Differs);
    }
}
