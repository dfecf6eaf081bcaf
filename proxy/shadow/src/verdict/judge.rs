//! From what is known to a verdict for each table.

use super::ahead::Ahead;
use super::coverage::{Evaluation, Examined};
use super::issue::{Disposition, Issue, Standing};
use super::ledger::{Ledger, is_same};
use super::milestone::{History, Milestone, Stage, Step, histories};
use super::moment::Moment;
use super::report::{
    Cause, Chain, Judgement, Reason, Report, Rules, Statement, Trail, Unseen, VERSION, Verdict,
};
use super::words::{millionths, percent, several, span};
use crate::coverage::Detector;
use crate::kind::Severity;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

/// What is known besides what the trails say.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The trails, and whether they are whole.
    pub trails: Vec<Trail>,
    /// Tables that are to be judged, by database, whether anything was seen of them or not.
    pub tables: BTreeSet<(String, String)>,
    /// What promotion would run into.
    pub ahead: Ahead,
    /// Statements that the server has met and pgwarden may have.
    pub server_statements: Vec<Unseen>,
    /// What was not asked.
    pub caveats: Vec<String>,
    /// The pgwarden that asks.
    pub version: String,
}

/// Judges every table of which something is known.
#[must_use]
pub fn judge(ledger: &Ledger, surroundings: Surroundings, rules: Rules, now: Moment) -> Report {
    let steps = ledger.steps();
    let dispositions = dispositions(&steps);
    let mut histories = histories(&steps);
    for (table, at) in &ledger.by_hand {
        let history = histories.get_mut(table).filter(|history| history.since < Some(*at));
        history.into_iter().for_each(|history| history.since = Some(*at));
    }
    let mut findings: Vec<Issue> = ledger.issues.values().cloned().collect();
    for issue in &mut findings {
        issue.standing = standing(issue, &histories, &dispositions, now);
    }
    findings.sort_by_key(rank);
    let statements = statements(ledger, &rules, &dispositions, now);
    let unseen = unseen(surroundings.server_statements, &statements, &dispositions, now);
    let mut caveats = surroundings.caveats;
    if ledger.unlisted > 0 {
        caveats.push(format!("{} findings and executions found no place in this report", ledger.unlisted));
    }
    let bench = Bench {
        ledger,
        rules: &rules,
        trails: &surroundings.trails,
        ahead: &surroundings.ahead,
        findings: &findings,
        statements: &statements,
        unseen: &unseen,
    };
    let unknown = History::default();
    let judged = judged(&histories, surroundings.tables, &findings);
    let mut tables: Vec<Judgement> = judged
        .into_iter()
        .map(|table| bench.judgement(&table, histories.get(&table).unwrap_or(&unknown)))
        .collect();
    surroundings.ahead.bind(&mut tables);
    tables.sort_by(|one, other| {
        (one.verdict, &one.database, &one.table).cmp(&(other.verdict, &other.database, &other.table))
    });
    let mut milestones = steps;
    milestones.sort_by_key(|milestone| std::cmp::Reverse((milestone.at, milestone.id)));
    Report {
        v: VERSION,
        generated: now,
        version: surroundings.version,
        since: ledger.since(),
        rules,
        trails: surroundings.trails,
        caveats,
        tables,
        timeline: ledger.timeline.clone(),
        findings,
        statements,
        unseen,
        services: ledger.services.sessions(),
        milestones,
        events: ledger.events.clone(),
    }
}

/// What was said last about each finding, or statement.
fn dispositions(steps: &[Milestone]) -> Dispositions<'_> {
    let said = steps.iter().filter_map(|step| {
        let (finding, disposition) = step.disposition()?;
        Some(((step.database.as_str(), finding), (step.step, disposition)))
    });
    said.collect()
}

type Histories = BTreeMap<(String, String), History>;
/// By database, and by finding or statement.
type Dispositions<'a> = BTreeMap<(&'a str, &'a str), (Step, Disposition)>;

fn standing(issue: &Issue, histories: &Histories, dispositions: &Dispositions<'_>, now: Moment) -> Standing {
    match dispositions.get(&(issue.key.database.as_str(), issue.id.as_str())) {
        Some((Step::Ignore, said)) if said.until.is_some_and(|until| until > now) => {
            return Standing::Ignored(said.clone());
        }
        Some((Step::Resolve, said)) if issue.last > said.at => return Standing::Reopened(said.clone()),
        Some((Step::Resolve, said)) => return Standing::Resolved(said.clone()),
        _ => (),
    }
    let by_policy = [Detector::Writes, Detector::Replay, Detector::Denied];
    let table =
        issue.key.table.as_deref().filter(|_| issue.detectors.iter().all(|one| by_policy.contains(one)));
    let since = table.and_then(|table| {
        let key = (issue.key.database.clone(), table.to_owned());
        histories.get(&key).and_then(|history| history.since)
    });
    match since {
        Some(since) if issue.last < since => Standing::Outdated { since },
        _ if issue.secondary >= issue.count => Standing::Secondary,
        _ => Standing::Open,
    }
}

/// Open ones first, then by weight, then by how lately they were met.
fn rank(issue: &Issue) -> impl Ord + use<> {
    (
        !issue.standing.is_open(),
        std::cmp::Reverse(issue.severity),
        std::cmp::Reverse(issue.last),
        issue.id.clone(),
    )
}

fn accepted(statement: (&str, &str), dispositions: &Dispositions<'_>, now: Moment) -> Option<Disposition> {
    let (step, said) = dispositions.get(&statement)?;
    let is_in_force = *step == Step::Ignore && said.until.is_some_and(|until| until > now);
    is_in_force.then(|| said.clone())
}

fn statements(
    ledger: &Ledger,
    rules: &Rules,
    dispositions: &Dispositions<'_>,
    now: Moment,
) -> Vec<Statement> {
    let mut merged: BTreeMap<(&str, &str), Examined> = BTreeMap::new();
    for ((_, database, fingerprint), one) in &ledger.examined {
        match merged.get_mut(&(database.as_str(), fingerprint.as_str())) {
            Some(known) => known.merge(one),
            None => drop(merged.insert((database, fingerprint), one.clone())),
        }
    }
    for one in merged.values_mut().filter(|one| one.text.is_none()) {
        one.text = ledger.texts.get(&one.fingerprint).cloned();
    }
    let mut statements: Vec<Statement> = merged
        .into_values()
        .map(|examined| Statement {
            executions: examined.executions(),
            evaluation: examined.evaluation(rules.min_replays),
            accepted: accepted((&examined.database, &examined.fingerprint), dispositions, now),
            examined,
        })
        .collect();
    statements.sort_by(|one, other| {
        (one.evaluation, std::cmp::Reverse(one.executions), &one.examined.fingerprint).cmp(&(
            other.evaluation,
            std::cmp::Reverse(other.executions),
            &other.examined.fingerprint,
        ))
    });
    statements
}

fn unseen(
    known_to_server: Vec<Unseen>,
    statements: &[Statement],
    dispositions: &Dispositions<'_>,
    now: Moment,
) -> Vec<Unseen> {
    let seen: BTreeSet<(&str, &str)> = statements
        .iter()
        .map(|one| (one.examined.database.as_str(), one.examined.fingerprint.as_str()))
        .collect();
    let mut unseen = known_to_server;
    unseen.retain(|one| !seen.contains(&(one.database.as_str(), one.fingerprint.as_str())));
    for one in &mut unseen {
        one.accepted = accepted((&one.database, &one.fingerprint), dispositions, now);
    }
    unseen.sort_by(|one, other| other.calls.cmp(&one.calls).then(one.fingerprint.cmp(&other.fingerprint)));
    unseen
}

/// The tables with a history, those that somebody asks for, and those of findings that speak of policies.
fn judged(
    histories: &Histories,
    asked: BTreeSet<(String, String)>,
    findings: &[Issue],
) -> BTreeSet<(String, String)> {
    let of_findings = findings.iter().filter_map(|issue| {
        let speaks_of_rows = issue.detectors.iter().any(|detector| *detector != Detector::Context);
        let table = issue.key.table.clone().filter(|_| speaks_of_rows)?;
        Some((issue.key.database.clone(), table))
    });
    histories.keys().cloned().chain(asked).chain(of_findings).collect()
}

/// What tables are judged by.
struct Bench<'a> {
    ledger: &'a Ledger,
    rules: &'a Rules,
    trails: &'a [Trail],
    ahead: &'a Ahead,
    findings: &'a [Issue],
    statements: &'a [Statement],
    unseen: &'a [Unseen],
}

impl Bench<'_> {
    fn judgement(&self, (database, table): &(String, String), history: &History) -> Judgement {
        let of_table = |one: &&Statement| {
            one.examined.database == *database
                && (one.examined.is_about_any_table()
                    || one.examined.tables.iter().any(|named| is_same(named, table)))
        };
        let statements: Vec<&Statement> = self.statements.iter().filter(of_table).collect();
        let (open, others): (Vec<&Issue>, Vec<&Issue>) = self
            .findings
            .iter()
            .filter(|issue| self.concerns(issue, database, table))
            .partition(|issue| issue.severity == Severity::Blocker && issue.standing.is_open());
        let begin = history.since.max(self.ledger.since()).unwrap_or_default();
        let observed = self.ledger.runs.since(begin);
        let compared = statements.iter().map(|one| one.examined.compared()).sum();
        let mut reasons = obstacles(history, &open);
        reasons.extend(self.ahead.reasons(database, table, history.stage));
        reasons.extend(self.gaps(observed, &statements));
        reasons.extend(self.beside(database, table));
        if history.stage == Stage::Unstaged && history.not_staged.is_empty() {
            reasons.push(lacking(Cause::Unstaged, "nothing is staged for it".to_owned()));
        }
        let differs = open.iter().any(|issue| issue.detectors.iter().any(|one| *one != Detector::Context));
        let mut judgement = Judgement {
            database: database.clone(),
            table: table.clone(),
            stage: history.stage,
            since: history.since,
            verdict: Verdict::Ready,
            reasons,
            observed_seconds: observed.as_secs(),
            statements: statements.len(),
            evaluated: statements.iter().filter(|one| one.evaluation.is_enough()).count(),
            executions: statements.iter().map(|one| one.executions).sum(),
            compared,
            bound: 3_000_000_u64.checked_div(compared).filter(|_| !differs),
            findings: open.iter().map(|issue| issue.id.clone()).collect(),
            others: others.len(),
        };
        judgement.conclude();
        judgement
    }

    /// Whether a finding is about a table: it names it, or it names none and its statement does; one of which neither is
    /// known is about all tables of its database.
    fn concerns(&self, issue: &Issue, database: &str, table: &str) -> bool {
        if issue.key.database != database {
            return false;
        }
        if let Some(named) = &issue.key.table {
            return is_same(named, table);
        }
        let statement = self.statements.iter().find(|one| {
            Some(&one.examined.fingerprint) == issue.key.fingerprint.as_ref()
                && one.examined.database == database
        });
        match statement {
            Some(one) if !one.examined.tables.is_empty() => {
                one.examined.tables.iter().any(|named| is_same(named, table))
            }
            _ => true,
        }
    }

    /// What was not looked at, or not for long enough.
    fn gaps(&self, observed: Duration, statements: &[&Statement]) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let needed = DAY.saturating_mul(self.rules.min_days);
        if observed < needed {
            let text = format!("watched for {}; {} are asked for", span(observed), span(needed));
            reasons.push(lacking(Cause::TooShort, text));
        }
        let executions: u64 = statements.iter().map(|one| one.executions).sum();
        if executions == 0 {
            reasons.push(lacking(Cause::NothingSeen, "no statement that names it was seen".to_owned()));
            return reasons;
        }
        let open: Vec<_> =
            statements.iter().filter(|one| !one.evaluation.is_enough() && one.accepted.is_none()).collect();
        let uncovered: u64 = open.iter().map(|one| one.executions).sum();
        if millionths(uncovered, executions) > u64::from(self.rules.max_uncovered) {
            let never = open.iter().filter(|one| one.evaluation == Evaluation::Never).count();
            let text = format!(
                "{} of {} statements are not evaluated ({never} of them never): {} of the executions",
                open.len(),
                statements.len(),
                percent(millionths(uncovered, executions)),
            );
            reasons.push(lacking(Cause::NotEvaluated, text));
        }
        reasons
    }

    /// What went past pgwarden, or past the trail.
    fn beside(&self, database: &str, table: &str) -> Vec<Reason> {
        let mut reasons = Vec::new();
        let past = self.unseen.iter().filter(|one| {
            one.database == database
                && one.accepted.is_none()
                && one.tables.iter().any(|named| is_same(named, table))
        });
        let (count, calls) = past.fold((0_u64, 0_u64), |(count, calls), one| (count + 1, calls + one.calls));
        if count > 0 {
            let text = format!(
                "{} that the server has run ({calls} times) never came through pgwarden",
                several(count, "statement")
            );
            reasons.push(lacking(Cause::Unseen, text));
        }
        for trail in self.trails {
            if let Chain::Broken { why } = &trail.chain {
                reasons.push(lacking(
                    Cause::Trail,
                    format!("the trail in {} is not whole: {why}", trail.directory),
                ));
            }
        }
        if self.ledger.lost > 0 {
            let text = format!("{} found no place in the trail", several(self.ledger.lost, "event"));
            reasons.push(lacking(Cause::Trail, text));
        }
        reasons
    }
}

/// What has to be mended.
fn obstacles(history: &History, open: &[&Issue]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    if !open.is_empty() {
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        for issue in open {
            *kinds.entry(issue.key.kind.label()).or_default() += issue.count;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} × {count}")).collect();
        let count = u64::try_from(open.len()).unwrap_or(u64::MAX);
        reasons
            .push(against(Cause::Findings, format!("{}: {}", several(count, "finding"), kinds.join(", "))));
    }
    for one in &history.not_staged {
        let what =
            one.policy.as_deref().map_or_else(|| "a policy".to_owned(), |policy| format!("policy {policy}"));
        reasons.push(against(Cause::NotStaged, format!("{what} is not staged: {}", one.reason)));
    }
    reasons
}

fn against(code: Cause, text: String) -> Reason {
    Reason { verdict: Verdict::NotReady, code, text }
}

fn lacking(code: Cause, text: String) -> Reason {
    Reason { verdict: Verdict::InsufficientData, code, text }
}

#[cfg(test)]
mod tests;
