//! What the guard lets through, and what it is told to do. What it stops is in `attacks.rs`.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, value, values};
use pgwarden_tests::{Frontend, Pgwarden, Server, for_each_version, psql};

/// A helper as applications have them.
const RUN_SQL: &str =
    "CREATE FUNCTION run_sql(query text, data text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    EXECUTE query;
    RETURN length(data);
END $$";

fn findings(pgwarden: &Pgwarden) -> f64 {
    let (_, metrics) = pgwarden.admin("/metrics");
    let samples = metrics.lines().filter(|line| line.starts_with("pgwarden_findings_total{"));
    samples.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[test]
fn tools_and_start_ups_find_nothing_in_their_way() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let url = stage.pgwarden.url("acme", "", "postgres");
        for command in ["\\d", "\\d+ items", "\\df+", "\\du+", "\\dp", "\\dn+", "\\l+", "\\dconfig *"] {
            // An older psql asks newer servers for columns that are no more: what it reads then is the same, too.
            let said = |url: &str| String::from_utf8_lossy(&psql(url, &["-c", command]).stderr).into_owned();
            assert_eq!(said(&url), said(&server.url_for("acme", "", "postgres")), "{command}");
        }
        let mut acme = stage.client("acme");
        for statement in [
            "SELECT pg_catalog.set_config('search_path', '', false)",
            "SELECT set_config('search_path', 'public', false) AS set_config",
            "SELECT set_config(name, 'view, foreign-table', false) FROM pg_settings WHERE name = 'restrict_nonsystem_relation_kind'",
            "SELECT current_setting('app.current_org_id')::uuid, pg_sleep(0)",
            "SELECT name, setting FROM pg_settings WHERE name IN ('TimeZone', 'app.current_org_id')",
            "INSERT INTO notes VALUES ('how app.current_org_id works')",
            "DO $$ BEGIN IF org() = '' THEN RAISE EXCEPTION 'no tenant'; END IF; END $$",
            "CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2'",
            "SELECT twice(2)",
        ] {
            let answers = acme.query(statement);
            assert_eq!(error_code(&answers), "", "{statement}: {answers:?}");
        }
        assert_eq!(findings(&stage.pgwarden), 0.0);
    });
}

#[test]
fn a_guard_that_records_refuses_nothing_and_one_that_is_off_counts_nothing() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_GUARD", "record"));
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let off = Tenants::builder(&upstream).env("PGWARDEN_GUARD", "off").start();
        let attempt = "DO $$ BEGIN EXECUTE 'SET LOCAL app.' || 'current_org_id = 1'; END $$";
        assert_eq!(error_code(&stage.client("acme").query(attempt)), "");
        let counted = stage.pgwarden.metric("pgwarden_findings_total{kind=\"code_unread\",mode=\"enforce\"}");
        assert!(counted >= Some(1.0), "{counted:?}");
        // Without a tenant, a table is refused whatever the guard does.
        assert_eq!(error_code(&stage.client("nobody").query("SELECT name FROM items")), "42501");
        let off = Tenants { server, pgwarden: off };
        assert_eq!(error_code(&off.client("acme").query(attempt)), "");
        assert_eq!(findings(&off.pgwarden), 0.0);
    });
}

fn bound(sql: &str, values: &[&str]) -> Frontend {
    let values: Vec<Option<&str>> = values.iter().map(|value| Some(*value)).collect();
    Frontend::new().parse("", sql, &[]).bind("", "", &values).execute("", 0).sync()
}

#[test]
fn a_value_that_names_a_variable_is_found_however_it_arrives() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql(RUN_SQL);
        let filler = "x".repeat(100_000);
        let setting = format!("SET LOCAL APP.current_org_id = '{GLOBEX}'");
        let mut acme = stage.client("acme");
        for pieces in [1 << 20, 1000, 7] {
            for attempt in [
                bound("SELECT run_sql($1, $2)", &[&setting, &filler]),
                bound("SELECT run_sql($2, $1)", &[&filler, &setting]),
            ] {
                acme.send_in_pieces(attempt.bytes(), pieces.max(attempt.bytes().len() / 200));
                let answers = acme.until_ready();
                assert_eq!(error_code(&answers), "42501", "{answers:?}");
                assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
            }
        }
        acme.send(&bound("SELECT run_sql($1, $2)", &["SELECT 1", &filler]));
        assert_eq!(value(&acme.until_ready()).as_deref(), Some("100000"));
        // A table keeps whatever text it is given.
        acme.send(&bound("INSERT INTO notes (name) VALUES ($1)", &[&setting]));
        assert_eq!(error_code(&acme.until_ready()), "");
    });
}

#[test]
fn a_function_that_the_configuration_names_is_refused_by_name() {
    for_each_version(async |server: &Server| {
        let stage =
            Tenants::start_with(server, |builder| builder.env("PGWARDEN_GUARD_FUNCTIONS", "public.poison"));
        let attempt = format!("SELECT poison('{GLOBEX}')");
        let answers = stage.client("acme").query(&attempt);
        assert_eq!(error_code(&answers), "42501", "{answers:?}");
        let named = answers.iter().find(|message| message.tag == b'E').expect("an error").fields();
        assert_eq!(named.message(), "permission denied to call a function that changes the tenant context");
        assert!(named.detail().contains("guard.functions"), "{named}");
    });
}
