//! Findings of a running pgwarden: reported, said to be mended, met again, ignored; and the page that it serves itself.

use std::path::PathBuf;

use pgwarden_tests::chromium::Chromium;
use pgwarden_tests::shadow::Watched;
use pgwarden_tests::tenants::ACME;
use pgwarden_tests::trail::{directory, of_kind};
use pgwarden_tests::{Exit, Pgwarden, Server, for_each_version, until};
use serde_json::Value;

const FORGOTTEN: &str = "SELECT id, org_id FROM things ORDER BY id";

/// A watched pgwarden whose application forgets whose rows it reads, with its policies staged.
struct Stage<'a> {
    server: &'a Server,
    watched: Watched,
    trail: String,
}

impl<'a> Stage<'a> {
    fn start(server: &'a Server) -> Stage<'a> {
        let watched = Watched::start(server, "");
        let trail: PathBuf = directory(&watched.pgwarden);
        let stage = Stage { server, watched, trail: trail.to_str().expect("a path").to_owned() };
        // What is asked before the observer knows of the policies cannot be replayed with them.
        let looks = |count| {
            until(&format!("the observer has seen {count} states of the policies"), || {
                (of_kind(&trail, "policies_changed").len() >= count).then_some(())
            });
        };
        looks(1);
        let staged =
            stage.run(&["stage", "--column", "public.things.org_id", "--enable-rls", "--app", "app"]);
        assert!(staged.status.success(), "{}", staged.stderr);
        looks(2);
        stage
    }

    /// A command with the URL of a superuser.
    fn run(&self, arguments: &[&str]) -> Exit {
        let url = self.server.url();
        Pgwarden::builder().run(&[arguments, &["--url", url.as_str()]].concat())
    }

    /// A command with the trail, too.
    fn asked(&self, arguments: &[&str]) -> Exit {
        self.run(&[arguments, &["--trail", &self.trail]].concat())
    }

    fn report(&self) -> Value {
        let exit = self.asked(&["report", "--format", "json"]);
        assert!(exit.status.success(), "{}", exit.stderr);
        serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr))
    }

    fn finding(&self, id: &str) -> Value {
        let report = self.report();
        let findings = report["findings"].as_array().expect("findings");
        findings.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{report:#}")).clone()
    }

    fn causes(&self) -> Vec<String> {
        let report = self.report();
        let tables = report["tables"].as_array().expect("tables");
        let things = tables.iter().find(|one| one["table"] == "public.things");
        let reasons = things.unwrap_or_else(|| panic!("{report:#}"))["reasons"].as_array().expect("reasons");
        reasons.iter().filter_map(|one| one["code"].as_str()).map(str::to_owned).collect()
    }

    fn standing(&self, id: &str) -> String {
        self.finding(id)["standing"]["is"].as_str().expect("a word").to_owned()
    }
}

#[test]
fn a_finding_is_resolved_met_again_and_ignored_for_a_time() {
    for_each_version(async |server| {
        let stage = Stage::start(server);
        let mut client = stage.watched.client("acme");
        client.query(FORGOTTEN);
        let found = stage.watched.found("rows_foreign", "from things order by");
        let id = found["finding"].as_str().expect("a name").to_owned();
        let finding = stage.finding(&id);
        assert_eq!(
            (&finding["standing"]["is"], &finding["table"]),
            (&"open".into(), &"public.things".into())
        );
        assert!(stage.causes().contains(&"findings".to_owned()));

        // Replayed, the same statement is another finding.
        let differs = stage.watched.found("result_differs", "from things order by");
        let differs = differs["finding"].as_str().expect("a name");
        let who = ["--reason", "the WHERE is there again", "--owner", "Ann"];
        assert!(stage.asked(&[&["resolve", differs], &who[..]].concat()).status.success());
        let resolved = stage.asked(&[&["resolve", &id[..8]], &who[..]].concat());
        assert!(resolved.status.success(), "{}", resolved.stderr);
        assert!(resolved.stderr.contains("is resolved, until it is met again"), "{}", resolved.stderr);
        assert_eq!(stage.standing(&id), "resolved");
        assert!(!stage.causes().contains(&"findings".to_owned()));
        assert_eq!(stage.finding(&id)["standing"]["owner"], "Ann");

        // The observer hands the journal over to the trail, which then says the same by itself.
        until("the trail knows it", || {
            let exit = Pgwarden::builder().run(&["report", "--trail", &stage.trail, "--format", "json"]);
            let report: Value = serde_json::from_str(&exit.stderr).ok()?;
            let findings = report["findings"].as_array()?;
            findings
                .iter()
                .any(|one| one["id"] == id.as_str() && one["standing"]["is"] == "resolved")
                .then_some(())
        });
        client.query(FORGOTTEN);
        until("it is met again", || (stage.standing(&id) == "reopened").then_some(()));
        assert!(stage.causes().contains(&"findings".to_owned()));

        assert!(
            stage.asked(&[&["ignore", differs, "--until", "2999-01-01"], &who[..]].concat()).status.success()
        );
        let ignored = stage.asked(&[&["ignore", &id, "--until", "30d"], &who[..]].concat());
        assert!(ignored.status.success(), "{}", ignored.stderr);
        client.query(FORGOTTEN);
        assert_eq!(stage.standing(&id), "ignored");
        assert!(!stage.causes().contains(&"findings".to_owned()));
        let journal = "SELECT step, detail->>'finding', detail->>'owner', reason, tables::text FROM pgwarden.journal \
                       WHERE step IN ('ignore', 'resolve') AND detail->>'finding' = '{id}' ORDER BY id";
        let lines = stage.server.psql(&journal.replace("{id}", &id));
        let expected = |step: &str| format!("{step}|{id}|Ann|the WHERE is there again|{{public.things}}");
        assert_eq!(lines, [expected("resolve"), expected("ignore")].join("\n"));
    });
}

#[test]
fn a_table_becomes_ready_when_its_application_is_mended() {
    for_each_version(async |server| {
        let stage = Stage::start(server);
        let mut client = stage.watched.client("acme");
        client.query(FORGOTTEN);
        let found =
            ["rows_foreign", "result_differs"].map(|kind| stage.watched.found(kind, "from things order by"));
        let [rows, result] = found.each_ref().map(|one| one["finding"].as_str().expect("a name"));
        let said = ["--reason", "mended", "--owner", "Ann"];
        let unknown = stage.asked(&[&["resolve", rows, "0000"], &said[..]].concat());
        assert_eq!(unknown.status.code(), Some(64), "{}", unknown.stderr);
        assert_eq!(stage.standing(rows), "open", "all of them, or none");
        let resolved = stage.asked(&[&["resolve", rows, result], &said[..]].concat());
        assert!(resolved.status.success(), "{}", resolved.stderr);
        for _ in 0..4 {
            client.query(&format!("SELECT id, name FROM things WHERE org_id = '{ACME}' ORDER BY id"));
        }
        let ready = || stage.asked(&["verdict", "public.things", "--min-days", "0", "--exit-code"]);
        let mut said = String::new();
        let become_ready = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until("it is ready", || {
                let exit = ready();
                said = exit.stderr;
                exit.status.success().then_some(())
            });
        }));
        assert!(become_ready.is_ok(), "{said}");
        let promoted = stage.asked(&["promote", "public.things"]);
        assert_eq!(promoted.status.code(), Some(1), "seven days are asked for: {}", promoted.stderr);
        assert!(promoted.stderr.contains("INSUFFICIENT DATA"), "{}", promoted.stderr);
    });
}

#[test]
fn what_cannot_be_ignored_is_refused() {
    for_each_version(async |server| {
        let stage = Stage::start(server);
        stage.watched.client("acme").query(FORGOTTEN);
        let found = stage.watched.found("rows_foreign", "from things order by");
        let id = found["finding"].as_str().expect("a name");
        let who = ["--reason", "it's \\ fine", "--owner", "Ann"];
        for (arguments, said) in [
            (&["ignore", "0000", "--until", "30d"][..], "no finding, and no statement, is called 0000"),
            (&["ignore", id, "--until", "2020-01-01"], "--until: \"2020-01-01\" is not in the future"),
            (&["ignore", id, "--until", "for ever"], "--until: \"for ever\" is not in the future"),
        ] {
            let exit = stage.asked(&[arguments, &who].concat());
            assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
            assert!(exit.stderr.contains(said), "{}", exit.stderr);
        }
        let exit = stage.asked(&["resolve", id, "--reason", " ", "--owner", "Ann"]);
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        // Whatever stands in a reason is a text.
        let exit = stage.asked(&[&["resolve", id], &who[..]].concat());
        assert!(exit.status.success(), "{}", exit.stderr);
        assert_eq!(stage.finding(id)["standing"]["reason"], "it's \\ fine");
    });
}

#[test]
fn nothing_is_promoted_before_it_is_ready() {
    for_each_version(async |server| {
        let stage = Stage::start(server);
        stage.watched.client("acme").query(FORGOTTEN);
        stage.watched.found("rows_foreign", "from things order by");
        let exit = stage.asked(&["promote", "public.things"]);
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains("the verdict on public.things is NOT READY"), "{}", exit.stderr);
        assert!(exit.stderr.contains("rows_foreign × 1"), "{}", exit.stderr);
    });
}

#[test]
fn a_running_pgwarden_reports_itself() {
    for_each_version(async |server| {
        let stage = Stage::start(server);
        stage.watched.client("acme").query(FORGOTTEN);
        stage.watched.found("rows_foreign", "from things order by");
        let pgwarden = &stage.watched.pgwarden;
        let admin = format!("http://127.0.0.1:{}", pgwarden.admin_port());
        let names = |report: &Value| {
            let findings = report["findings"].as_array().expect("findings").iter();
            findings.map(|one| one["id"].to_string()).collect::<Vec<_>>()
        };
        let live = until("the live report has it", || {
            let exit = Pgwarden::builder().run(&["report", "--admin", &admin, "--format", "json"]);
            assert!(exit.status.success(), "{}", exit.stderr);
            let report: Value = serde_json::from_str(&exit.stderr).expect("JSON");
            // Rows on their way, and the replay.
            Some(names(&report)).filter(|names| names.len() == 2)
        });
        let of_trail = Pgwarden::builder().run(&["report", "--trail", &stage.trail, "--format", "json"]);
        assert_eq!(names(&serde_json::from_str(&of_trail.stderr).expect("JSON")), live);
        let mut browser = Chromium::start();
        browser.open(&format!("{admin}/report"));
        assert_eq!(browser.evaluate("document.querySelectorAll('.findings > li').length"), live.len());
        browser.evaluate("document.querySelector('#filter-kind').value = 'rows_foreign'");
        assert!(browser.complaints().is_empty(), "{:#?}", browser.complaints());
    });
}

#[test]
fn a_browser_logs_in_with_the_token() {
    let pgwarden = Pgwarden::builder()
        .upstream("postgres://app@127.0.0.1:1/postgres?sslmode=disable")
        .env("PGWARDEN_AUTH", "trust")
        .env("PGWARDEN_AUDIT", "{dir}/audit")
        .env("ADMIN_TOKEN", "right & proper")
        .config("admin.token = \"env:ADMIN_TOKEN\"")
        .start();
    let mut browser = Chromium::start();
    browser.open(&format!("http://127.0.0.1:{}/report", pgwarden.admin_port()));
    let shown = "document.querySelector('h1').textContent";
    assert_eq!(browser.evaluate(shown), "Tenant isolation");
    let log_in = |token: &str| {
        format!("document.querySelector('input').value = '{token}'; document.querySelector('button').click()")
    };
    browser.follow(&log_in("wrong"));
    assert_eq!(
        browser.evaluate("document.querySelector('[role=alert]').textContent"),
        "That is not the token."
    );
    browser.follow(&log_in("right & proper"));
    assert_eq!(browser.evaluate(shown), "Tenant isolation: what the policies would have done");
    assert_eq!(browser.evaluate("document.cookie"), "", "no script reads it");
    browser.open(&format!("http://127.0.0.1:{}/report", pgwarden.admin_port()));
    assert_eq!(browser.evaluate(shown), "Tenant isolation: what the policies would have done");
    let complaints: Vec<&String> = browser.complaints().iter().filter(|one| !one.contains("401")).collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}
