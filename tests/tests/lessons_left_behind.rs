//! What one client leaves on a backend, the next one never meets: clients take turns on a pool of one backend.

use pgwarden_tests::tenants::{ACME, Tenants, error_code, run, value, values};
use pgwarden_tests::{Frontend, PgwardenBuilder, Server, Wire, for_each_version};

/// What leaves something on a backend; what shows it; what it shows when nothing is there.
const LEFT: &[(&str, &str, &str)] = &[
    ("SET work_mem = '5MB'", "SHOW work_mem", "4MB"),
    ("set session WORK_MEM to '5MB'", "SHOW work_mem", "4MB"),
    ("/* quietly */ SET\nwork_mem = '5MB'", "SHOW work_mem", "4MB"),
    ("SELECT 1; SET work_mem = '5MB'; SELECT 2", "SHOW work_mem", "4MB"),
    ("BEGIN; SET work_mem = '5MB'; COMMIT", "SHOW work_mem", "4MB"),
    ("SELECT set_config('work_mem', '5MB', false)", "SHOW work_mem", "4MB"),
    ("SET statement_timeout = 54321", "SHOW statement_timeout", "0"),
    ("SET TimeZone = 'Europe/Rome'", "SHOW TimeZone", "UTC"),
    ("SET search_path = pg_catalog", "SHOW search_path", "\"$user\", public"),
    ("SET SCHEMA 'pg_catalog'", "SHOW search_path", "\"$user\", public"),
    ("SELECT pg_catalog.set_config('search_path', '', false)", "SHOW search_path", "\"$user\", public"),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", "SHOW transaction_read_only", "off"),
    ("SET default_transaction_isolation = 'serializable'", "SHOW transaction_isolation", "read committed"),
    ("SET custom.setting = 'mine'", "SELECT coalesce(current_setting('custom.setting', true), '')", ""),
    ("CREATE TEMP TABLE mine (id int)", "SELECT coalesce(to_regclass('pg_temp.mine')::text, '')", ""),
    ("CREATE TEMPORARY TABLE mine AS SELECT 1", "SELECT coalesce(to_regclass('pg_temp.mine')::text, '')", ""),
    ("SELECT 1 AS a INTO TEMP mine", "SELECT coalesce(to_regclass('pg_temp.mine')::text, '')", ""),
    ("CREATE TABLE pg_temp.mine (id int)", "SELECT coalesce(to_regclass('pg_temp.mine')::text, '')", ""),
    ("CREATE TEMP VIEW mine AS SELECT 1", "SELECT coalesce(to_regclass('pg_temp.mine')::text, '')", ""),
    ("CREATE TEMP SEQUENCE mine", "SELECT coalesce(to_regclass('pg_temp.mine')::text, '')", ""),
    ("LISTEN news", "SELECT count(*) FROM pg_listening_channels()", "0"),
    (
        "SELECT pg_advisory_lock(7)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "0",
    ),
    (
        "SELECT pg_try_advisory_lock(7, 8)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "0",
    ),
    ("PREPARE mine AS SELECT 1", "SELECT count(*) FROM pg_prepared_statements WHERE from_sql", "0"),
    ("DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "SELECT count(*) FROM pg_cursors WHERE is_holdable", "0"),
    ("BEGIN; SELECT pg_current_xact_id()", "SELECT pg_current_xact_id_if_assigned() IS NULL", "t"),
];

/// With a login that may do more, in a mode that lets the role be changed.
const ROLES: &[(&str, &str, &str)] = &[
    ("SET ROLE tenants", "SELECT current_user", "postgres"),
    ("SET SESSION ROLE tenants", "SELECT current_user", "postgres"),
    ("SET role = 'tenants'", "SELECT current_user", "postgres"),
    ("SELECT set_config('role', 'tenants', false)", "SELECT current_user", "postgres"),
    ("SET SESSION AUTHORIZATION tenants", "SELECT session_user", "postgres"),
    ("SET session_authorization = 'tenants'", "SELECT session_user", "postgres"),
    ("SET row_security = off", "SHOW row_security", "on"),
    ("LOAD 'auto_explain'", "SHOW application_name", ""),
];

/// How a client sends a statement.
type Way = fn(&str) -> Frontend;

const WAYS: [(&str, Way); 3] = [
    ("as a query", |sql| Frontend::new().query(sql)),
    ("as a batch", |sql| run(sql).sync()),
    ("as a named statement", |sql| {
        Frontend::new().parse("n", sql, &[]).bind("", "n", &[]).execute("", 0).sync()
    }),
];

/// How it parts with its backend.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Leaves,
    HangsUp,
    DiscardsAll,
}

/// Lets `acme` leave something behind in every way, and looks for it as `globex` and as nobody.
#[track_caller]
fn assert_nothing_is_left(stage: &Tenants<'_>, left: &[(&str, &str, &str)]) {
    let mut found = Vec::new();
    for (sql, probe, clean) in left {
        let is_script = sql.contains(';');
        for (way, messages) in WAYS.iter().filter(|(way, _)| !is_script || *way == "as a query") {
            for end in [End::Leaves, End::HangsUp, End::DiscardsAll] {
                let seen = seen_by_others(stage, (sql, &messages(sql)), end, probe);
                if seen != [*clean, *clean] {
                    found.push(format!("{sql} {way}, {end:?}: {probe} shows {seen:?}"));
                }
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// What `probe` shows `globex` and nobody after `acme` has sent something and parted with its backend.
#[track_caller]
fn seen_by_others(
    stage: &Tenants<'_>,
    (sql, messages): (&str, &Frontend),
    end: End,
    probe: &str,
) -> [String; 2] {
    let mut acme = stage.client("acme");
    acme.send(messages);
    let answers = acme.until_ready();
    assert_eq!(error_code(&answers), "", "{sql}: {answers:?}");
    let _acme = part(acme, end);
    ["globex", "nobody"].map(|other| value(&stage.client(other).query(probe)).unwrap_or_default())
}

fn part(mut wire: Wire, end: End) -> Option<Wire> {
    match end {
        End::Leaves => wire.send(&Frontend::new().terminate()),
        End::HangsUp => (),
        End::DiscardsAll => {
            wire.query("ROLLBACK");
            assert_eq!(error_code(&wire.query("DISCARD ALL")), "");
            return Some(wire);
        }
    }
    None
}

#[test]
fn session_state_is_gone_when_the_client_is_or_has_discarded_it() {
    for_each_version(async |server| {
        assert_nothing_is_left(&Tenants::start(server), LEFT);
    });
}

fn as_superuser(server: &Server, builder: PgwardenBuilder) -> PgwardenBuilder {
    builder.upstream(&format!("{}?sslmode=disable", server.url())).env("PGWARDEN_MODE", "passthrough")
}

#[test]
fn a_role_is_gone_when_the_client_is_or_has_discarded_it() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| as_superuser(server, builder));
        assert_nothing_is_left(&stage, ROLES);
    });
}

#[test]
fn a_statement_that_another_backend_knows_still_keeps_its_client_to_the_backend_it_marks() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().parse("temp", "CREATE TEMP TABLE mine (id int)", &[]).sync());
        acme.until_ready();
        // Another client takes the backend that has parsed it.
        let mut globex = stage.client("globex");
        globex.query("BEGIN");
        acme.send(&Frontend::new().bind("", "temp", &[]).execute("", 0).sync());
        assert_eq!(error_code(&acme.until_ready()), "");
        globex.query("COMMIT");
        for _ in 0..3 {
            globex.query("SELECT 1");
            assert_eq!(values(&acme.query("SELECT count(*) FROM mine")), ["0"]);
        }
        assert_eq!(error_code(&globex.query("SELECT count(*) FROM mine")), "42P01");
    });
}

#[test]
fn a_start_up_search_path_is_the_clients_alone() {
    for_each_version(async |server| {
        server.psql(
            "CREATE SCHEMA hers; \
             CREATE FUNCTION hers.now() RETURNS text LANGUAGE sql AS 'SELECT ''forged''::text'",
        );
        server.psql("GRANT USAGE ON SCHEMA hers TO PUBLIC");
        let stage = Tenants::start(server);
        let mut acme = Wire::connect(stage.pgwarden.port());
        let parameters = [("user", "acme"), ("database", "postgres"), ("search_path", "hers, pg_catalog")];
        acme.try_log_in("", &parameters).expect("a search_path is fine at start-up");
        let mut options = Wire::connect(stage.pgwarden.port());
        let parameters =
            [("user", "acme"), ("database", "postgres"), ("options", r"-c search_path=hers,\ pg_catalog")];
        options.try_log_in("", &parameters).expect("a search_path is fine in options");
        let mut globex = stage.client("globex");
        for _ in 0..3 {
            assert_eq!(values(&acme.query("SELECT now()")), ["forged"]);
            assert_eq!(values(&acme.query("SELECT public.org()")), [ACME], "the context is set all the same");
            assert_eq!(values(&options.query("SHOW search_path")), ["hers, pg_catalog"]);
            assert_ne!(values(&globex.query("SELECT now()")), ["forged"]);
            assert_eq!(values(&globex.query("SHOW search_path")), ["\"$user\", public"]);
        }
    });
}

#[test]
fn the_last_value_of_a_sequence_is_never_another_clients() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql(
            "CREATE TABLE numbered (id serial, name text); GRANT ALL ON numbered, numbered_id_seq TO PUBLIC",
        );
        for probe in ["SELECT lastval()", "SELECT currval('numbered_id_seq')"] {
            let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
            acme.query("INSERT INTO numbered (name) VALUES ('x')");
            let answers = globex.query(probe);
            let code = error_code(&answers);
            assert!(["55000", "0A000"].contains(&code.as_str()), "{probe}: {answers:?}");
            acme.query("BEGIN");
            let mine = values(&acme.query("INSERT INTO numbered (name) VALUES ('y') RETURNING id"));
            assert_eq!(values(&acme.query(probe)), mine, "{probe} in the block that made it");
            acme.query("COMMIT");
        }
    });
}

#[test]
fn a_value_that_a_function_left_on_the_session_shows_nobody_the_previous_tenants_rows() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| {
            builder
                .file("pgwarden.toml", "[context]\nmissing = \"empty\"\n")
                .argument("--config")
                .argument("{dir}/pgwarden.toml")
        });
        for (_, messages) in WAYS {
            let mut acme = stage.client("acme");
            acme.send(&messages(&format!("SELECT poison('{ACME}')")));
            assert_eq!(error_code(&acme.until_ready()), "");
            for (_, look) in WAYS {
                for sql in
                    ["SELECT name FROM items", "WITH all_rows AS (TABLE items) SELECT name FROM all_rows"]
                {
                    let mut nobody = stage.client("nobody");
                    nobody.send(&look(sql));
                    assert_eq!(values(&nobody.until_ready()), Vec::<String>::new(), "{sql}");
                    let mut globex = stage.client("globex");
                    globex.send(&look(sql));
                    assert_eq!(values(&globex.until_ready()), ["of globex"], "{sql}");
                }
            }
        }
    });
}
