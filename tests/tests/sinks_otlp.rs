//! The audit trail as OpenTelemetry logs: what a receiver gets, and that it gets everything, whatever it says.

use std::collections::BTreeMap;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::earlier_trail::EarlierTrail;
use pgwarden_tests::otlp::{Collector, Order, Taken};
use pgwarden_tests::{Pgwarden, PgwardenBuilder, Signal, until};
use serde_json::Value;

const BEHIND: &str = "pgwarden_sink_behind_records{sink=\"otlp\"}";
const DELIVERED: &str = "pgwarden_sink_records_total{sink=\"otlp\"}";
const FAILING: &str = "pgwarden_sink_failing{sink=\"otlp\"}";
const RETRIES: &str = "pgwarden_sink_retries_total{sink=\"otlp\",class=\"CLASS\"}";

fn told(trail: &EarlierTrail, url: &str, more: &str) -> PgwardenBuilder {
    // Nobody listens there: a sink needs no database.
    let config = format!(
        "listen = \"127.0.0.1:{{port}}\"\nauth.method = \"trust\"\nadmin.listen = \"127.0.0.1:{{admin_port}}\"\n\
         upstream.url = \"postgres://nobody@127.0.0.1:1/none\"\n[audit]\ndirectory = \"{}\"\n\
         [audit.otlp]\nendpoint = \"{url}\"\n{more}",
        trail.path().display()
    );
    Pgwarden::builder().given_nothing().config(&config).env("OTLP_SECRET", "Bearer hunter2")
}

fn trail(count: usize) -> EarlierTrail {
    let mut trail = EarlierTrail::new();
    trail.segment();
    trail.findings(count);
    trail
}

fn retries(pgwarden: &Pgwarden, class: &str) -> f64 {
    pgwarden.metric(&RETRIES.replace("CLASS", class)).expect("it is counted")
}

#[track_caller]
fn until_delivered(pgwarden: &Pgwarden) {
    until("everything is delivered", || {
        let is = |name: &str| pgwarden.metric(name).expect("it is counted");
        (is(DELIVERED) > 0.0 && is(BEHIND) == 0.0 && is(FAILING) == 0.0).then_some(())
    });
}

/// Ends pgwarden, and compares what was taken, once by id, with the files.
#[track_caller]
fn everything_was_taken(collector: &Collector, trail: &EarlierTrail, pgwarden: Pgwarden) -> Vec<Taken> {
    pgwarden.signal(Signal::TERM);
    assert!(pgwarden.wait_exit().success(), "{}", pgwarden.stderr());
    let taken = collector.taken();
    let by_id: BTreeMap<String, &str> =
        taken.iter().map(|one| (one.attribute("log.record.uid").expect("an id"), one.body())).collect();
    let lines = trail.all_lines();
    let expected: BTreeMap<String, &str> = lines
        .iter()
        .map(|line| {
            let record: Value = serde_json::from_str(line).expect("a record");
            (record["id"].as_str().expect("an id").to_owned(), line.as_str())
        })
        .collect();
    assert_eq!(by_id.len(), expected.len(), "{}", pgwarden.stderr());
    assert!(by_id == expected, "each is the line of the trail, letter by letter");
    taken
}

#[test]
fn a_receiver_gets_each_record_with_its_attributes() {
    let (collector, trail) = (Collector::listen(), trail(3));
    let more =
        "headers = [\"authorization=env:OTLP_SECRET\"]\nresource = [\"deployment.environment.name=test\"]\n";
    let pgwarden = told(&trail, &collector.url(), more).start();
    until_delivered(&pgwarden);
    let taken = everything_was_taken(&collector, &trail, pgwarden);
    let finding = taken.iter().find(|one| one.attribute("pgwarden.record.seq").as_deref() == Some("3"));
    let finding = finding.expect("the second finding");
    for (name, value) in [
        ("pgwarden.kind", "rows_foreign"),
        ("pgwarden.mode", "shadow"),
        ("pgwarden.decision", "allowed"),
        ("pgwarden.count", "2"),
        ("pgwarden.tenant.id", "acme"),
        ("pgwarden.query.fingerprint", "0000000000000003"),
        ("user.name", "app"),
        ("client.address", "192.0.2.7"),
        ("db.system.name", "postgresql"),
        ("db.namespace", "shop"),
        ("db.collection.name", "items"),
        ("db.operation.name", "SELECT"),
        ("http.route", "/items"),
    ] {
        assert_eq!(finding.attribute(name).as_deref(), Some(value), "{name}");
    }
    let record = &finding.record;
    assert_eq!((record.severity_number, record.severity_text.as_str()), (17, "ERROR"));
    assert_eq!(record.time_unix_nano, 1_769_903_402_000_000_000);
    assert!(record.observed_time_unix_nano > record.time_unix_nano);
    assert_eq!((record.trace_id.first(), record.trace_id.len()), (Some(&0x4b), 16));
    assert_eq!(record.event_name, "pgwarden.rows_foreign");
    for (name, value) in [
        ("service.name", "pgwarden"),
        ("service.instance.id", "proxy-1"),
        ("service.version", "0.0.1"),
        ("deployment.environment.name", "test"),
    ] {
        assert_eq!(finding.resource(name).as_deref(), Some(value), "{name}");
    }
    let header =
        |name: &str| finding.headers.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
    assert_eq!(header("authorization"), Some("Bearer hunter2"));
}

#[test]
fn nothing_is_lost_while_a_receiver_is_away_or_refuses() {
    let (collector, trail) = (Collector::listen(), trail(2_000));
    let busy = |status| Order::Refuse(status, Vec::new());
    // What a collector says when it is overloaded, restarts, or is set up wrongly; what is taken without an answer is
    // taken twice.
    collector.order([busy(503), Order::TakeAndHangUp, busy(404)]);
    let pgwarden = told(&trail, &collector.url(), "batch = 100\n").start();
    until("the first records are there", || (!collector.taken().is_empty()).then_some(()));
    collector.go_away();
    until("it has failed", || (pgwarden.metric(FAILING) == Some(1.0)).then_some(()));
    assert_eq!(pgwarden.admin("/healthz").0, 200);
    until("nobody is there", || (retries(&pgwarden, "unreachable") >= 1.0).then_some(()));
    collector.come_back();
    until_delivered(&pgwarden);
    assert!(retries(&pgwarden, "busy") >= 1.0, "it was told to come back");
    assert_eq!(pgwarden.metric("pgwarden_sink_rejected_records_total{sink=\"otlp\"}"), Some(0.0));
    everything_was_taken(&collector, &trail, pgwarden);
}

#[test]
fn a_receiver_says_when_it_wants_to_be_asked_again() {
    let (collector, trail) = (Collector::listen(), trail(1));
    collector.order([Order::Refuse(503, vec![("retry-after", "2")])]);
    let pgwarden = told(&trail, &collector.url(), "").start();
    until_delivered(&pgwarden);
    let asked = collector.requests();
    assert!(asked[1].duration_since(asked[0]).as_secs() >= 2, "{asked:?}");
    everything_was_taken(&collector, &trail, pgwarden);
}

#[test]
fn what_a_receiver_will_never_take_is_counted_and_costs_no_other_record() {
    let (collector, trail) = (Collector::listen(), trail(300));
    collector.refuse_all_with("\"fingerprint\":\"000000000000004d\"");
    let pgwarden = told(&trail, &collector.url(), "batch = 100\n").start();
    until_delivered(&pgwarden);
    assert_eq!(pgwarden.metric("pgwarden_sink_rejected_records_total{sink=\"otlp\"}"), Some(1.0));
    assert!(
        pgwarden.stderr().contains("refused a record of the audit trail for good"),
        "{}",
        pgwarden.stderr()
    );
    collector.order([Order::TakeBut(1)]);
    pgwarden.signal(Signal::TERM);
    assert!(pgwarden.wait_exit().success(), "{}", pgwarden.stderr());
    assert_eq!(collector.taken().len(), trail.all_lines().len() - 1);
    assert!(
        pgwarden.stderr().contains("has refused records of the audit trail for good"),
        "{}",
        pgwarden.stderr()
    );
}

#[test]
fn a_receiver_that_refuses_everything_is_not_believed() {
    let (collector, trail) = (Collector::listen(), trail(10));
    collector.refuse_all_with("\"seq\"");
    let pgwarden = told(&trail, &collector.url(), "batch = 4\n").start();
    until("it was refused often", || (collector.requests().len() > 30).then_some(()));
    assert_eq!(pgwarden.metric("pgwarden_sink_rejected_records_total{sink=\"otlp\"}"), Some(0.0));
    assert_eq!(pgwarden.metric(FAILING), Some(1.0));
    collector.refuse_all_with("nothing has this");
    until_delivered(&pgwarden);
    everything_was_taken(&collector, &trail, pgwarden);
}

#[test]
fn a_receiver_that_is_not_trusted_gets_nothing() {
    let (authority, other, trail) = (Authority::create(), Authority::create(), trail(1));
    let collector = Collector::listen_with(&authority.server());
    let root = |authority: &Authority| format!("root_cert = \"{}\"\n", authority.path());
    let pgwarden = told(&trail, &collector.url(), &root(&other)).start();
    until("it has failed", || (retries(&pgwarden, "tls") > 1.0).then_some(()));
    assert!(collector.taken().is_empty());
    drop(pgwarden);
    let pgwarden = told(&trail, &collector.url(), &root(&authority)).start();
    until_delivered(&pgwarden);
    everything_was_taken(&collector, &trail, pgwarden);
}
