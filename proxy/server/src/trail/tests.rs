//! A trail in a directory, told of findings by many at once.

use super::*;
use crate::trail::files::{Line, files};
use pgwarden_audit::{Detail, Record, RecordKind, Verifier};
use pgwarden_config::{Settings, Source};
use pgwarden_shadow::{
    Actor, Decision, Detector, Kind, Outcome, Query, Rows, Rule, Site, Target, Tenant, TenantSource, Token,
    Uncovered, WouldHave,
};
use pgwarden_tenant::Mode;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::thread;

/// The key of pseudonyms behind `env:`, and no files.
struct Environment;

impl Source for Environment {
    fn file(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn env(&self, _name: &str) -> Option<OsString> {
        Some("a key".into())
    }
}

/// A finding of the one table and statement.
pub(super) fn finding(fingerprint: &str, table: &str) -> Finding {
    let query = Query { fingerprint: fingerprint.to_owned(), text: Some("SELECT $1".to_owned()) };
    Finding {
        kind: Kind::RowsForeign,
        detector: Detector::Rows,
        mode: Mode::Shadow,
        decision: Decision::Allowed,
        would_have: WouldHave::Filtered(2),
        rule: Rule::Primary,
        outcome: Outcome::Committed,
        count: 1,
        tenant: Some(Arc::new(Tenant { id: "acme".to_owned(), source: TenantSource::Token })),
        actor: Arc::new(Actor {
            user: "app".to_owned(),
            token: Some(Token { sub: Some("ann".to_owned()), ..Token::default() }),
            ..Actor::default()
        }),
        site: Site { database: "app".into(), role: "app".into(), pid: Some(1) },
        target: Target { table: Some(table.to_owned()), ..Target::default() },
        command: None,
        rows: Rows { foreign: Some(2), ..Rows::default() },
        foreign_tenants: vec!["globex".to_owned()],
        query: Some(Arc::new(query)),
        origin: None,
        evidence: None,
    }
}

fn coverage(count: u64) -> Coverage {
    let query = Arc::new(Query { fingerprint: "f".to_owned(), text: Some("SELECT $1".to_owned()) });
    let site = Site { database: "app".into(), role: "app".into(), pid: None };
    let uncovered = Some(Uncovered::WholeRows);
    Coverage { query, site, tables: vec!["t".to_owned()], detector: Detector::Rows, uncovered, count }
}

/// A trail in this directory, with more lines of `[audit]`.
fn trail(directory: &Path, more: &str) -> Trail {
    let text = format!("[audit]\ndirectory = \"{}\"\n{more}\n", directory.display());
    let needed = [("PGWARDEN_UPSTREAM", "postgres://h"), ("PGWARDEN_AUTH", "trust")];
    let needed = needed.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let settings: Settings =
        pgwarden_config::load(Some((Path::new("p"), &text)), &needed, &[], &Environment).expect("settings");
    let terms = Arc::new(Terms::of(&settings).expect("keys"));
    let trail = Trail::new(terms, &Arc::new(Meters::new()), &Arc::default());
    trail.begin(Before::Nobody).expect("the directory is nobody's");
    trail
}

/// What is in it; it is a chain.
fn records(directory: &Path) -> Vec<Record> {
    let (mut verifier, mut records) = (Verifier::new(None), Vec::new());
    for file in files(directory).expect("the directory") {
        verifier.file(&file.name());
        let mut lines = file.lines().expect("the file");
        while let Some(line) = lines.next().expect("a line") {
            let Line::Whole(line) = line else { panic!("torn") };
            records.extend(verifier.line(&line));
        }
    }
    assert_eq!(verifier.finish().breaks, []);
    records
}

fn close(trail: &Trail) {
    trail.close(Duration::from_secs(20));
}

/// Many who find the same few things.
fn flood(trail: &Trail, each: usize, sorts: usize) {
    thread::scope(|scope| {
        for client in 0..64 {
            scope.spawn(move || {
                for number in 0..each {
                    trail.found(finding(&format!("f{}", (number + client) % sorts), "t"));
                    trail.covered(coverage(1));
                }
            });
        }
    });
}

#[test]
fn the_totals_of_a_flood_are_exact() {
    let directory = tempfile::tempdir().expect("a directory");
    let trail = trail(directory.path(), "window = \"100ms\"\ncoverage_window = \"100ms\"");
    flood(&trail, 2_000, 50);
    close(&trail);
    let records = records(directory.path());
    let of = |kind: &str| -> u64 {
        records.iter().filter(|record| record.kind.label() == kind).filter_map(|record| record.count).sum()
    };
    assert_eq!((of("rows_foreign"), of("coverage"), of("dropped")), (128_000, 128_000, 0));
    let mut by_query: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for record in records.iter().filter(|record| record.kind.finding().is_some()) {
        let (Some(query), Some(rows)) = (&record.query, record.rows) else { panic!("no query") };
        let (count, foreign) = by_query.entry(query.fingerprint.clone()).or_default();
        *count += record.count.unwrap_or_default();
        *foreign += rows.foreign.unwrap_or_default();
    }
    assert_eq!(by_query.len(), 50);
    assert!(by_query.values().all(|counts| *counts == (2_560, 5_120)), "{by_query:?}");
}

#[test]
fn repeats_fall_together_in_one_record_of_their_window() {
    let directory = tempfile::tempdir().expect("a directory");
    let trail = trail(directory.path(), "window = \"1h\"");
    flood(&trail, 100, 1);
    close(&trail);
    let records = records(directory.path());
    let counts: Vec<u64> = records
        .iter()
        .filter(|record| record.kind == RecordKind::Finding(Kind::RowsForeign))
        .filter_map(|record| record.count)
        .collect();
    assert!(counts.len() <= 2, "the first, and the rest: {counts:?}");
    assert_eq!(counts.iter().sum::<u64>(), 6_400);
}

#[test]
fn findings_of_too_many_sorts_are_still_counted() {
    let directory = tempfile::tempdir().expect("a directory");
    let trail = trail(directory.path(), "window = \"1h\"\nsorts = 10");
    flood(&trail, 100, 50);
    close(&trail);
    let records = records(directory.path());
    let found: u64 = records
        .iter()
        .filter(|record| record.kind.finding().is_some())
        .filter_map(|record| record.count)
        .sum();
    let dropped: u64 = records
        .iter()
        .filter_map(|record| match record.detail.as_deref() {
            Some(Detail::Dropped(counts)) => counts.get("rows_foreign"),
            _ => None,
        })
        .sum();
    assert!(dropped > 0);
    assert_eq!(found + dropped, 6_400);
}

#[test]
fn what_is_done_in_different_ways_is_told_apart() {
    let directory = tempfile::tempdir().expect("a directory");
    let trail = trail(directory.path(), "window = \"1h\"");
    let one = finding("f", "t");
    trail.found(one.clone());
    trail.found(Finding { outcome: Outcome::RolledBack, ..one.clone() });
    trail.found(Finding { rule: Rule::Secondary, ..one.clone() });
    trail.found(Finding { tenant: None, ..one.clone() });
    trail.found(Finding { would_have: WouldHave::Refused, ..one.clone() });
    trail.found(Finding { would_have: WouldHave::Filtered(7), ..one });
    close(&trail);
    let records = records(directory.path());
    let found: Vec<&Record> = records.iter().filter(|record| record.kind.finding().is_some()).collect();
    let ids: std::collections::BTreeSet<_> = found.iter().map(|record| record.finding.clone()).collect();
    assert_eq!(ids.len(), 1, "it is one finding");
    let total: u64 = found.iter().filter_map(|record| record.count).sum();
    assert_eq!(total, 6);
    let filtered = found.iter().filter(|record| {
        record.tenant.is_some()
            && record.outcome == Some(Outcome::Committed)
            && record.rule == Some(Rule::Primary)
    });
    let rows: u64 = filtered
        .filter_map(|record| match record.would_have {
            Some(WouldHave::Filtered(rows)) => Some(rows),
            _ => None,
        })
        .sum();
    assert_eq!(rows, 9, "rows are summed");
}

#[test]
fn with_a_key_tenants_and_users_have_pseudonyms() {
    let directory = tempfile::tempdir().expect("a directory");
    let trail = trail(directory.path(), "pseudonym_key = \"env:SECRET\"");
    trail.found(finding("f", "t"));
    close(&trail);
    let records = records(directory.path());
    let record = records.iter().find(|record| record.kind.finding().is_some()).expect("a finding");
    let text = serde_json::to_string(record).expect("JSON");
    for name in ["acme", "globex", "ann"] {
        assert!(!text.contains(name), "{text}");
    }
    let (Some(tenant), [foreign]) = (&record.tenant, &record.foreign_tenants[..]) else { panic!("{text}") };
    assert!(tenant.id.starts_with("tenant~") && foreign.starts_with("tenant~") && tenant.id != *foreign);
    assert!(tenant.verified);
}

#[test]
fn rows_of_the_journal_and_policies_are_recorded_once() {
    let staging = |id| {
        let tables = vec!["public.t".to_owned()];
        let (step, at) = (pgwarden_audit::Step::Stage, "2026-01-01T00:00:00.000000Z".to_owned());
        let (database, by) = ("app".to_owned(), "ann".to_owned());
        let detail = serde_json::Value::Null;
        Event::Staging(Box::new(Staging { id, step, database, by, at, tables, reason: None, detail }))
    };
    let hash = |hash: &str| Event::PoliciesChanged {
        database: "app".to_owned(),
        policy_hash: hash.to_owned(),
        tables: BTreeMap::new(),
    };
    let directory = tempfile::tempdir().expect("a directory");
    for (last, more) in [(2, 0), (3, 2)] {
        let trail = trail(directory.path(), "segment_bytes = \"1kB\"");
        assert_eq!(trail.journal_position("app"), (more > 0).then_some(more));
        (1..=last).for_each(|id| trail.record(staging(id)));
        trail.record(hash("one"));
        trail.found(finding("f", "t"));
        close(&trail);
        assert_eq!(trail.journal_position("app"), Some(last));
    }
    let records = records(directory.path());
    let rows: Vec<i64> =
        records.iter().filter_map(|record| record.staging.as_ref()).map(|staging| staging.id).collect();
    assert_eq!(rows, [1, 2, 3]);
    let changes = records.iter().filter(|record| record.kind.label() == "policies_changed").count();
    assert_eq!(changes, 1);
    let last = records.iter().rfind(|record| record.kind.finding().is_some()).expect("a finding");
    assert_eq!(last.proxy.policy_hash.as_deref(), Some("one"));
}
