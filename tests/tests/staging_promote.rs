//! `pgwarden promote` and `demote`: what is promoted together, who is not bound, and who is in the way.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use pgwarden_tests::staging::{Staging, probe};
use pgwarden_tests::{Exit, Frontend, Pgwarden, Server, Wire, for_each_version, until};

const SCHEMA: &str = "
CREATE ROLE owner;
CREATE ROLE app LOGIN;
CREATE TABLE projects (id int PRIMARY KEY, org_id int);
CREATE TABLE parts (id int PRIMARY KEY, project_id int REFERENCES projects);
INSERT INTO projects VALUES (1, 1), (2, 2);
INSERT INTO parts VALUES (1, 1), (2, 2);
ALTER TABLE projects OWNER TO owner;
ALTER TABLE parts OWNER TO owner;
ALTER TABLE projects ENABLE ROW LEVEL SECURITY;
ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON projects USING (true);
CREATE POLICY everything ON parts USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON projects, parts TO app;
";

const PARENT: &str = "DROP POLICY everything ON projects; \
     CREATE POLICY own ON projects USING (org_id = (SELECT nullif(current_setting('app.current_org_id', true), '')::int));";
const CHILD: &str = "DROP POLICY everything ON parts; CREATE POLICY own ON parts USING (project_id IN (SELECT id FROM projects));";

const FORCED: [&str; 3] = ["--force", "--reason", "a test"];

fn staged<'a>(server: &'a Server, more: &str, migration: &str) -> Staging<'a> {
    let staging = Staging::new(server, "promoted", &format!("{SCHEMA}{more}"));
    let exit = staging.migrate(migration, &["--app", "app"]);
    assert!(exit.status.success(), "{}", exit.stderr);
    staging
}

fn promote(staging: &Staging<'_>, tables: &[&str]) -> Exit {
    staging.run(&[&["promote"], tables, &FORCED].concat())
}

#[test]
fn a_policy_that_relies_on_another_table_is_promoted_with_it_or_not_at_all() {
    for_each_version(async |server| {
        let staging = staged(server, "", &format!("{PARENT}{CHILD}"));
        let before = staging.policies();
        let exit = promote(&staging, &["public.parts"]);
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        assert!(
            exit.stderr.contains("HINT:  pgwarden promote public.parts public.projects"),
            "{}",
            exit.stderr
        );
        assert_eq!(staging.policies(), before);
        assert!(promote(&staging, &["public.parts", "public.projects"]).status.success());
        let client = staging.connect().await;
        let answer = probe(&client, "app", &[("app.current_org_id", "1")], "SELECT id FROM parts").await;
        assert_eq!(answer, "1\n1 rows");
    });
}

#[test]
fn reliance_is_found_in_the_bodies_of_functions_and_in_views() {
    for_each_version(async |server| {
        let function = "CREATE FUNCTION visible(p int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN \
                        RETURN EXISTS (SELECT FROM projects WHERE id = p); END $$;";
        let child =
            "DROP POLICY everything ON parts; CREATE POLICY own ON parts USING (visible(project_id));";
        let staging = staged(server, "", &format!("{function}{PARENT}{child}"));
        let exit = promote(&staging, &["public.parts"]);
        assert!(
            exit.stderr.contains("Not in force yet, and read by them: public.projects"),
            "{}",
            exit.stderr
        );
        let definer =
            "ALTER FUNCTION visible(int) SECURITY DEFINER; ALTER FUNCTION visible(int) OWNER TO owner";
        staging.sql(definer);
        assert!(
            promote(&staging, &["public.parts"]).status.success(),
            "an owner is not bound: it relies on nothing"
        );
        staging.done(&["demote", "public.parts"]);
    });
}

#[test]
fn policies_that_come_back_to_their_own_table_are_a_blocker() {
    for_each_version(async |server| {
        let function = "CREATE FUNCTION visible(o int) RETURNS boolean LANGUAGE sql STABLE SECURITY DEFINER \
                        SET search_path = pg_catalog, pg_temp AS $$ SELECT EXISTS (SELECT FROM public.projects WHERE org_id = o) $$; \
                        ALTER FUNCTION visible(int) OWNER TO owner;";
        let policy =
            "DROP POLICY everything ON projects; CREATE POLICY own ON projects USING (visible(org_id));";
        let force = "ALTER TABLE projects FORCE ROW LEVEL SECURITY;";
        let staging = staged(server, "", &format!("{function}{policy}{force}"));
        let exit = promote(&staging, &["public.projects"]);
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        assert!(
            exit.stderr.contains("every query would fail") && exit.stderr.contains("54001"),
            "{}",
            exit.stderr
        );
        staging.done(&["unstage", "--all"]);
        let exit = staging.migrate(&format!("{function}{policy}"), &["--app", "app"]);
        assert!(exit.status.success(), "{}", exit.stderr);
        assert!(promote(&staging, &["public.projects"]).status.success(), "without FORCE, the owner ends it");
    });
}

#[test]
fn nobody_promotes_without_a_verdict_or_a_reason() {
    for_each_version(async |server| {
        let staging = staged(server, "", PARENT);
        staging.refused(&["promote", "--all"], 1, "the verdict on public.projects is INSUFFICIENT DATA");
        staging.refused(&["promote", "--all", "--force"], 64, "--force needs --reason");
        staging.refused(
            &["promote", "public.parts", "--force", "--reason", "x"],
            64,
            "nothing is staged for public.parts",
        );
        assert!(promote(&staging, &["--all"]).status.success());
        staging.refused(&["unstage", "--all"], 1, "the policies of public.projects are in force");
        let said = staging.done(&["promote", "--all"]);
        assert!(said.contains("nothing to promote"), "{said}");
    });
}

#[test]
fn a_table_whose_policies_have_changed_since_is_not_promoted() {
    for_each_version(async |server| {
        let staging = staged(server, "", PARENT);
        staging.sql("CREATE POLICY another ON projects USING (false)");
        let exit = promote(&staging, &["--all"]);
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains("has other policies than when it was staged"), "{}", exit.stderr);
    });
}

#[test]
fn roles_that_a_promoted_policy_does_not_bind_are_named() {
    for_each_version(async |server| {
        let more = "CREATE ROLE reports; CREATE ROLE jobs BYPASSRLS; CREATE ROLE bound; GRANT app TO bound; \
                    GRANT SELECT ON projects TO reports, jobs, bound";
        let migration = "CREATE POLICY own ON projects AS RESTRICTIVE TO app USING (org_id = 1)";
        let staging = staged(server, more, migration);
        let exit = promote(&staging, &["--all"]);
        for said in [
            "role reports is not bound: no promoted policy is for it",
            "role jobs is not bound: it has BYPASSRLS",
            "role owner is not bound: it owns the table",
        ] {
            assert!(exit.stderr.contains(said), "{said:?} is not in\n{}", exit.stderr);
        }
        assert!(!exit.stderr.contains("role bound"), "{}", exit.stderr);
        let exit = staging.run(&["check"]);
        assert!(
            exit.stderr.contains("role reports has rights on it, and its promoted policies do not bind it"),
            "{}",
            exit.stderr
        );
    });
}

#[test]
fn an_open_cursor_does_not_stop_a_demotion_that_may_end_it() {
    for_each_version(async |server| {
        let staging = staged(server, "", PARENT);
        assert!(promote(&staging, &["--all"]).status.success());
        let pgwarden = proxy(&staging, "transaction");
        let address = format!("http://127.0.0.1:{}", pgwarden.admin_port());
        let cursor = "BEGIN; DECLARE c CURSOR FOR SELECT * FROM projects";
        let mut client = Wire::open(pgwarden.port(), "app", "", &staging.database);
        client.query(cursor);
        // The same user, and none of pgwarden's.
        let direct = pgwarden_tests::connect(&staging.url("app")).await;
        direct.batch_execute(cursor).await.expect("a cursor");
        let locked = "the lock of \"public\".\"projects\" did not come";
        staging.refused(&["demote", "--all", "--patience", "0.3"], 1, locked);
        staging.refused(&["demote", "--all", "--force"], 64, "--force needs --through");
        let force = ["demote", "--all", "--force", "--through", &address, "--patience", "0.6"];
        let said = staging.refused(&force, 1, locked);
        assert_eq!(said.matches("ended: process").count(), 1, "{said}");
        client.ended();
        assert!(pgwarden.logged("traffic is held") > 2, "for each try: {}", pgwarden.stderr());
        direct.batch_execute("COMMIT").await.expect("its session is its own");
        staging.done(&force);
    });
}

/// A request without a body to the admin listener: status and answer.
fn ask(pgwarden: &Pgwarden, request: &str, token: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", pgwarden.admin_port())).expect("the admin listener");
    let header = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    write!(stream, "{request} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n{header}\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

fn proxy(staging: &Staging<'_>, mode: &str) -> Pgwarden {
    Pgwarden::builder()
        .upstream(&format!("{}?sslmode=disable", staging.url("app")))
        .env("PGWARDEN_AUTH", "trust")
        .env("PGWARDEN_MODE", "passthrough")
        .env("PGWARDEN_POOL_MODE", mode)
        .start()
}

#[test]
fn held_traffic_waits_and_never_fails() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "promoted", SCHEMA);
        for mode in ["transaction", "session"] {
            let pgwarden = proxy(&staging, mode);
            let mut busy = Wire::open(pgwarden.port(), "app", "", &staging.database);
            let mut idle = Wire::open(pgwarden.port(), "app", "", &staging.database);
            idle.query("SELECT 1");
            let mut tries = 0;
            // Only what is seen while the hold lasts says something.
            let (seen, query) = until("it is looked at within two seconds", || {
                tries += 1;
                let query = format!("SELECT 'try {tries}'");
                let running = format!("SELECT count(*) FROM pg_stat_activity WHERE query = $q${query}$q$");
                busy.query("BEGIN");
                let started = Instant::now();
                assert_eq!(ask(&pgwarden, "POST /hold?database=promoted&milliseconds=2000", "").0, 200);
                let begun = busy.rows("SELECT 2");
                assert_eq!(begun[0][0].as_deref(), Some("2"), "a transaction that has begun goes on");
                idle.send(&Frontend::new().query(&query));
                busy.query("COMMIT");
                let seen = staging.sql(&running);
                let in_time = started.elapsed() < Duration::from_secs(2);
                assert_eq!(ask(&pgwarden, "DELETE /hold?database=promoted", "").0, 200);
                idle.until_ready();
                in_time.then_some((seen, running))
            });
            assert_eq!(seen, "0", "it has not reached the server");
            assert_ne!(staging.sql(&query), "0", "and then it has");
            assert_eq!(ask(&pgwarden, "POST /hold?database=promoted&milliseconds=50", "").0, 200);
            assert_eq!(idle.rows("SELECT 4")[0][0].as_deref(), Some("4"), "a hold ends by itself");
        }
    });
}

#[test]
fn a_hold_is_for_whoever_has_the_token_and_never_long() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "promoted", SCHEMA);
        let pgwarden = Pgwarden::builder()
            .upstream(&format!("{}?sslmode=disable", staging.url("app")))
            .env("PGWARDEN_AUTH", "trust")
            .env("PGWARDEN_MODE", "passthrough")
            .file("token", "secret")
            .config("[admin]\ntoken = \"file:{dir}/token\"\n")
            .start();
        let hold = "POST /hold?database=promoted&milliseconds=100";
        assert_eq!(ask(&pgwarden, hold, "").0, 401);
        assert_eq!(ask(&pgwarden, hold, "other").0, 401);
        assert_eq!(ask(&pgwarden, "POST /hold?database=promoted&milliseconds=2001", "secret").0, 400);
        assert_eq!(ask(&pgwarden, "POST /hold?milliseconds=10", "secret").0, 400);
        assert_eq!(ask(&pgwarden, "GET /hold?database=promoted", "secret").0, 405);
        assert_eq!(ask(&pgwarden, hold, "secret").0, 200);
    });
}

#[test]
fn a_promotion_through_pgwarden_holds_its_traffic() {
    for_each_version(async |server| {
        let staging = staged(server, "", PARENT);
        let pgwarden = proxy(&staging, "transaction");
        let address = format!("http://127.0.0.1:{}", pgwarden.admin_port());
        let exit = promote(&staging, &["--all", "--through", &address]);
        assert!(exit.status.success(), "{}", exit.stderr);
        assert!(pgwarden.logged("traffic is held") == 1, "{}", pgwarden.stderr());
        let mut client = Wire::open(pgwarden.port(), "app", "", &staging.database);
        assert_eq!(client.rows("SELECT count(*) FROM projects")[0][0].as_deref(), Some("0"));
        staging.refused(
            &["demote", "--all", "--through", "http://127.0.0.1:1"],
            64,
            "nothing answers at 127.0.0.1:1",
        );
    });
}
