//! `pgwarden report` and `pgwarden verdict`: what they say of a trail, in each form, and how they end.

use std::path::{Path, PathBuf};

use pgwarden_tests::records::{Records, hostile, story};
use pgwarden_tests::{Exit, Pgwarden};
use serde_json::Value;

/// A directory of this test's own with a trail.
fn trail(name: &str, records: &Records) -> PathBuf {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    records.write(&directory);
    directory
}

#[track_caller]
fn run(directory: &Path, arguments: &[&str]) -> Exit {
    let place = directory.to_str().expect("a path of text");
    Pgwarden::builder().run(&[arguments, &["--trail", place]].concat())
}

#[track_caller]
fn json(directory: &Path, arguments: &[&str]) -> Value {
    let exit = run(directory, &[&["report", "--format", "json"], arguments].concat());
    assert_eq!(exit.status.code(), Some(0), "{}", exit.stderr);
    serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr))
}

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["table"] == name).unwrap_or_else(|| panic!("{name}: {tables:#?}"))
}

#[test]
fn each_table_has_its_verdict_and_says_why() {
    let directory = trail("verdicts", &story());
    let report = json(&directory, &[]);
    let items = table(&report, "public.items");
    assert_eq!((&items["verdict"], &items["stage"]), (&"NOT READY".into(), &"staged".into()), "{items:#}");
    let reasons: Vec<&str> =
        items["reasons"].as_array().expect("reasons").iter().filter_map(|one| one["text"].as_str()).collect();
    assert_eq!(reasons[0], "3 findings: context_missing × 66, rows_foreign × 504, write_refused × 12");
    assert!(reasons[1].starts_with("1 of 3 statements are not evaluated (1 of them never)"), "{reasons:?}");
    let orders = table(&report, "public.orders");
    assert_eq!((&orders["verdict"], &orders["stage"]), (&"READY".into(), &"promoted".into()), "{orders:#}");
    assert_eq!((&orders["compared"], &orders["bound"]), (&2_700.into(), &1_111.into()));
    let notes = table(&report, "public.notes");
    assert_eq!(notes["verdict"], "INSUFFICIENT DATA");
    assert_eq!(report["trails"][0]["chain"]["is"], "intact");
    let ignored = &report["findings"].as_array().expect("findings")[3];
    assert_eq!(
        (&ignored["standing"]["is"], &ignored["standing"]["owner"]),
        (&"ignored".into(), &"Ines (finance)".into())
    );
}

#[test]
fn the_screen_says_the_same_in_words() {
    let directory = trail("screen", &story());
    let exit = run(&directory, &["report"]);
    assert_eq!(exit.status.code(), Some(0), "{}", exit.stderr);
    for said in [
        "NOT READY          public.items   shop      staged",
        "READY              public.orders  shop      in force",
        "    3 findings: context_missing × 66, rows_foreign × 504, write_refused × 12",
        "    SELECT id, org_id, name FROM items WHERE name LIKE $1 ORDER BY name",
        "    from GET /items · src/items.js:42, storefront",
        "never evaluated, 30 executions: no_context",
        "intact, records 1 to ",
    ] {
        assert!(exit.stderr.contains(said), "{said:?} is not in\n{}", exit.stderr);
    }
}

#[test]
fn findings_are_lines_of_csv_that_no_spreadsheet_runs() {
    let directory = trail("csv", &hostile());
    let exit = run(&directory, &["report", "--format", "csv"]);
    let lines: Vec<&str> = exit.stderr.split("\r\n").collect();
    assert_eq!(lines.len(), 7, "{}", exit.stderr);
    assert!(lines[0].starts_with("finding,standing,severity,kind,database,table"), "{}", lines[0]);
    assert!(
        exit.stderr.contains("aaaa000000000002,open,blocker,write_refused,shop,public.items,UPDATE,,12,")
    );
}

#[test]
fn the_page_stands_for_itself_and_nothing_planted_in_it_is_markup() {
    let directory = trail("page", &hostile());
    let file = directory.join("report.html");
    let exit = run(&directory, &["report", "--format", "html", "-o", file.to_str().expect("a path")]);
    assert_eq!((exit.status.code(), exit.stderr.as_str()), (Some(0), ""));
    let page = std::fs::read_to_string(file).expect("the page");
    assert!(page.contains("&lt;/script&gt;&lt;img src=x onerror="), "it is shown");
    assert!(!page.contains("<img") && !page.contains("<svg onload"), "and is no markup");
    assert_eq!(page.matches("</script>").count(), 1);
}

#[test]
fn verdict_ends_as_ci_wants_it() {
    let directory = trail("exit", &story());
    for (tables, code) in [
        (&["public.orders"][..], 0),
        (&["orders"], 0),
        (&["public.items"], 1),
        (&["public.orders", "public.items"], 1),
        (&["public.notes"], 3),
        (&["public.unheard_of"], 3),
        (&["public.notes", "public.items"], 1),
        (&[], 1),
    ] {
        let exit = run(&directory, &[&["verdict", "--exit-code"], tables].concat());
        assert_eq!(exit.status.code(), Some(code), "{tables:?}: {}", exit.stderr);
        let exit = run(&directory, &[&["verdict"], tables].concat());
        assert_eq!(exit.status.code(), Some(0), "{tables:?}: {}", exit.stderr);
    }
    let exit = run(&directory, &["verdict", "public.unheard_of"]);
    assert!(
        exit.stderr.contains("INSUFFICIENT DATA  public.unheard_of: nothing is known of it"),
        "{}",
        exit.stderr
    );
}

#[test]
fn what_was_found_before_the_window_is_left_out() {
    let directory = trail("since", &story());
    let all = json(&directory, &[])["findings"].as_array().expect("findings").len();
    let late = json(&directory, &["--since", "7h"])["findings"].as_array().expect("findings").len();
    let nothing =
        json(&directory, &["--since", "2999-01-01"])["findings"].as_array().expect("findings").len();
    assert_eq!((all, late, nothing), (4, 0, 0));
    let exit = run(&directory, &["report", "--since", "yesterday"]);
    assert_eq!(exit.status.code(), Some(64));
    assert!(exit.stderr.contains("--since: \"yesterday\" is no time; expected"), "{}", exit.stderr);
}

#[test]
fn days_watched_are_asked_for() {
    let directory = trail("days", &story());
    let exit = run(&directory, &["verdict", "public.orders", "--exit-code", "--min-days", "30"]);
    assert_eq!(exit.status.code(), Some(3), "{}", exit.stderr);
    assert!(
        exit.stderr.contains("watched for 7 days") && exit.stderr.contains("30 days are asked for"),
        "{}",
        exit.stderr
    );
}

#[test]
fn a_trail_that_was_touched_makes_nothing_ready() {
    let directory = trail("touched", &story());
    let file = directory.join("trail-00000000000000000001.jsonl");
    let text = std::fs::read_to_string(&file).expect("a trail");
    std::fs::write(&file, text.replacen("\"count\":900", "\"count\":901", 1)).expect("a trail");
    let report = json(&directory, &[]);
    assert_eq!(report["trails"][0]["chain"]["is"], "broken");
    let orders = table(&report, "public.orders");
    assert_eq!(orders["verdict"], "INSUFFICIENT DATA");
    assert!(orders["reasons"][0]["text"].as_str().expect("a text").contains("altered"), "{orders:#}");
}

#[test]
fn two_trails_are_one_report() {
    let one = trail("one", &story());
    let mut records = Records::since(24);
    let query = ("4444444444444444", "SELECT o.id, o.total FROM orders o WHERE o.org_id = $1");
    records.covered(query, "public.orders", pgwarden_shadow::Detector::Replay, None, 300);
    let two = trail("two", &records);
    let report = json(&one, &["--trail", two.to_str().expect("a path")]);
    assert_eq!(
        (&table(&report, "public.orders")["compared"], report["trails"].as_array().map(Vec::len)),
        (&3_000.into(), Some(2))
    );
}

#[test]
fn where_there_is_no_trail_it_says_so() {
    let empty = Path::new(env!("CARGO_TARGET_TMPDIR")).join("report-empty");
    std::fs::create_dir_all(&empty).expect("a directory");
    for (directory, code, said) in
        [(empty.as_path(), 64, "there is no trail in"), (Path::new("/nowhere/at/all"), 71, "cannot be read")]
    {
        let exit = run(directory, &["report"]);
        assert_eq!(exit.status.code(), Some(code), "{}", exit.stderr);
        assert!(exit.stderr.contains(said), "{}", exit.stderr);
    }
}
