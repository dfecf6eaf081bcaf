use super::*;
use crate::coverage::{Coverage, Uncovered};
use crate::finding::{Actor, Command, Decision, Outcome, Query, Rows, Rule, Site, WouldHave};
use crate::kind::Kind;
use crate::verdict::{Fact, Happening, Key, Milestone, Occurrence};
use serde_json::{Value, json};
use std::sync::Arc;

const RULES: Rules = Rules { min_days: 7, min_replays: 3, max_uncovered: 0 };
const DAY_SECONDS: i64 = 86_400;
const TABLE: &str = "public.items";

fn day(number: i64) -> Moment {
    Moment::of_seconds(number * DAY_SECONDS)
}

fn occurrence(id: &str, kind: Kind, at: Moment) -> Occurrence {
    Occurrence {
        id: id.to_owned(),
        key: Key {
            database: "shop".to_owned(),
            kind,
            table: Some(TABLE.to_owned()),
            command: Some(Command::Select),
            policy: None,
            fingerprint: Some("f1".to_owned()),
        },
        first: at,
        at,
        count: 2,
        detector: Detector::Replay,
        decision: Decision::Allowed,
        would_have: WouldHave::Filtered(4),
        rule: Rule::Primary,
        outcome: Outcome::Committed,
        tenant: Some("acme".to_owned()),
        actor: Actor::default(),
        rows: Rows::default(),
        foreign_tenants: vec!["globex".to_owned()],
        text: Some("SELECT FROM items".to_owned()),
        origin: None,
        evidence: None,
    }
}

fn coverage(fingerprint: &str, detector: Detector, uncovered: Option<Uncovered>, count: u64) -> Fact {
    let query = Query { fingerprint: fingerprint.to_owned(), text: Some(format!("text of {fingerprint}")) };
    Fact::Covered(Box::new(Coverage {
        query: Arc::new(query),
        site: Site { database: "shop".into(), role: "app".into(), pid: None },
        tables: vec!["items".to_owned()],
        detector,
        uncovered,
        count,
    }))
}

fn step(step: Step, at: Moment, detail: Value) -> Fact {
    Fact::Step(Box::new(Milestone {
        id: at.seconds(),
        step,
        database: "shop".to_owned(),
        by: "dba".to_owned(),
        at,
        tables: vec![TABLE.to_owned()],
        reason: Some("as agreed".to_owned()),
        detail,
    }))
}

/// Staged on the first day, and watched until the tenth with one statement that was replayed a thousand times.
fn watched() -> Ledger {
    watched_with(json!({"policies": ["p"]}))
}

fn watched_with(staged: Value) -> Ledger {
    let mut ledger = Ledger::new(None);
    ledger.take("a", day(0), Fact::Event(Happening::Started, String::new()));
    ledger.take("a", day(1), step(Step::Stage, day(1), staged));
    ledger.take("a", day(2), coverage("f1", Detector::Context, None, 5_000));
    ledger.take("a", day(10), coverage("f1", Detector::Replay, None, 1_000));
    ledger.take("a", day(10), coverage("f1", Detector::Replay, Some(Uncovered::NotSampled), 4_000));
    ledger
}

/// A database that nothing is against.
fn asked() -> Surroundings {
    let mut known = Surroundings::default();
    known.ahead.asked.insert("shop".to_owned());
    known
}

fn reported(ledger: &Ledger, now: Moment) -> Report {
    judge(ledger, asked(), RULES, now)
}

#[track_caller]
fn one(report: &Report) -> &Judgement {
    assert_eq!(report.tables.len(), 1, "{:#?}", report.tables);
    &report.tables[0]
}

fn causes(judgement: &Judgement) -> Vec<Cause> {
    judgement.reasons.iter().map(|reason| reason.code).collect()
}

#[test]
fn a_table_that_was_watched_for_long_enough_without_a_finding_is_ready() {
    let report = reported(&watched(), day(10));
    let table = one(&report);
    assert_eq!(table.verdict, Verdict::Ready, "{:#?}", table.reasons);
    assert_eq!((table.executions, table.compared, table.bound), (5_000, 1_000, Some(3_000)));
    assert_eq!((table.stage, table.observed_seconds), (Stage::Staged, 9 * 86_400));
}

#[test]
fn what_could_not_be_read_is_about_every_table() {
    let mut ledger = watched();
    let Fact::Covered(mut unread) = coverage("f2", Detector::Replay, Some(Uncovered::Unread), 1) else {
        panic!("coverage");
    };
    unread.tables.clear();
    ledger.take("a", day(10), Fact::Covered(unread));
    let report = reported(&ledger, day(10));
    assert_eq!(causes(one(&report)), [Cause::NotEvaluated]);
    // It was looked at, and names none.
    let Fact::Covered(mut read) = coverage("f3", Detector::Context, None, 1) else { panic!("coverage") };
    read.tables.clear();
    let mut ledger = watched();
    ledger.take("a", day(10), Fact::Covered(read));
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::Ready);
}

#[test]
fn a_finding_of_weight_keeps_it_from_ready_and_a_warning_does_not() {
    let mut ledger = watched();
    ledger.take("a", day(10), Fact::Found(Box::new(occurrence("w", Kind::Slower, day(9)))));
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::Ready);
    ledger.take("a", day(10), Fact::Found(Box::new(occurrence("x", Kind::ResultDiffers, day(9)))));
    let report = reported(&ledger, day(10));
    let table = one(&report);
    assert_eq!((table.verdict, table.bound), (Verdict::NotReady, None));
    assert_eq!(table.reasons[0].text, "1 finding: result_differs × 2");
    assert_eq!(table.findings, ["x"]);
}

#[test]
fn what_is_resolved_counts_no_more_until_it_is_met_again() {
    let mut ledger = watched();
    ledger.take("a", day(5), Fact::Found(Box::new(occurrence("x", Kind::ResultDiffers, day(5)))));
    ledger.take("a", day(6), step(Step::Resolve, day(6), json!({"finding": "x", "owner": "team"})));
    let report = reported(&ledger, day(10));
    assert_eq!(one(&report).verdict, Verdict::Ready);
    assert!(matches!(&report.findings[0].standing, Standing::Resolved(said) if said.owner == "team"));
    ledger.take("a", day(7), Fact::Found(Box::new(occurrence("x", Kind::ResultDiffers, day(7)))));
    let report = reported(&ledger, day(10));
    assert_eq!(one(&report).verdict, Verdict::NotReady);
    assert_eq!(report.findings[0].standing.label(), "reopened");
    assert_eq!(report.findings[0].count, 4);
}

#[test]
fn what_is_ignored_counts_again_when_its_time_is_over() {
    let mut ledger = watched();
    ledger.take("a", day(5), Fact::Found(Box::new(occurrence("x", Kind::RowsForeign, day(5)))));
    let until = day(12).to_string();
    ledger.take(
        "a",
        day(6),
        step(Step::Ignore, day(6), json!({"finding": "x", "owner": "o", "until": until})),
    );
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::Ready);
    assert_eq!(one(&reported(&ledger, day(13))).verdict, Verdict::NotReady);
    let forever = step(Step::Ignore, day(7), json!({"finding": "x", "owner": "o"}));
    ledger.take("a", day(7), forever);
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::NotReady, "nothing is ignored for ever");
}

#[test]
fn what_follows_from_another_finding_does_not_count() {
    let mut ledger = watched();
    let mut follows = occurrence("x", Kind::WriteRefused, day(5));
    follows.rule = Rule::Secondary;
    ledger.take("a", day(5), Fact::Found(Box::new(follows.clone())));
    assert_eq!(reported(&ledger, day(10)).findings[0].standing, Standing::Secondary);
    follows.rule = Rule::Primary;
    ledger.take("a", day(5), Fact::Found(Box::new(follows)));
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::NotReady);
}

#[test]
fn other_policies_begin_anew() {
    let mut ledger = watched();
    ledger.take("a", day(10), Fact::Found(Box::new(occurrence("x", Kind::ResultDiffers, day(9)))));
    ledger.take("a", day(11), step(Step::Stage, day(11), json!({"policies": ["q"]})));
    let report = reported(&ledger, day(11));
    let table = one(&report);
    assert_eq!(table.verdict, Verdict::InsufficientData);
    assert_eq!(causes(table), [Cause::TooShort, Cause::NotEvaluated]);
    assert_eq!(report.findings[0].standing, Standing::Outdated { since: day(11) });
    // Rows of another tenant are foreign whatever the policies say.
    ledger.take(
        "a",
        day(11),
        Fact::Found(Box::new({
            let mut foreign = occurrence("y", Kind::RowsForeign, day(9));
            foreign.detector = Detector::Rows;
            foreign
        })),
    );
    assert_eq!(one(&reported(&ledger, day(11))).verdict, Verdict::NotReady);
}

#[test]
fn policies_that_are_changed_by_hand_begin_anew_and_those_of_a_command_do_not() {
    let policies = |staged: &str, today: &str, step: &str| {
        let digest = crate::PolicyDigest {
            staged: staged.to_owned(),
            today: today.to_owned(),
            step: Some(step.to_owned()),
        };
        Fact::Policies("shop".to_owned(), [(TABLE.to_owned(), digest)].into())
    };
    let mut ledger = watched();
    ledger.take("a", day(1), policies("p", "all", "staged"));
    ledger.take("a", day(8), policies("p", "p", "promoted"));
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::Ready);
    ledger.take("a", day(9), policies("q", "p", "promoted"));
    let report = reported(&ledger, day(10));
    assert_eq!(causes(one(&report)), [Cause::TooShort, Cause::NotEvaluated]);
    assert_eq!(one(&report).since, Some(day(9)));
    ledger.take("a", day(10), coverage("f1", Detector::Replay, None, 5_000));
    ledger.take("a", day(17), Fact::Policies("shop".to_owned(), BTreeMap::new()));
    assert_eq!(one(&reported(&ledger, day(17))).since, Some(day(17)), "all of them are gone");
}

#[test]
fn what_was_never_evaluated_is_not_clean() {
    let mut ledger = watched();
    ledger.take("a", day(10), coverage("f2", Detector::Context, None, 40));
    ledger.take("a", day(10), coverage("f2", Detector::Replay, Some(Uncovered::Dropped), 40));
    let report = reported(&ledger, day(10));
    let table = one(&report);
    assert_eq!(table.verdict, Verdict::InsufficientData);
    assert_eq!(
        table.reasons[0].text,
        "1 of 2 statements are not evaluated (1 of them never): 0.7 % of the executions"
    );
    assert_eq!(report.statements[0].evaluation, Evaluation::Never);
    let until = day(20).to_string();
    let accepted = json!({"finding": "f2", "owner": "o", "until": until});
    ledger.take("a", day(10), step(Step::Ignore, day(10), accepted));
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::Ready, "somebody answers for it");
}

#[test]
fn rows_alone_are_enough_only_for_what_cannot_be_replayed() {
    let mut ledger = watched();
    ledger.take("a", day(10), coverage("f2", Detector::Rows, None, 40));
    assert_eq!(reported(&ledger, day(10)).statements[0].evaluation, Evaluation::TooSeldom);
    ledger.take("a", day(10), coverage("f2", Detector::Replay, Some(Uncovered::Unsafe), 40));
    let report = reported(&ledger, day(10));
    assert_eq!(report.statements[0].evaluation, Evaluation::RowsAlone);
    assert_eq!(one(&report).verdict, Verdict::Ready);
}

#[test]
fn a_statement_that_ran_twice_is_compared_twice() {
    let mut ledger = watched();
    ledger.take("a", day(10), coverage("f2", Detector::Replay, None, 2));
    assert_eq!(one(&reported(&ledger, day(10))).verdict, Verdict::Ready);
    ledger.take("a", day(10), coverage("f3", Detector::Context, None, 9));
    ledger.take("a", day(10), coverage("f3", Detector::Replay, None, 2));
    assert_eq!(causes(one(&reported(&ledger, day(10)))), [Cause::NotEvaluated]);
}

#[test]
fn a_table_of_which_nothing_is_known_is_never_ready() {
    let mut ledger = Ledger::new(None);
    let tables = BTreeSet::from([("shop".to_owned(), TABLE.to_owned())]);
    let asked = || Surroundings { tables: tables.clone(), ..asked() };
    let report = judge(&ledger, asked(), RULES, day(10));
    assert_eq!(one(&report).verdict, Verdict::InsufficientData);
    assert_eq!(causes(one(&report)), [Cause::Unstaged, Cause::TooShort, Cause::NothingSeen]);
    let no_days = Rules { min_days: 0, ..RULES };
    ledger.take("a", day(1), step(Step::Stage, day(1), json!({})));
    assert_eq!(causes(one(&judge(&ledger, asked(), no_days, day(10)))), [Cause::NothingSeen]);
}

#[test]
fn what_stands_in_the_way_at_the_server_is_said() {
    let not_staged = json!({"policies": ["p"], "not_staged": [
        {"table": TABLE, "policy": "q", "reason": "it asks for current_user"}]});
    let mut ledger = watched_with(not_staged);
    let statement = |fingerprint: &str| Unseen {
        database: "shop".to_owned(),
        fingerprint: fingerprint.to_owned(),
        text: String::new(),
        role: "app".to_owned(),
        calls: 3,
        tables: vec!["items".to_owned()],
        accepted: None,
    };
    let mut surroundings = Surroundings {
        server_statements: vec![statement("f1"), statement("f9")],
        trails: vec![Trail {
            directory: "/trail".to_owned(),
            records: 1,
            segments: 1,
            first: None,
            last: None,
            chain: Chain::Broken { why: "record 7 was altered".to_owned() },
        }],
        ..asked()
    };
    let known = surroundings.ahead.of("shop", TABLE);
    known.blockers.push("its helper recurses".to_owned());
    known.notes.push("jobs has BYPASSRLS".to_owned());
    ledger.take("a", day(10), Fact::Lost(5));
    let report = judge(&ledger, surroundings, RULES, day(10));
    let texts: Vec<&str> = one(&report).reasons.iter().map(|reason| reason.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "policy q is not staged: it asks for current_user",
            "its helper recurses",
            "1 statement that the server has run (3 times) never came through pgwarden",
            "the trail in /trail is not whole: record 7 was altered",
            "5 events found no place in the trail",
            "jobs has BYPASSRLS",
        ]
    );
    assert_eq!(report.unseen.len(), 1);
}

#[test]
fn where_the_database_was_not_asked_nothing_is_ready() {
    let report = judge(&watched(), Surroundings::default(), RULES, day(10));
    assert_eq!(one(&report).verdict, Verdict::InsufficientData);
    assert_eq!(causes(one(&report)), [Cause::NotAsked]);
}

#[test]
fn a_table_is_no_readier_than_those_that_it_relies_on() {
    let mut known = asked();
    known.ahead.of("shop", TABLE).relies_on.insert("public.orders".to_owned());
    known.tables.insert(("shop".to_owned(), "public.orders".to_owned()));
    let report = judge(&watched(), known, RULES, day(10));
    let items = report.tables.iter().find(|table| table.table == TABLE).expect("items");
    assert_eq!((items.verdict, causes(items)), (Verdict::InsufficientData, vec![Cause::Dependency]));
    assert_eq!(
        items.reasons[0].text,
        "its policies rely on those of public.orders, which is INSUFFICIENT DATA"
    );
}

#[test]
fn a_finding_without_a_table_is_about_those_of_its_statement_or_about_all() {
    let mut ledger = watched();
    let mut missing = occurrence("x", Kind::ContextMissing, day(5));
    missing.detector = Detector::Context;
    missing.key.table = None;
    ledger.take("a", day(5), Fact::Found(Box::new(missing.clone())));
    assert_eq!(one(&reported(&ledger, day(10))).findings, ["x"], "its statement names the table");
    missing.key.fingerprint = Some("unknown".to_owned());
    missing.id = "y".to_owned();
    ledger.take("a", day(5), Fact::Found(Box::new(missing.clone())));
    assert_eq!(one(&reported(&ledger, day(10))).findings.len(), 2);
    missing.key.database = "elsewhere".to_owned();
    missing.id = "z".to_owned();
    ledger.take("a", day(5), Fact::Found(Box::new(missing)));
    assert_eq!(one(&reported(&ledger, day(10))).findings.len(), 2);
}

#[test]
fn only_what_is_in_the_window_is_counted() {
    let mut ledger = Ledger::new(Some(day(5)));
    ledger.take("a", day(1), Fact::Event(Happening::Started, String::new()));
    ledger.take("a", day(2), step(Step::Stage, day(2), json!({"policies": ["p"]})));
    ledger.take("a", day(4), Fact::Found(Box::new(occurrence("x", Kind::ResultDiffers, day(4)))));
    ledger.take("a", day(3), coverage("f1", Detector::Replay, None, 7));
    let mut later = coverage("f1", Detector::Replay, None, 10);
    if let Fact::Covered(later) = &mut later {
        later.query = Arc::new(Query { fingerprint: "f1".to_owned(), text: None });
    }
    ledger.take("a", day(6), later);
    let report = reported(&ledger, day(6));
    assert_eq!(report.statements[0].examined.text.as_deref(), Some("text of f1"), "a trail says it once");
    assert_eq!(one(&report).compared, 10);
    assert_eq!((report.findings.len(), one(&report).observed_seconds), (0, 86_400));
    assert_eq!(one(&report).stage, Stage::Staged, "steps are never forgotten");
}

#[test]
fn two_trails_are_added_up() {
    let mut ledger = watched();
    ledger.take("b", day(1), step(Step::Stage, day(1), json!({"policies": ["p"]})));
    ledger.take("b", day(10), coverage("f1", Detector::Replay, None, 500));
    let report = reported(&ledger, day(10));
    assert_eq!((one(&report).compared, report.statements.len(), report.milestones.len()), (1_500, 1, 1));
}

#[test]
fn shares_and_spans_are_readable() {
    let shares = [0, 1, 40, 1_000, 21_000, 1_000_000].map(percent);
    assert_eq!(shares, ["0 %", "0.0001 %", "0.004 %", "0.1 %", "2.1 %", "100.0 %"]);
    let spans = [0, 59, 60, 3_700, 90_000, 7 * 86_400].map(|seconds| span(Duration::from_secs(seconds)));
    assert_eq!(spans, ["0 seconds", "59 seconds", "1 minute", "1 hour 1 minute", "1 day 1 hour", "7 days"]);
}

#[test]
fn a_report_is_read_as_it_was_written() {
    let mut ledger = watched();
    ledger.take("a", day(9), Fact::Found(Box::new(occurrence("x", Kind::WriteHidden, day(9)))));
    ledger.take("a", day(9), coverage("f2", Detector::Rows, Some(Uncovered::WholeRows), 3));
    let report = reported(&ledger, day(10));
    let written = serde_json::to_string(&report).expect("JSON");
    assert_eq!(serde_json::from_str::<Report>(&written).expect("a report"), report);
}
