//! What the verdict learns from the database itself: what promotion would run into, what went past pgwarden, and who signed
//! the trail.

use std::path::{Path, PathBuf};

use pgwarden_audit::Signer;
use pgwarden_shadow::Detector;
use pgwarden_tests::certificates::Authority;
use pgwarden_tests::records::Records;
use pgwarden_tests::shadow::Watched;
use pgwarden_tests::staging::Staging;
use pgwarden_tests::trail::{directory, of_kind, told, until_recorded};
use pgwarden_tests::{Pgwarden, Server, Wire, for_each_version, lane, until, versions};
use serde_json::Value;

const SCHEMA: &str = "
CREATE ROLE owner;
CREATE ROLE app LOGIN;
CREATE ROLE jobs BYPASSRLS;
CREATE ROLE reports;
CREATE TABLE projects (id int PRIMARY KEY, org_id int);
CREATE TABLE parts (id int PRIMARY KEY, project_id int REFERENCES projects);
CREATE TABLE odd (id int PRIMARY KEY, writer text);
ALTER TABLE projects OWNER TO owner;
ALTER TABLE parts OWNER TO owner;
ALTER TABLE odd OWNER TO owner;
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
ALTER TABLE odd ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON projects USING (true);
CREATE POLICY everything ON parts USING (true);
CREATE POLICY everything ON odd USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON projects, parts, odd TO app;
GRANT SELECT ON projects TO jobs;
";

/// Of `odd`, nothing can be staged: its policy asks for the role.
const MIGRATION: &str = "DROP POLICY everything ON projects; \
     CREATE POLICY own ON projects TO app USING (org_id = (SELECT nullif(current_setting('app.current_org_id', true), '')::int)); \
     DROP POLICY everything ON parts; \
     CREATE POLICY own ON parts TO app USING (project_id IN (SELECT id FROM projects)); \
     DROP POLICY everything ON odd; CREATE POLICY own ON odd TO app USING (writer = current_user);";

/// A directory of this test's own.
fn place(name: &str) -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("verdict-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&place);
    place
}

/// The tables of a report, each with its verdict and the texts of its reasons.
#[derive(Debug)]
struct Verdicts(Value);

impl Verdicts {
    #[track_caller]
    fn read(json: &str) -> Verdicts {
        Verdicts(serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}: {json}")))
    }

    #[track_caller]
    fn of(&self, table: &str) -> (String, Vec<String>) {
        let found = self.0.as_array().into_iter().flatten().find(|one| one["table"] == table);
        let found = found.unwrap_or_else(|| panic!("{table}: {:#}", self.0));
        let texts = found["reasons"].as_array().into_iter().flatten();
        let texts = texts.filter_map(|reason| Some(reason["text"].as_str()?.to_owned()));
        (found["verdict"].as_str().unwrap_or_default().to_owned(), texts.collect())
    }

    #[track_caller]
    fn says(&self, table: &str, verdict: &str, text: &str) {
        let (found, texts) = self.of(table);
        assert_eq!(found, verdict, "{texts:#?}");
        assert!(texts.iter().any(|one| one.contains(text)), "{text:?} is not in {texts:#?}");
    }
}

/// A trail in which all of it was watched for long enough, with the database where it is staged.
struct Judged<'a> {
    staging: Staging<'a>,
    trail: String,
}

impl<'a> Judged<'a> {
    fn start(server: &'a Server) -> Judged<'a> {
        let staging = Staging::new(server, "shop", SCHEMA);
        let exit = staging.migrate(MIGRATION, &["--app", "app"]);
        assert_eq!(exit.status.code(), Some(1), "one table cannot be staged: {}", exit.stderr);
        let trail = place(&server.version().to_string());
        let mut records = Records::since(24);
        for (number, table) in ["public.projects", "public.parts", "public.odd"].into_iter().enumerate() {
            let query = (format!("{number:016x}"), format!("SELECT FROM {table}"));
            records.covered((&query.0, &query.1), table, Detector::Replay, None, 300);
        }
        records.write(&trail);
        Judged { staging, trail: trail.to_str().expect("a path").to_owned() }
    }

    #[track_caller]
    fn verdicts(&self) -> Verdicts {
        self.asked(&["--url", &self.staging.url("postgres")])
    }

    #[track_caller]
    fn asked(&self, more: &[&str]) -> Verdicts {
        let arguments = ["verdict", "--json", "--min-days", "0", "--trail", &self.trail];
        Verdicts::read(&Pgwarden::builder().run(&[&arguments, more].concat()).stderr)
    }

    /// While this has been done, the verdict on a table says so; when it is undone, it is as it was.
    #[track_caller]
    fn while_done(&self, done: &str, undone: &str, table: &str, says: &str) {
        self.staging.sql(done);
        self.verdicts().says(table, "NOT READY", says);
        self.staging.sql(undone);
        assert_eq!(self.verdicts().of(table).0, "READY", "{undone}");
    }
}

#[test]
fn what_promotion_would_run_into_keeps_a_table_from_being_ready() {
    for_each_version(async |server| {
        let judged = Judged::start(server);
        let verdicts = judged.verdicts();
        verdicts.says(
            "public.projects",
            "READY",
            "role jobs has rights on it, and is not bound: it has BYPASSRLS",
        );
        verdicts.says("public.parts", "READY", "rely on those of public.projects: promote both together");
        verdicts.says("public.odd", "NOT READY", "asks who the role is (current_user)");

        let projects = "public.projects";
        judged.while_done(
            "CREATE POLICY another ON projects USING (false)",
            "DROP POLICY another ON projects",
            projects,
            "has other policies than when it was staged",
        );
        judged.while_done(
            "ALTER ROLE app BYPASSRLS",
            "ALTER ROLE app NOBYPASSRLS",
            projects,
            "\"app\" is BYPASSRLS",
        );
        judged.while_done(
            "GRANT SELECT ON projects TO reports",
            "REVOKE ALL ON projects FROM reports",
            projects,
            "role reports has rights on it, and is not bound: no pending policy is for it",
        );
        judged.while_done(
            "GRANT owner TO app",
            "REVOKE owner FROM app",
            projects,
            "role \"app\" owns the table",
        );
        judged.while_done(
            "GRANT pgwarden_shadow TO reports",
            "REVOKE pgwarden_shadow FROM reports",
            "public.parts",
            "role \"reports\" inherits shadow role",
        );
        judged.while_done(
            "ALTER TABLE projects DISABLE ROW LEVEL SECURITY",
            "ALTER TABLE projects ENABLE ROW LEVEL SECURITY",
            "public.parts",
            "rely on those of public.projects, which is NOT READY",
        );
        let staged = "SELECT policyname FROM pg_policies WHERE tablename = 'projects' AND cmd = 'SELECT' \
                      AND policyname ^@ 'pgwarden_'";
        let staged = judged.staging.sql(staged);
        judged.staging.sql(&format!("ALTER POLICY {staged} ON projects USING (true)"));
        judged.verdicts().says(
            projects,
            "NOT READY",
            "the staged policies of public.projects are not those that were",
        );
        let exit = judged.staging.run(&["promote", "--force", "--reason", "x", "public.projects"]);
        assert!(
            exit.stderr.contains("are not those that were staged"),
            "promote says the same: {}",
            exit.stderr
        );
        judged.staging.migrate(MIGRATION, &["--app", "app"]);
        assert_eq!(judged.verdicts().of(projects).0, "READY");
    });
}

#[test]
fn who_may_not_read_what_is_staged_is_told_so_and_nothing_is_ready() {
    for_each_version(async |server| {
        let judged = Judged::start(server);
        judged.staging.sql("CREATE ROLE nosy LOGIN; CREATE ROLE observer LOGIN NOINHERIT");
        let config = |user: &str| {
            let url = format!("postgres://{user}@127.0.0.1:{}/shop?sslmode=disable", server.port());
            let text = format!(
                "upstream.url = \"{url}\"\nauth.method = \"trust\"\nreport.min_days = 0\n\
                 [shadow.observer]\nuser = \"{user}\"\n"
            );
            judged.staging.file(&format!("{user}.toml"), &text).to_string_lossy().into_owned()
        };
        let arguments = ["report", "--format", "json", "--trail", &judged.trail, "--config"];
        let reported = |user: &str| {
            let exit = Pgwarden::builder().run(&[&arguments[..], &[&config(user)]].concat());
            let report: Value =
                serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr));
            report
        };
        let caveats = reported("nosy")["caveats"].to_string();
        assert!(caveats.contains("database shop could not be asked as nosy: "), "{caveats}");
        assert!(caveats.contains("permission denied for schema pgwarden"), "{caveats}");
        let file = judged.staging.file("again.sql", MIGRATION);
        let file = file.to_string_lossy();
        judged.staging.run(&["stage", "--from", &file, "--app", "app", "--observer", "observer"]);
        let report = reported("observer");
        assert!(!report["caveats"].to_string().contains("could not be asked"), "{:#}", report["caveats"]);
        Verdicts(report["tables"].clone()).says("public.projects", "READY", "BYPASSRLS");
    });
}

#[test]
fn policies_changed_by_hand_begin_the_observation_anew_and_a_promotion_does_not() {
    for_each_version(async |server| {
        let watched = Watched::start(server, "");
        let trail = directory(&watched.pgwarden);
        let seen = || of_kind(&trail, "policies_changed").len();
        let until_seen = |before: usize| {
            until("the observer has seen the policies", || (seen() > before).then_some(()));
        };
        let url = server.url();
        let run = |arguments: &[&str]| {
            let before = seen();
            let exit = Pgwarden::builder().run(&[arguments, &["--url", &url]].concat());
            assert!(exit.status.success(), "{}", exit.stderr);
            until_seen(before);
        };
        until_seen(0);
        run(&["stage", "--column", "public.things.org_id", "--enable-rls", "--app", "app"]);
        let place = trail.to_string_lossy();
        let things = || {
            let arguments = ["report", "--format", "json", "--trail", &place];
            let exit = Pgwarden::builder().run(&arguments);
            let report: Value =
                serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr));
            let table =
                report["tables"].as_array().into_iter().flatten().find(|one| one["table"] == "public.things");
            table.cloned().unwrap_or_default()
        };
        let mut client = watched.client("acme");
        let ask = |client: &mut Wire| {
            client.query("SELECT name FROM things WHERE org_id = org()::uuid");
        };
        let is_compared = |table: &Value| table["compared"].as_u64().is_some_and(|count| count > 0);
        let staged = until("a replay is in the trail", || {
            ask(&mut client);
            Some(things()).filter(is_compared)
        });
        let before = seen();
        let policy = "SELECT min(policyname) FROM pg_policies WHERE tablename = 'things' \
                      AND policyname ^@ 'pgwarden_' AND permissive = 'RESTRICTIVE' AND qual IS NOT NULL";
        let policy = server.psql(policy);
        server.psql(&format!("ALTER POLICY {policy} ON things USING (org_id IS NOT NULL)"));
        until_seen(before);
        let by_hand =
            until("it begins anew", || Some(things()).filter(|table| table["since"] != staged["since"]));
        assert_eq!((&by_hand["compared"], &by_hand["stage"]), (&0.into(), &"staged".into()), "{by_hand:#}");
        run(&["stage", "--column", "public.things.org_id", "--enable-rls", "--app", "app"]);
        let again =
            until("it is staged again", || Some(things()).filter(|table| table["since"] != by_hand["since"]));
        until("a replay is in the trail", || {
            ask(&mut client);
            Some(things()).filter(is_compared)
        });
        run(&["promote", "--all", "--force", "--reason", "a test"]);
        let promoted =
            until("it is in force", || Some(things()).filter(|table| table["stage"] == "promoted"));
        assert_eq!(promoted["since"], again["since"], "the policies are those that were looked at");
        assert!(is_compared(&promoted), "{promoted:#}");
        let admin = format!("http://127.0.0.1:{}", watched.pgwarden.admin_port());
        until("the status shows it", || {
            let status = Pgwarden::builder().run(&["status", "--admin", &admin]).stderr;
            let line = status.lines().find(|line| line.contains("public.things"))?;
            line.contains("in force").then_some(())
        });
        run(&["demote", "--all"]);
        let demoted =
            until("it is not any more", || Some(things()).filter(|table| table["stage"] == "staged"));
        assert_eq!(demoted["since"], again["since"]);
    });
}

#[test]
fn what_went_past_pgwarden_is_named_and_replays_are_nobodys() {
    for version in versions() {
        let server = Server::builder(version).set("shared_preload_libraries", "pg_stat_statements").start();
        server.psql("CREATE EXTENSION pg_stat_statements");
        let watched = Watched::start(&server, "");
        let trail = directory(&watched.pgwarden);
        let looks = |count| {
            until("the observer has seen the policies", || {
                (of_kind(&trail, "policies_changed").len() >= count).then_some(())
            });
        };
        looks(1);
        let url = server.url();
        let stage =
            ["stage", "--url", &url, "--column", "public.things.org_id", "--enable-rls", "--app", "app"];
        let staged = Pgwarden::builder().run(&stage);
        assert!(staged.status.success(), "{}", staged.stderr);
        looks(2);
        let mut client = watched.client("acme");
        for id in 1..5 {
            client.query(&format!(
                "SELECT name AS seen FROM things WHERE org_id = org()::uuid AND id = {id} -- {id}"
            ));
        }
        until("it was replayed", || {
            (!watched.coverage("replay", "seen").is_empty()
                && server
                    .psql("SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%pgwarden replay%'")
                    != "0")
                .then_some(())
        });
        let mut past = Wire::open(server.port(), "app", "", "postgres");
        past.query("SELECT name AS missed FROM things WHERE id = 7 AND name <> 'x'");
        past.query("SELECT name AS missed FROM things WHERE id = 8 AND name <> 'y'");
        let admin = format!("http://127.0.0.1:{}", watched.pgwarden.admin_port());
        let trail = trail.to_string_lossy();
        for from in [&["--trail", &trail, "--url", &url][..], &["--admin", &admin]] {
            let exit = Pgwarden::builder().run(&[&["report", "--format", "json"], from].concat());
            let report: Value =
                serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr));
            let unseen = report["unseen"].as_array().expect("a list");
            assert_eq!(unseen.len(), 1, "{unseen:#?}");
            let text = "select name as missed from things where id = $1 and name <> $2";
            assert_eq!(unseen[0]["text"].as_str().map(str::to_lowercase).as_deref(), Some(text));
            assert_eq!((&unseen[0]["role"], &unseen[0]["calls"]), (&"app".into(), &2.into()));
            Verdicts(report["tables"].clone()).says(
                "public.things",
                "INSUFFICIENT DATA",
                "1 statement that the server has run (2 times) never came through pgwarden",
            );
        }
    }
}

#[test]
fn what_a_service_did_past_the_policies_is_in_the_report() {
    for_each_version(async |server| {
        lane::load(server);
        let pgwarden = told(server, "window = \"100ms\"\ncoverage_window = \"100ms\"").start();
        let mut service = lane::enter(&pgwarden, "migrator", "OPS-7").expect("a session");
        service.query("INSERT INTO notes (name, org) SELECT name, org FROM items");
        drop(service);
        let trail = directory(&pgwarden);
        let found = until("both tables are found", || {
            Some(of_kind(&trail, "service_used")).filter(|found| found.len() == 2)
        });
        let said = |record: &Value| (record["target"]["table"].to_string(), record["command"].to_string());
        let mut tables: Vec<_> = found.iter().map(said).collect();
        tables.sort();
        assert_eq!(
            tables,
            [("\"items\"", "\"SELECT\""), ("\"notes\"", "\"OTHER\"")]
                .map(|(a, b)| (a.to_owned(), b.to_owned()))
        );
        let actor = &found[0]["actor"];
        assert_eq!((&actor["service"], &actor["application_name"]), (&"migrations".into(), &"OPS-7".into()));
        assert_eq!(found[0]["severity"], "info");
        let exit =
            Pgwarden::builder().run(&["report", "--format", "json", "--trail", &trail.to_string_lossy()]);
        let report: Value =
            serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr));
        let account = &report["services"][0];
        assert_eq!(
            (&account["service"], &account["role"], &account["written"]),
            (&"migrations".into(), &"owner".into(), &Value::from(vec!["notes"])),
            "{account:#}"
        );
        assert!(account["ended"].is_string(), "{account:#}");
    });
}

#[test]
fn a_finding_names_the_certificate_of_who_sent_the_statement() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let watched = Watched::start_with(server, "", "shadow", |builder| {
            builder.tls("allow", &authority.server()).client_authority(authority.certificate())
        });
        let mut wire = Wire::connect(watched.pgwarden.port());
        wire.request_tls(&authority.client(Some(&authority.user("web-7")), &[]));
        wire.try_log_in("", &[("user", "acme"), ("database", "postgres")]).expect("a session");
        wire.query("SELECT org_id FROM things");
        let found = watched.found("rows_foreign", "from things");
        assert_eq!(found["actor"]["certificate"], "web-7", "{found:#}");
    });
}

#[test]
fn a_report_says_whose_signatures_it_has_verified() {
    let key = "5a".repeat(32);
    let public = |seed: &str| Signer::parse(seed).expect("a key").public_key().to_string();
    let pgwarden = Pgwarden::builder()
        .upstream("postgres://app@127.0.0.1:1/postgres?sslmode=disable")
        .env("PGWARDEN_AUTH", "trust")
        .env("KEY", &key)
        .config("[audit]\ndirectory = \"{dir}/audit\"\nsigning_key = \"env:KEY\"\ncheckpoint_interval = \"100ms\"\n")
        .start();
    let trail = directory(&pgwarden);
    until_recorded(&trail, "checkpoint");
    let trail = trail.to_string_lossy();
    let chain = |more: &[&str]| {
        let arguments = [&["report", "--format", "json"], more].concat();
        let exit = Pgwarden::builder().run(&arguments);
        let report: Value =
            serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {}", exit.stderr));
        let chain = &report["trails"][0]["chain"];
        (chain["is"].as_str().unwrap_or_default().to_owned(), chain.to_string())
    };
    let own = public(&key);
    let other = public(&"5b".repeat(32));
    let admin = format!("http://127.0.0.1:{}", pgwarden.admin_port());
    for (arguments, is, says) in [
        (&["--trail", &trail][..], "intact", "signatures not verified: no key was given".to_owned()),
        (&["--trail", &trail, "--public-key", &own], "intact", format!("by the key {}…", &own[..8])),
        (
            &["--trail", &trail, "--public-key", &other, "--public-key", &own],
            "intact",
            "one of the 2 keys".to_owned(),
        ),
        (&["--trail", &trail, "--public-key", &other], "broken", "not signed with this key".to_owned()),
        (&["--admin", &admin], "intact", format!("by the key {}… of the configuration", &own[..8])),
    ] {
        let (found, text) = chain(arguments);
        assert!(found == is && text.contains(&says), "{arguments:?}: {says:?} is not in {text}");
    }
    let exit = Pgwarden::builder().run(&["report", "--trail", &trail, "--public-key", "short"]);
    assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
}
