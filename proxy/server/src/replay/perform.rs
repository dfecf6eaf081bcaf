//! One replay: a query as the application's role, once more as control, and as each shadow role, in one snapshot.

use crate::replay::mirror::Mirror;
use crate::replay::reach::{Reach, Unreachable, reach};
use crate::replay::side::{Side, SideError};
use pgwarden_shadow::Uncovered;
use pgwarden_shadow::replay::{
    Bound, Candidate, Doubt, Judgement, Pace, Run, bare, counting, failed, judge, pieces, settle,
};
use pgwarden_sql::{Depends, NotAgain, Part, Rerun, reads_the_same, rerun};
use std::time::{Duration, Instant};

/// How long a replay waits for a lock: somebody who changes a table must not have replays queue up in front.
const LOCK_TIMEOUT: Duration = Duration::from_millis(100);

/// Names that make a sum one of floating-point numbers, whatever columns there are.
const FLOATS: [&str; 16] = [
    "float4",
    "float8",
    "acos",
    "asin",
    "atan",
    "atan2",
    "cbrt",
    "cos",
    "degrees",
    "date_part",
    "exp",
    "ln",
    "power",
    "radians",
    "sin",
    "sqrt",
];

/// How replays are run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) statement_timeout: Duration,
    pub(super) pace: Pace,
}

/// What came of a replay.
#[derive(Debug)]
pub(super) enum Outcome {
    /// No policy that is staged has to do with it: nothing will change.
    Untouched,
    /// It was not run.
    Uncovered(Uncovered),
    /// It was.
    Judged(Vec<Judged>, Vec<(String, String)>),
}

/// What came of it with one shadow role.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) judgement: Judgement,
    /// The shadow role.
    pub(super) shadow: String,
    /// The rows of the control, and those with the policies.
    pub(super) rows: (Option<u64>, Option<u64>),
    /// How long the runs took: the application's, and with the policies.
    pub(super) took: (Duration, Duration),
}

/// A replay that goes on.
struct Replay<'a> {
    side: &'a mut Side,
    candidate: &'a Candidate,
    mirror: Mirror,
    bound: Bound,
}

/// Replays a query. The connection is as before, unless it is lost.
///
/// # Errors
/// [`SideError`] when the connection is of no use any more.
pub(super) async fn perform(
    side: &mut Side,
    candidate: &Candidate,
    rules: Rules,
) -> Result<Outcome, SideError> {
    let query = match readable(candidate) {
        Ok(query) => query,
        Err(uncovered) => return Ok(Outcome::Uncovered(uncovered)),
    };
    let outcome = replayed(side, candidate, &query, rules).await;
    if let Err(error @ (SideError::Lost(_) | SideError::Strange)) = outcome {
        return Err(error);
    }
    side.command(b"ROLLBACK").await?;
    // Advisory locks and settings that a function has left behind.
    side.command(b"DISCARD ALL").await?;
    match outcome {
        Err(SideError::Refused(code)) => Ok(Outcome::Judged(vec![Judged::failed(&code)], Vec::new())),
        other => other,
    }
}

impl Judged {
    /// What was to be set up for the runs has failed: a right is missing, or this was not the moment.
    pub(super) fn failed(code: &str) -> Self {
        let nothing = (Duration::ZERO, Duration::ZERO);
        let judgement = failed(code, Judgement::Error);
        Self { judgement, shadow: String::new(), rows: (None, None), took: nothing }
    }
}

/// The query, if its text says that it can be run again.
fn readable(candidate: &Candidate) -> Result<Rerun, Uncovered> {
    let setting = |name: &str| {
        let found = candidate.settings.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value.as_str())
    };
    let is_unicode =
        ["", "utf8", "unicode", "sql_ascii"].contains(&setting("client_encoding").to_lowercase().as_str());
    let text = std::str::from_utf8(&candidate.text).map_err(|_| Uncovered::Unread)?;
    if !(is_unicode || text.is_ascii()) || !reads_the_same(text.as_bytes()) {
        return Err(Uncovered::Unread);
    }
    rerun(text).map_err(|why| match why {
        NotAgain::Unread(_) => Uncovered::Unread,
        NotAgain::NoQuery | NotAgain::Effects => Uncovered::Unsafe,
    })
}

async fn replayed(
    side: &mut Side,
    candidate: &Candidate,
    query: &Rerun,
    rules: Rules,
) -> Result<Outcome, SideError> {
    let begin = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = {}; \
         SET LOCAL lock_timeout = {}; SET LOCAL client_min_messages = error",
        rules.statement_timeout.as_millis().max(1),
        LOCK_TIMEOUT.as_millis()
    );
    side.command(begin.as_bytes()).await?;
    let shadows = shadows(side, candidate.role()).await?;
    if shadows.is_empty() {
        // What the policies do to this role nothing here can tell.
        return Ok(Outcome::Uncovered(Uncovered::Policy));
    }
    let reach = match reach(side, &query.query, &shadows).await {
        Ok(reach) => reach,
        Err(Unreachable::Query(hindrance)) => return Ok(Outcome::Uncovered(hindrance.uncovered())),
        Err(Unreachable::Policy) => return Ok(Outcome::Uncovered(Uncovered::Policy)),
        Err(Unreachable::Server(error)) => return Err(error),
    };
    if reach.staged.is_empty() {
        return Ok(Outcome::Untouched);
    }
    let depends = if reach.aggregates || adds_floats(query, &reach) { Depends::Plan } else { query.depends };
    let mirror = Mirror::of(side, candidate).await?;
    let mut replay = Replay { side, candidate, mirror, bound: candidate.bound.clone() };
    let judged = replay.compare(query, depends, &shadows, rules.pace).await?;
    let fails = |one: &Judged| matches!(one.judgement, Judgement::Error(_));
    if query.part == Part::Source && judged.iter().any(fails) {
        // In the statement it may not fail.
        return Ok(Outcome::Uncovered(Uncovered::Failed));
    }
    Ok(Outcome::Judged(judged, reach.staged.into_iter().collect()))
}

/// The shadow roles that stand for a role: staging makes each a member of it, or says so in a comment where a member would
/// count as an owner.
async fn shadows(side: &mut Side, role: &str) -> Result<Vec<String>, SideError> {
    const QUESTION: &str = "SELECT s.rolname FROM pg_roles s WHERE s.rolname ~ '^pgwarden_shadow(_[0-9]+)?$' \
        AND (EXISTS (SELECT FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid \
            WHERE m.member = s.oid AND r.rolname = $1) \
        OR starts_with(shobj_description(s.oid, 'pg_authid'), 'pgwarden: stands for \"' || $1::text || '\", ') \
        OR starts_with(shobj_description(s.oid, 'pg_authid'), 'pgwarden: stands for ' || $1::text || ', ')) ORDER BY 1";
    let rows = side.ask(QUESTION, &[role]).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// Whether a sum may be one of floating-point numbers: its argument names one, or something unknown where there are some.
fn adds_floats(query: &Rerun, reach: &Reach) -> bool {
    let is_known = |name: &str| {
        reach.columns.contains(name)
            || name == "pg_catalog"
            || !name.starts_with(|c: char| c.is_alphabetic() || c == '_')
    };
    query.sums.iter().any(|names| {
        names.iter().any(|name| reach.floats.contains(name) || FLOATS.contains(&name.as_str()))
            || (!reach.floats.is_empty() && names.iter().any(|name| !is_known(name)))
    })
}

impl Replay<'_> {
    async fn compare(
        &mut self,
        query: &Rerun,
        depends: Depends,
        shadows: &[String],
        pace: Pace,
    ) -> Result<Vec<Judged>, SideError> {
        let role = self.candidate.role().to_owned();
        let text = counting(&query.query);
        let mut judged = Vec::new();
        let application = self.run(&role, &text).await?;
        let control = self.run(&role, &text).await?;
        for shadow in shadows {
            let with_policies = self.run(shadow, &text).await?;
            let mut judgement = judge(&application, &control, &with_policies, depends, pace);
            if judgement == Judgement::Slower {
                // Once more: anything can be slow once.
                let (again, with) = (self.run(&role, &text).await?, self.run(shadow, &text).await?);
                judgement = judge(&again, &application, &with, depends, pace);
            }
            if let Judgement::Ask(doubt) = judgement {
                let pairs = self.pairs(doubt, query, [&role, shadow]).await?;
                judgement = settle(doubt, &application, &with_policies, &pairs);
            }
            judged.push(Judged {
                judgement,
                shadow: shadow.clone(),
                rows: (count(&control), count(&with_policies)),
                took: (application.took.max(control.took), with_policies.took),
            });
        }
        Ok(judged)
    }

    /// What decides a doubt, pairs of runs that have to agree.
    async fn pairs(
        &mut self,
        doubt: Doubt,
        query: &Rerun,
        roles: [&str; 2],
    ) -> Result<Vec<(Run, Run)>, SideError> {
        let mut pairs = Vec::new();
        match doubt {
            Doubt::Pieces => {
                let text = pieces(&query.query);
                let [application, shadow] = roles;
                pairs.push((self.run(application, &text).await?, self.run(shadow, &text).await?));
            }
            Doubt::Ties => {
                for role in roles {
                    for bound in &query.bounds {
                        let cut = self.run(role, &bare(&bound.cut)).await?;
                        let with_ties = self.run(role, &bare(&bound.with_ties)).await?;
                        pairs.push((cut, with_ties));
                    }
                }
            }
        }
        Ok(pairs)
    }

    /// Runs a text as a role, with the context set anew; nothing of it is left behind.
    async fn run(&mut self, role: &str, text: &str) -> Result<Run, SideError> {
        self.side.command(b"SAVEPOINT pgwarden_run").await?;
        self.mirror.apply(self.side).await?;
        let mut context =
            self.candidate.carrier.as_ref().map(|carrier| self.side.context(carrier)).unwrap_or_default();
        context.extend_from_slice(format!("SET LOCAL ROLE \"{}\"", role.replace('"', "\"\"")).as_bytes());
        self.side.command(&context).await?;
        let begun = Instant::now();
        let (result, types) = self.side.count(text, &self.bound).await?;
        let took = begun.elapsed();
        if !types.is_empty() {
            // Another text may not say what the server has inferred from this one.
            self.bound.types = types;
        }
        self.side.command(b"ROLLBACK TO SAVEPOINT pgwarden_run").await?;
        Ok(Run { result, took })
    }
}

fn count(run: &Run) -> Option<u64> {
    run.result.as_ref().ok().map(|answer| answer.count)
}
