//! What is refused where a transaction pooler stands behind pgwarden, and that nothing of it, or of anything else that a
//! client starts with, is left on the pooler's connections.

#[path = "pooler/stage.rs"]
mod stage;

use pgwarden_tests::tenants::{ACME, GLOBEX, error_code, run, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Message, Server, Wire, for_each_version};
use stage::Behind;

const SET_UP: &str = "
ALTER SCHEMA public OWNER TO tenants;
CREATE TABLE small (id int); ALTER TABLE small OWNER TO tenants;
CREATE INDEX one ON small (id);
CREATE TABLE parted (id int) PARTITION BY RANGE (id); ALTER TABLE parted OWNER TO tenants;
CREATE PROCEDURE asks(INOUT seen text) LANGUAGE plpgsql AS 'BEGIN seen := org(); END';
";

fn behind(server: &Server, servers: usize) -> Behind<'_> {
    let behind = Behind::start(server, servers);
    server.psql(SET_UP);
    behind
}

#[track_caller]
fn ask(wire: &mut Wire, messages: &Frontend) -> Vec<Message> {
    wire.send(messages);
    wire.until_ready()
}

/// Both tenants have their contexts, and nothing is left at session level.
#[track_caller]
fn assert_unharmed(behind: &Behind<'_>, acme: &mut Wire, after: &str) {
    assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{after}");
    assert_eq!(values(&ask(acme, &run("SELECT org()").sync())), [ACME], "{after}");
    assert_eq!(values(&behind.client("globex").query("SELECT org()")), [GLOBEX], "{after}");
    behind.assert_nothing_left(after);
}

#[test]
fn what_would_need_its_context_for_the_session_is_refused_and_never_runs() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        for user in ["acme", "nobody"] {
            let (mut wire, mut acme) = (behind.client(user), behind.client("acme"));
            for sql in [
                "CALL asks('')",
                "DO $$ BEGIN PERFORM 1; END $$",
                "VACUUM",
                "VACUUM (ANALYZE)",
                "REINDEX SCHEMA public",
                "CLUSTER",
            ] {
                assert_refused(&behind, &mut wire, sql);
            }
            assert_unharmed(&behind, &mut acme, user);
        }
        let mut acme = behind.client("acme");
        for sql in [
            "CREATE INDEX CONCURRENTLY two ON small (id)",
            "DROP INDEX CONCURRENTLY one",
            "REINDEX TABLE CONCURRENTLY small",
            "VACUUM small",
        ] {
            assert_refused(&behind, &mut acme, sql);
        }
        assert_unharmed(&behind, &mut acme, "all of them");
    });
}

/// As a simple query and as an extended batch: 0A000, and the server has run nothing.
#[track_caller]
fn assert_refused(behind: &Behind<'_>, wire: &mut Wire, sql: &str) {
    for messages in [Frontend::new().query(sql), run(sql).sync()] {
        let mark = behind.tenants.mark();
        let answers = ask(wire, &messages);
        assert_eq!(error_code(&answers), "0A000", "{sql}: {answers:?}");
        assert_eq!(answers.last().unwrap().status(), 'I', "{sql}");
        assert_eq!(behind.tenants.ran(mark), [""; 0], "{sql}");
    }
}

#[test]
fn the_refusal_says_why_and_what_to_do() {
    for_each_version(async |server| {
        let behind = behind(server, 1);
        let answers = behind.client("acme").query("CALL asks('')");
        let fields = answers[0].fields();
        assert_eq!((fields.severity(), fields.code()), ("ERROR", "0A000"));
        assert!(fields.message().contains("behind a pooler"), "{fields}");
        assert!(!fields.detail().is_empty() && !fields.hint().is_empty(), "{fields}");
    });
}

#[test]
fn behind_another_statement_of_a_batch_it_is_refused_too_and_takes_the_batch_with_it() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        let mut acme = behind.client("acme");
        for sql in ["CALL asks('')", "DO $$ BEGIN PERFORM 1; END $$", "VACUUM"] {
            let messages = run("INSERT INTO notes VALUES ('lost')").raw(run(sql).bytes()).sync();
            let answers = ask(&mut acme, &messages);
            assert_eq!(error_code(&answers), "0A000", "{sql}: {answers:?}");
            assert_eq!(answers.last().unwrap().status(), 'I', "{sql}");
            let messages = run(sql).raw(run("INSERT INTO notes VALUES ('lost')").bytes()).sync();
            let answers = ask(&mut acme, &messages);
            assert_eq!(error_code(&answers), "0A000", "{sql}: {answers:?}");
            // In the same write as others that are fine.
            let pipeline = run("SELECT org()").sync().raw(run(sql).sync().bytes()).query(sql);
            acme.send(&pipeline.query("SELECT org()"));
            let answers: Vec<_> = (0..4).map(|_| acme.until_ready()).collect();
            assert_eq!([values(&answers[0]), values(&answers[3])], [[ACME], [ACME]], "{sql}: {answers:?}");
            assert_eq!(
                [&answers[1], &answers[2]].map(|one| error_code(one)),
                ["0A000"; 2],
                "{sql}: {answers:?}"
            );
            assert_unharmed(&behind, &mut acme, sql);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn a_function_call_outside_of_a_block_is_refused_and_inside_of_one_has_the_context() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        let mut acme = behind.client("acme");
        let function = server.psql("SELECT 'org'::regproc::oid").parse().expect("a number");
        let call = Frontend::new().function_call(function, &[]);
        let answers = ask(&mut acme, &call);
        assert_eq!(error_code(&answers), "0A000", "{answers:?}");
        assert_unharmed(&behind, &mut acme, "FunctionCall");
        acme.query("BEGIN");
        let answers = ask(&mut acme, &call);
        assert_eq!(tags(&answers), "VZ", "{answers:?}");
        assert_eq!(&answers[0].body[4..], ACME.as_bytes());
        acme.query("COMMIT");
        assert_unharmed(&behind, &mut acme, "FunctionCall in a block");
    });
}

#[test]
fn a_procedure_inside_a_block_has_the_context_of_the_transaction() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        let mut acme = behind.client("acme");
        acme.query("BEGIN");
        assert_eq!(values(&acme.query("CALL asks('')")), [ACME]);
        assert_eq!(values(&ask(&mut acme, &run("CALL asks('')").sync())), [ACME]);
        assert_eq!(error_code(&acme.query("DO $$ BEGIN ASSERT org() <> ''; END $$")), "");
        acme.query("COMMIT");
        assert_eq!(values(&acme.query("BEGIN; CALL asks(''); COMMIT")), [ACME]);
        assert_unharmed(&behind, &mut acme, "CALL in a block");
    });
}

#[test]
fn what_cannot_run_in_a_block_and_is_not_known_for_it_fails_and_leaves_nothing() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        let mut acme = behind.client("acme");
        // Whether REINDEX of this table can run in a block depends on the catalogue.
        server.psql("CREATE TABLE part PARTITION OF parted FOR VALUES FROM (1) TO (9); ALTER TABLE part OWNER TO tenants");
        server.psql("CREATE INDEX parted_id ON parted (id)");
        let sql = "REINDEX TABLE parted";
        for messages in [Frontend::new().query(sql), run(sql).sync()] {
            let answers = ask(&mut acme, &messages);
            let code = error_code(&answers);
            assert!(matches!(code.as_str(), "25001" | "0A000"), "{answers:?}");
            assert_unharmed(&behind, &mut acme, sql);
        }
    });
}

/// A client that starts with settings; what was said instead of letting it in.
#[track_caller]
fn started(behind: &Behind<'_>, settings: &[(&str, &str)]) -> Result<Wire, String> {
    let mut wire = Wire::connect(behind.tenants.pgwarden.port());
    let parameters = [[("user", "acme"), ("database", "postgres")].as_slice(), settings].concat();
    wire.try_log_in("", &parameters).map_err(|refused| format!("{refused:?}"))?;
    Ok(wire)
}

#[test]
fn settings_that_the_pooler_keeps_apart_follow_the_client() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        let settings =
            [("TimeZone", "Europe/Rome"), ("DateStyle", "German, DMY"), ("application_name", "mine")];
        let mut mine = started(&behind, &settings).expect("PgBouncer knows these");
        // PgBouncer leaves what another client said where one says nothing (`apply_var` in varcache.c).
        let mut other = started(&behind, &[("application_name", "other")]).expect("PgBouncer knows this");
        other.query("SET TimeZone = 'Asia/Tokyo'");
        for _ in 0..4 {
            for (name, value) in settings {
                assert_eq!(values(&mine.query(&format!("SHOW {name}"))), [value]);
            }
            let others =
                [("TimeZone", "Asia/Tokyo"), ("DateStyle", "ISO, MDY"), ("application_name", "other")];
            for (name, value) in others {
                assert_eq!(values(&other.query(&format!("SHOW {name}"))), [value]);
            }
        }
        behind.assert_nothing_left("them");
    });
}

#[test]
fn a_setting_that_the_pooler_does_not_keep_apart_is_no_way_to_start() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        for setting in [
            ("statement_timeout", "12345"),
            ("search_path", "pg_catalog, public"),
            ("extra_float_digits", "0"),
            ("IntervalStyle", "iso_8601"),
            ("options", "-c work_mem=5MB"),
        ] {
            let refused = started(&behind, &[setting]).expect_err("it would stay where it was set");
            assert!(refused.starts_with("E FATAL 0A000"), "{setting:?}: {refused}");
            behind.assert_nothing_left(&format!("{setting:?}"));
        }
    });
}

#[test]
fn what_some_drivers_always_start_with_is_let_in_and_left_nowhere() {
    for_each_version(async |server| {
        let behind = behind(server, 2);
        for digits in ["1", "2", "3"] {
            // They all mean the same from PostgreSQL 12 on.
            let settings = [("extra_float_digits", digits), ("options", "-c client_encoding=UTF8")];
            let mut mine = started(&behind, &settings).expect("JDBC starts with it");
            assert_eq!(values(&mine.query("SELECT 0.1::float8 + 0.2")), ["0.30000000000000004"]);
            assert_eq!(values(&mine.query("SELECT org()")), [ACME]);
            behind.assert_nothing_left(digits);
        }
    });
}

#[test]
fn state_that_a_connection_cannot_carry_is_refused_where_pins_are() {
    for_each_version(async |server| {
        let behind = Behind::start_with(server, 2, |builder| builder.env("PGWARDEN_PINS", "refuse"));
        let mut acme = behind.client("acme");
        for sql in [
            "LISTEN news",
            "CREATE TEMPORARY TABLE t (id int)",
            "SELECT pg_advisory_lock(1)",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "PREPARE p AS SELECT 1",
            "SET work_mem = '5MB'",
            "SELECT set_config('work_mem', '5MB', false)",
        ] {
            for messages in [Frontend::new().query(sql), run(sql).sync()] {
                assert_eq!(error_code(&ask(&mut acme, &messages)), "0A000", "{sql}");
            }
        }
        assert_unharmed(&behind, &mut acme, "all of them");
    });
}

#[test]
fn where_set_config_may_not_be_executed_it_is_the_same() {
    for_each_version(async |server| {
        let revoke = "REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC";
        let behind = Behind::start_with(server, 2, |builder| {
            server.psql(revoke);
            builder
        });
        server.psql(SET_UP);
        let mut acme = behind.client("acme");
        for sql in ["CALL asks('')", "DO $$ BEGIN PERFORM 1; END $$", "VACUUM small"] {
            assert_refused(&behind, &mut acme, sql);
        }
        acme.send(&Frontend::new().parse("s", "SELECT org()", &[]).sync());
        assert_eq!(tags(&acme.until_ready()), "1Z");
        for _ in 0..4 {
            let named = Frontend::new().bind("", "s", &[]).execute("", 0).sync();
            assert_eq!(values(&ask(&mut acme, &named)), [ACME]);
            assert_eq!(values(&acme.query("BEGIN; SELECT org(); COMMIT; SELECT org()")), [ACME; 2]);
            assert_unharmed(&behind, &mut acme, "statements of all kinds");
        }
    });
}
