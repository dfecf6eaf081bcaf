//! `pgwarden audit export`: JSON Lines, CSV and OCSF, and which records are in them.

use pgwarden_audit::{Life, Record};
use pgwarden_shadow::{Decision, Kind};
use pgwarden_tests::earlier_trail::{EarlierTrail, finding};
use pgwarden_tests::{Exit, Pgwarden};
use serde_json::Value;

/// Two files: three findings about one table, one about another, and a start.
fn trail() -> EarlierTrail {
    let mut trail = EarlierTrail::new();
    trail.segment();
    trail.findings(3);
    trail.segment();
    let mut other = finding(6);
    other.kind = Kind::Denied;
    other.decision = Decision::Refused;
    other.target.table = Some("orders".to_owned());
    let mut actor = (*other.actor).clone();
    actor.application_name = Some("=HYPERLINK(\"http://evil\",\"a,b\")\n".to_owned());
    other.actor = actor.into();
    trail.finding(&other);
    trail.record(Record::of(Life::Stopped));
    trail
}

fn export(trail: &EarlierTrail, flags: &[&str]) -> Exit {
    let directory = trail.path().to_string_lossy().into_owned();
    Pgwarden::builder().run(&[&["audit", "export", &directory], flags].concat())
}

#[track_caller]
fn exported(trail: &EarlierTrail, flags: &[&str]) -> Vec<String> {
    let exit = export(trail, flags);
    assert_eq!(exit.status.code(), Some(0), "{flags:?}: {}", exit.stderr);
    exit.stderr.lines().map(str::to_owned).collect()
}

#[test]
fn json_lines_are_the_lines_of_the_trail() {
    let trail = trail();
    assert_eq!(exported(&trail, &[]), trail.lines());
    // What is half written is not there yet.
    let file = trail.path().join("trail-00000000000000000005.jsonl");
    let mut text = std::fs::read_to_string(&file).expect("text");
    text.push_str("{\"v\":1,\"seq\":");
    std::fs::write(&file, text).expect("written");
    assert_eq!(exported(&trail, &["--format", "jsonl"]), trail.lines());
}

#[test]
fn only_what_is_asked_for_is_written() {
    let trail = trail();
    let seqs = |flags: &[&str]| {
        let lines = exported(&trail, flags);
        let read = |line: &String| {
            serde_json::from_str::<Value>(line).expect("a record")["seq"].as_u64().expect("one")
        };
        lines.iter().map(read).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&["--kind", "denied", "--kind", "stopped"]), [6, 7]);
    assert_eq!(seqs(&["--table", "app.items"]), [2, 3, 4]);
    assert_eq!(seqs(&["--table", "orders"]), [6]);
    assert_eq!(seqs(&["--since", "2026-01-31T23:50:02Z", "--until", "2026-01-31T23:50:05.5Z"]), [3, 4, 5, 6]);
    assert_eq!(seqs(&["--until", "2026-01-31"]), [0; 0]);
    assert_eq!(export(&trail, &["--since", "yesterday"]).status.code(), Some(2));
    assert_eq!(export(&trail, &["--kind", "nonsense"]).status.code(), Some(2));
    assert_eq!(export(&EarlierTrail::new(), &[]).status.code(), Some(64), "an empty directory is no trail");
}

#[test]
fn csv_can_be_opened_by_a_spreadsheet_without_harm() {
    let trail = trail();
    let place = trail.path().join("out.csv");
    let exit = export(&trail, &["--format", "csv", "--out", &place.to_string_lossy()]);
    assert_eq!((exit.status.code(), exit.stderr.as_str()), (Some(0), ""));
    let rows = parse_csv(&std::fs::read_to_string(&place).expect("text"));
    assert_eq!(rows.len(), 1 + trail.lines().len());
    let column = |name: &str| rows[0].iter().position(|one| one == name).unwrap_or_else(|| panic!("{name}"));
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let second = &rows[2];
    for (name, value) in [
        ("seq", "2"),
        ("kind", "rows_foreign"),
        ("tenant", "acme"),
        ("table", "items"),
        ("count", "2"),
        ("would_have", "{\"filtered\":3}"),
        ("query", "SELECT column_2 FROM app.items WHERE id = $1"),
    ] {
        assert_eq!(second[column(name)], value, "{name}");
    }
    assert_eq!(rows[6][column("application_name")], "'=HYPERLINK(\"http://evil\",\"a,b\")\n");
}

/// What a class or an object of the schema requires (<https://schema.ocsf.io/1.5.0/classes/detection_finding>, profile
/// security_control), as pointers.
const REQUIRED: [&str; 17] = [
    "/activity_id",
    "/category_uid",
    "/class_uid",
    "/finding_info/title",
    "/finding_info/uid",
    "/metadata/product/vendor_name",
    "/metadata/product/name",
    "/metadata/version",
    "/metadata/profiles",
    "/severity_id",
    "/time",
    "/type_uid",
    "/action_id",
    "/disposition_id",
    "/finding_info/analytic/type_id",
    "/evidences/0/database/type_id",
    "/status_id",
];

#[test]
fn findings_are_detection_findings() {
    let trail = trail();
    let lines = exported(&trail, &["--format", "ocsf"]);
    let (said, events): (Vec<&String>, Vec<&String>) =
        lines.iter().partition(|line| line.starts_with("pgwarden: "));
    assert_eq!(said, ["pgwarden: 3 records are no findings and have no such form"]);
    let events: Vec<Value> = events.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events.len(), 4);
    for event in &events {
        for place in REQUIRED {
            assert!(event.pointer(place).is_some_and(|value| !value.is_null()), "{place}: {event}");
        }
        let number = |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{name}: {event}"));
        assert_eq!((number("class_uid"), number("category_uid")), (2004, 2));
        assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
        assert!((1..=3).contains(&number("activity_id")) && number("severity_id") <= 6, "{event}");
        assert!(
            number("start_time") <= number("end_time") && number("end_time") <= number("time"),
            "{event}"
        );
        assert!(number("time") > 1_700_000_000_000, "milliseconds: {event}");
        assert!(!event.to_string().contains("null"), "what is not known is left out: {event}");
        let raw: Value =
            serde_json::from_str(event["raw_data"].as_str().expect("the line")).expect("a record");
        assert_eq!((&raw["id"], &raw["finding"]), (&event["metadata"]["uid"], &event["finding_info"]["uid"]));
    }
    let (first, last) = (&events[0], &events[3]);
    assert_eq!(
        (&first["severity_id"], &first["action_id"], &first["disposition_id"]),
        (&4.into(), &1.into(), &1.into())
    );
    assert_eq!(
        (&last["severity_id"], &last["action_id"], &last["disposition_id"]),
        (&3.into(), &2.into(), &2.into())
    );
    assert_eq!(first["resources"][0]["name"], "app.items");
    assert_eq!(first["evidences"][0]["actor"]["user"]["name"], "app");
    assert_eq!(first["evidences"][0]["src_endpoint"]["ip"], "192.0.2.7");
}

/// Reads CSV as RFC 4180 has it.
fn parse_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let mut letters = text.chars().peekable();
    let mut is_quoted = false;
    while let Some(letter) = letters.next() {
        match (letter, is_quoted) {
            ('"', true) if letters.peek() == Some(&'"') => field.extend(letters.next()),
            ('"', _) => is_quoted = !is_quoted,
            (',', false) => row.push(std::mem::take(&mut field)),
            ('\r', false) => {
                assert_eq!(letters.next(), Some('\n'), "a line ends with both");
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            (letter, _) => field.push(letter),
        }
    }
    assert!(row.is_empty() && field.is_empty(), "the last line ends");
    rows
}
