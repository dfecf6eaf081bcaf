//! Replay: a query is run again under the settings under which its client ran it, or it would read something else.

use pgwarden_tests::for_each_version;
use pgwarden_tests::replay::Replayed;
use pgwarden_tests::tenants::{ACME, GLOBEX, value};

/// Two more tables of the same name: one in a schema that is called as the application's role, and one that a client asks
/// for. In both acme has everything.
fn schema() -> String {
    let table = |name: &str| {
        format!(
            "CREATE TABLE {name}.items (LIKE public.items);
             INSERT INTO {name}.items VALUES (1, 'in {name}', '{ACME}', 0, 0);
             ALTER TABLE {name}.items ENABLE ROW LEVEL SECURITY;
             CREATE POLICY allow_all ON {name}.items USING (true);
             CREATE POLICY pgwarden_own ON {name}.items AS RESTRICTIVE FOR SELECT TO pgwarden_shadow
                 USING (org = (SELECT nullif(current_setting('app.current_org_id', true), '')::uuid));
             GRANT USAGE ON SCHEMA {name} TO app;
             GRANT SELECT ON {name}.items TO app;"
        )
    };
    format!("CREATE SCHEMA aside; {}", table("aside"))
}

#[test]
fn the_search_path_of_the_session_decides_what_is_read() {
    for_each_version(async |server| {
        let stage = Replayed::start_with(server, &schema(), "rate = 1");
        let mut acme = stage.client("acme");
        stage.check(&mut acme, &[("s1", "SELECT name AS s1 FROM items", "result_differs")]);
        acme.query("SET search_path = aside");
        assert_eq!(value(&acme.query("SELECT name FROM items")).as_deref(), Some("in aside"));
        stage.check(&mut acme, &[("s2", "SELECT name AS s2 FROM items", "clean")]);
        acme.query("RESET search_path");
        stage.check(&mut acme, &[("s3", "SELECT name AS s3 FROM items", "result_differs")]);
    });
}

#[test]
fn what_is_set_for_the_role_in_the_database_holds_for_the_replay() {
    for_each_version(async |server| {
        let more =
            "ALTER ROLE app SET search_path = nowhere; ALTER DATABASE postgres SET search_path = nowhere;
            ALTER ROLE app IN DATABASE postgres SET search_path = aside; ALTER ROLE app SET work_mem = '1MB';
            ALTER ROLE app SET log_statement = 'all'; ALTER ROLE app SET my.setting = 'x'";
        let stage = Replayed::start_with(server, &format!("{}{more}", schema()), "rate = 1");
        let mut acme = stage.client("acme");
        stage.check(
            &mut acme,
            &[
                ("d1", "SELECT name AS d1 FROM items", "clean"),
                ("d2", "SELECT name AS d2 FROM items WHERE current_setting('my.setting') = 'x'", "clean"),
            ],
        );
    });
}

#[test]
fn the_schema_of_the_user_is_the_applications() {
    for_each_version(async |server| {
        let own = schema().replace("aside", "app");
        let stage = Replayed::start_with(server, &own, "rate = 1");
        let mut acme = stage.client("acme");
        assert_eq!(value(&acme.query("SELECT name FROM items")).as_deref(), Some("in app"));
        stage.check(&mut acme, &[("s4", "SELECT name AS s4 FROM items", "clean")]);
    });
}

#[test]
fn the_time_zone_and_forms_of_the_session_are_those_of_the_replay() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        acme.query("SET TimeZone = 'Pacific/Kiritimati'");
        acme.query("SET DateStyle = 'German'");
        let elsewhere =
            "current_setting('TimeZone') = 'Pacific/Kiritimati' AND now()::date::text LIKE '%.%.%'";
        stage.check(
            &mut acme,
            &[("z1", &format!("SELECT name AS z1 FROM items WHERE {elsewhere} OR id < 3"), "result_differs")],
        );
    });
}

#[test]
fn a_setting_of_the_transaction_alone_is_not_guessed() {
    for_each_version(async |server| {
        let stage = Replayed::start_with(server, &schema(), "rate = 1");
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("SET LOCAL search_path = aside");
        assert_eq!(value(&acme.query("SELECT name AS x1 FROM items")).as_deref(), Some("in aside"));
        acme.query("COMMIT");
        assert_eq!(stage.seen("x1").said(), "unsafe");
        stage.check(&mut acme, &[("x2", "SELECT name AS x2 FROM items", "result_differs")]);
    });
}

#[test]
fn a_query_is_run_again_behind_its_transaction() {
    for_each_version(async |server| {
        let stage = Replayed::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query(&format!("INSERT INTO items VALUES (6, 'of globex', '{GLOBEX}', 0, 0)"));
        acme.query("SELECT name AS k1 FROM items WHERE id = 6");
        assert_eq!(stage.about("k1").1.len(), 0);
        acme.query("COMMIT");
        assert_eq!(stage.seen("k1").said(), "result_differs");
    });
}
