//! Replay: what fails, what takes long, and what finds no place. Everything is counted.

use pgwarden_tests::replay::Replayed;
use pgwarden_tests::{Wire, for_each_version, until};

/// How often the query with this word was said to be looked at, or not for this reason.
fn counted(stage: &Replayed<'_>, word: &str, uncovered: Option<&str>) -> u64 {
    let (_, coverage) = stage.about(word);
    let same = coverage.iter().filter(|one| one["coverage"]["uncovered"].as_str() == uncovered);
    same.filter_map(|one| one["count"].as_u64()).sum()
}

fn table(name: &str, policy: &str) -> String {
    format!(
        "CREATE TABLE {name} AS SELECT * FROM items; ALTER TABLE {name} ENABLE ROW LEVEL SECURITY;
         CREATE POLICY allow_all ON {name} USING (true); GRANT SELECT ON {name} TO app;
         CREATE POLICY pgwarden_{name} ON {name} AS RESTRICTIVE FOR SELECT TO pgwarden_shadow USING ({policy});"
    )
}

#[test]
fn a_right_that_is_missing_is_a_finding() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        server.psql("REVOKE pgwarden_shadow FROM observer");
        stage.check(&mut acme, &[("r1", "SELECT name AS r1 FROM items", "replay_error failed")]);
        assert!(stage.about("r1").0[0]["evidence"].to_string().contains("42501"));
        server.psql("GRANT pgwarden_shadow TO observer");
        stage.check(&mut acme, &[("r2", "SELECT name AS r2 FROM items", "result_differs")]);
        server.psql("ALTER ROLE observer NOLOGIN");
        server.terminate("application_name = 'pgwarden replay'");
        stage.check(&mut acme, &[("r3", "SELECT name AS r3 FROM items", "replay_error failed")]);
    });
}

#[test]
fn a_query_that_fails_with_the_policies_alone_is_a_finding() {
    for_each_version(async |server| {
        let divides = table("broken", "1 / (id - 5) < 9");
        let missing = table("closed", "secret(id)");
        let function = "CREATE FUNCTION secret(int) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT true';
            REVOKE EXECUTE ON FUNCTION secret(int) FROM PUBLIC;";
        let stage = Replayed::start_with(server, &format!("{function}{divides}{missing}"), "rate = 1");
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("f1", "SELECT name AS f1 FROM broken", "result_differs"),
                ("f2", "SELECT name AS f2 FROM closed", "replay_error failed"),
            ],
        );
        assert!(stage.about("f1").0[0]["evidence"].to_string().contains("22012"));
    });
}

#[test]
fn much_slower_with_the_policies_is_a_finding() {
    for_each_version(async |server| {
        let function = "CREATE FUNCTION ponders(int) RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN
            FOR n IN 1 .. 400000 LOOP IF n < 0 THEN RETURN false; END IF; END LOOP; RETURN true; END $$;";
        let schema = format!("{function}{}", table("pondered", "ponders(id)"));
        let stage = Replayed::start_with(
            server,
            &schema,
            "rate = 1\nslower_by = \"5ms\"\nstatement_timeout = \"60s\"",
        );
        let mut acme = stage.client("acme");
        // The machine may be slow at the wrong moment: it is run until it was not.
        until("the query is found to be slower", || {
            acme.query("SELECT name AS slow FROM pondered");
            stage.seen("slow").findings.contains(&"slower".to_owned()).then_some(())
        });
    });
}

#[test]
fn the_first_of_each_tenant_are_run_again_and_the_others_counted() {
    for_each_version(async |server| {
        let stage = Replayed::start_with(server, "", "first = 2\nrate = 0");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let send = |client: &mut Wire, count: usize| {
            for n in 0..count {
                client.query(&format!("SELECT name AS n1 FROM items WHERE id <> {n}"));
            }
        };
        send(&mut acme, 5);
        send(&mut globex, 3);
        until("all are counted", || {
            let (looked, not) = (counted(&stage, "n1", None), counted(&stage, "n1", Some("not_sampled")));
            assert!(looked <= 4 && not <= 4, "{looked} {not}");
            (looked == 4 && not == 4).then_some(())
        });
    });
}

#[test]
fn what_finds_no_place_is_counted() {
    for_each_version(async |server| {
        let stage = Replayed::start_with(server, "", "rate = 1\nmax_bytes = 100");
        let mut acme = stage.client("acme");
        server.psql("ALTER ROLE observer CONNECTION LIMIT 0");
        server.terminate("usename = 'observer'");
        for _ in 0..3 {
            acme.query("SELECT name AS e1 FROM items");
        }
        acme.query(&format!("SELECT name AS e2 FROM items WHERE name <> '{}'", "x".repeat(100)));
        until("all are counted", || (counted(&stage, "e1", Some("dropped")) == 3).then_some(()));
        until("the long one is counted", || (counted(&stage, "e2", Some("dropped")) == 1).then_some(()));
    });
}

#[test]
fn a_queue_that_is_full_is_no_matter_to_clients() {
    for_each_version(async |server| {
        let function = "CREATE FUNCTION waits() RETURNS boolean LANGUAGE plpgsql STABLE AS $$ BEGIN
            WHILE (SELECT count(*) FROM gate) = 0 LOOP END LOOP; RETURN true; END $$;
            CREATE TABLE gate (id int); GRANT SELECT ON gate TO app;";
        let schema = format!("{function}{}", table("gated", "waits()"));
        let replay = "rate = 1\nqueue = 1\nconcurrency = 1\nstatement_timeout = \"500ms\"";
        let stage = Replayed::start_with(server, &schema, replay);
        let mut acme = stage.client("acme");
        for _ in 0..20 {
            acme.query("SELECT name AS h1 FROM gated");
        }
        until("all are counted", || {
            let (dropped, looked) = (counted(&stage, "h1", Some("dropped")), counted(&stage, "h1", None));
            (dropped + looked == 20 && dropped >= 10).then_some(())
        });
    });
}

#[test]
fn a_replay_that_waits_for_a_lock_gives_up() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("SELECT name AS i1 FROM items");
        let mut other = Wire::open(server.port(), "postgres", "", "postgres");
        other.query("BEGIN");
        let admin = std::thread::spawn(move || {
            other.query("LOCK TABLE items IN ACCESS EXCLUSIVE MODE");
            other
        });
        until("the lock is waited for", || {
            let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'";
            (server.psql(waiting).trim() == "1").then_some(())
        });
        acme.query("COMMIT");
        let mut other = admin.join().expect("the lock is there");
        assert_eq!(stage.seen("i1").said(), "dropped");
        other.query("ROLLBACK");
    });
}
