//! Session state in transaction pooling: what is carried from backend to backend, what pins a client to one, and when
//! that ends.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Server, Wire, for_each_version, until};

const PID: &str = "SELECT pg_backend_pid()";

/// One backend for everybody.
fn one_backend(server: &Server) -> Tenants<'_> {
    Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "1"))
}

fn pins(stage: &Tenants<'_>, reason: &str) -> f64 {
    let series = format!("pgwarden_pinned_clients{{reason=\"{reason}\"}}");
    stage.pgwarden.metric(&series).expect("a gauge")
}

/// The only backend is free again: another client is served.
fn assert_shared(stage: &Tenants<'_>, what: &str) {
    let mut globex = stage.client("globex");
    assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX], "{what}");
}

#[test]
fn a_pin_ends_with_its_cause() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        for (make, reason, end) in [
            ("LISTEN news", "listen", "UNLISTEN news"),
            ("LISTEN news", "listen", "UNLISTEN *"),
            ("CREATE TEMP TABLE mine (id int)", "temporary_table", "DROP TABLE mine"),
            ("CREATE TEMP VIEW mine AS SELECT 1", "temporary_table", "DISCARD TEMP"),
            (
                "CREATE FUNCTION pg_temp.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                "temporary_table",
                "DISCARD TEMP",
            ),
            ("SELECT pg_advisory_lock(1)", "advisory_lock", "SELECT pg_advisory_unlock(1)"),
            ("SELECT pg_try_advisory_lock_shared(1)", "advisory_lock", "SELECT pg_advisory_unlock_all()"),
            ("DECLARE mine CURSOR WITH HOLD FOR SELECT 1", "hold_cursor", "CLOSE mine"),
            ("PREPARE mine AS SELECT 1", "prepare", "DEALLOCATE mine"),
            ("PREPARE mine AS SELECT 1", "prepare", "DEALLOCATE ALL"),
            ("LISTEN news", "listen", "DISCARD ALL"),
        ] {
            for way in [|sql: &str| Frontend::new().query(sql), |sql: &str| run(sql).sync()] {
                let mut acme = stage.client("acme");
                acme.send(&way(make));
                assert_eq!(error_code(&acme.until_ready()), "", "{make}");
                assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{make}");
                until("the pin is seen", || (pins(&stage, reason) == 1.0).then_some(()));
                acme.send(&way(end));
                assert_eq!(error_code(&acme.until_ready()), "", "{end}");
                assert_shared(&stage, &format!("{make}, {end}"));
                until("the pin is gone", || (pins(&stage, reason) == 0.0).then_some(()));
                assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{end}");
            }
        }
    });
}

#[test]
fn a_role_that_was_put_back_pins_nobody() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url());
        let pgwarden =
            Tenants::builder(&upstream).env("PGWARDEN_MODE", "shadow").env("PGWARDEN_POOL_SIZE", "1").start();
        let stage = Tenants { server, pgwarden };
        let mut acme = stage.client("acme");
        for (make, end) in [
            ("SET ROLE tenants", "RESET ROLE"),
            ("SET ROLE tenants", "SET ROLE NONE"),
            ("SET SESSION AUTHORIZATION tenants", "RESET SESSION AUTHORIZATION"),
            ("SELECT set_config('role', 'tenants', false)", "RESET ROLE"),
        ] {
            for sql in [make, "SELECT 1"] {
                assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
            }
            assert_eq!(pins(&stage, "role"), 1.0, "{make}");
            assert_eq!(error_code(&acme.query(end)), "", "{end}");
            let mut globex = stage.client("globex");
            assert_eq!(
                values(&globex.query("SELECT session_user || '/' || current_user")),
                ["postgres/postgres"],
                "{end}"
            );
        }
    });
}

#[test]
fn what_was_set_as_another_role_stays_with_the_client_that_set_it() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql("CREATE ROLE boss SUPERUSER; GRANT boss TO app");
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let pgwarden =
            Tenants::builder(&upstream).env("PGWARDEN_MODE", "shadow").env("PGWARDEN_POOL_SIZE", "2").start();
        let stage = Tenants { server, pgwarden };
        let mut acme = stage.client("acme");
        for sql in ["SET ROLE boss", "SET log_min_messages = 'error'", "RESET ROLE"] {
            assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
        }
        let pid = values(&acme.query(PID));
        assert_eq!(values(&acme.query("SHOW log_min_messages")), ["error"]);
        // Nobody else could put it back.
        assert_ne!(values(&stage.client("globex").query(PID)), pid);
        drop(acme);
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {}", pid[0]);
        until("its backend is closed", || (server.psql(&count) == "0").then_some(()));
        assert_shared(&stage, "and the others go on");
    });
}

#[test]
fn a_pin_stays_while_one_cause_is_left() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let mut acme = stage.client("acme");
        for sql in ["LISTEN a", "LISTEN b", "PREPARE p AS SELECT 7", "UNLISTEN a", "DEALLOCATE p"] {
            assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
        }
        server.psql("NOTIFY b");
        let mut replies = acme.query("SELECT 1");
        replies.extend(acme.query("SELECT 1"));
        assert!(tags(&replies).contains('A'), "the notification comes: {replies:?}");
        assert_eq!(pins(&stage, "listen"), 1.0);
        assert_eq!(error_code(&acme.query("UNLISTEN b")), "");
        assert_shared(&stage, "nothing is left");
    });
}

#[test]
fn a_pin_that_is_made_again_does_not_end_with_the_answer_about_the_one_before() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let mut acme = stage.client("acme");
        for sql in ["DECLARE c CURSOR WITH HOLD FOR SELECT 1", "SELECT 1"] {
            assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
        }
        // What pgwarden asks has to wait, so that the answer comes behind the next statement.
        let mut blocker = Wire::connect(server.port());
        blocker.try_log_in("", &[("user", "postgres"), ("database", "postgres")]).expect("a superuser");
        blocker.query("BEGIN");
        let lock = "LOCK TABLE pg_catalog.pg_cursors IN ACCESS EXCLUSIVE MODE";
        assert_eq!(error_code(&blocker.query(lock)), "");
        assert_eq!(error_code(&acme.query("CLOSE c")), "");
        let waits =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND wait_event_type = 'Lock'";
        until("it is asked", || (server.psql(waits) == "1").then_some(()));
        acme.send(&Frontend::new().query("DECLARE d CURSOR WITH HOLD FOR SELECT 7").query(PID));
        // Both have reached pgwarden when another client's statement behind them has been answered.
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
        blocker.query("COMMIT");
        assert_eq!(error_code(&acme.until_ready()), "");
        let pid = values(&acme.until_ready());
        assert_eq!(values(&acme.query("FETCH d")), ["7"]);
        for _ in 0..3 {
            assert_ne!(values(&stage.client("globex").query(PID)), pid, "the backend is acme's alone");
        }
        assert_eq!(pins(&stage, "hold_cursor"), 1.0);
        assert_eq!(error_code(&acme.query("CLOSE d")), "");
        until("the pin is gone", || (pins(&stage, "hold_cursor") == 0.0).then_some(()));
    });
}

#[test]
fn what_was_rolled_back_or_failed_pins_nobody() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let mut blocker = Wire::connect(server.port());
        blocker.try_log_in("", &[("user", "postgres"), ("database", "postgres")]).expect("a superuser");
        blocker.query("SELECT pg_advisory_lock(9)");
        let mut acme = stage.client("acme");
        for strings in [
            &["BEGIN", "CREATE TEMP TABLE mine (id int)", "ROLLBACK"][..],
            &["BEGIN", "LISTEN news", "SET work_mem = '5MB'", "ROLLBACK"],
            &["BEGIN", "CREATE TEMP TABLE mine (id int) ON COMMIT DROP", "COMMIT"],
            &["CREATE TEMP TABLE mine (id nonsense)"],
            &["PREPARE mine AS SELECT nonsense"],
            &["SELECT pg_try_advisory_lock(9)"],
            &["SET work_mem = 'nonsense'"],
        ] {
            strings.iter().for_each(|sql| drop(acme.query(sql)));
            assert_shared(&stage, strings[0]);
            assert_eq!(values(&acme.query("SHOW work_mem")), ["4MB"]);
        }
    });
}

#[test]
fn settings_that_are_not_reported_go_with_their_client() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        for (set, show, mine, others) in [
            ("SET work_mem = '5MB'", "SHOW work_mem", "5MB", "4MB"),
            ("BEGIN; SET work_mem = '6MB'; COMMIT", "SHOW work_mem", "6MB", "4MB"),
            ("SELECT set_config('lock_timeout', '7s', false)", "SHOW lock_timeout", "7s", "0"),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
                "SHOW transaction_isolation",
                "serializable",
                "read committed",
            ),
            (
                "SET default_transaction_isolation TO DEFAULT",
                "SHOW transaction_isolation",
                "read committed",
                "read committed",
            ),
            (
                "SET search_path = pg_catalog, \"odd Name\"",
                "SHOW search_path",
                "pg_catalog, \"odd Name\"",
                "\"$user\", public",
            ),
            ("SET SCHEMA 'public'", "SHOW search_path", "public", "\"$user\", public"),
            ("SET extra_float_digits = 3", "SHOW extra_float_digits", "3", "1"),
            ("SET client_min_messages TO warning", "SHOW client_min_messages", "warning", "notice"),
            (
                "SET custom.word = 'it''s mine'",
                "SELECT current_setting('custom.word', true)",
                "it's mine",
                "",
            ),
            ("RESET work_mem", "SHOW work_mem", "4MB", "4MB"),
        ] {
            for sql in [set, "SELECT 1"] {
                assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
            }
            for _ in 0..2 {
                assert_eq!(value(&globex.query(show)).unwrap_or_default(), others, "{set}: the other's");
                assert_eq!(values(&acme.query(show)), [mine], "{set}: one's own");
            }
        }
        assert_eq!(error_code(&acme.query("RESET ALL")), "");
        for (show, value) in [("SHOW lock_timeout", "0"), ("SHOW search_path", "\"$user\", public")] {
            assert_eq!(values(&globex.query(show)), [value]);
            assert_eq!(values(&acme.query(show)), [value]);
        }
        assert_eq!(stage.pgwarden.metric("pgwarden_pins_total{reason=\"setting\"}"), Some(0.0));
    });
}

#[test]
fn a_setting_that_the_client_may_not_set_is_carried_nowhere() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        assert_eq!(error_code(&acme.query("SET work_mem = '5MB'")), "");
        for (set, sqlstate) in [
            ("SET no_such_setting = 1", "42704"),
            ("RESET no_such_setting", "42704"),
            ("SELECT set_config('no_such_setting', '1', false)", "42704"),
            ("SELECT set_config('custom.\"bad-name\"', '1', false)", "42602"),
            ("SET log_statement = 'none'", "42501"),
            ("RESET log_statement", "42501"),
            ("SET session_preload_libraries = 'none'", "42501"),
            ("SELECT set_config('session_replication_role', 'replica', false)", "42501"),
            ("SET shared_buffers = '1MB'", "55P02"),
            ("SET Wal_Level = 'minimal'", "55P02"),
            ("SET server_version_num = 1", "55P02"),
            ("SET work_mem = 'much'", "22023"),
        ] {
            assert_eq!(error_code(&acme.query(set)), sqlstate, "{set}");
            // The backend goes from one to the other and back.
            for (client, tenant) in [(&mut globex, GLOBEX), (&mut acme, ACME)] {
                assert_eq!(values(&client.query("SELECT org()")), [tenant], "{set}");
            }
        }
        assert_eq!(values(&acme.query("SHOW work_mem")), ["5MB"], "what it had set is its own still");
        assert_eq!(values(&globex.query("SHOW work_mem")), ["4MB"]);
    });
}

#[test]
fn a_reset_goes_back_to_what_the_client_began_with() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let mut acme = Wire::connect(stage.pgwarden.port());
        let parameters = [("user", "acme"), ("database", "postgres"), ("work_mem", "9MB")];
        acme.try_log_in("", &parameters).expect("a client");
        for reset in ["RESET work_mem", "RESET ALL", "DISCARD ALL"] {
            assert_eq!(values(&acme.query("SHOW work_mem")), ["9MB"], "{reset}");
            acme.query("SET work_mem = '5MB'");
            assert_eq!(values(&acme.query("SHOW work_mem")), ["5MB"], "{reset}");
            assert_eq!(error_code(&acme.query(reset)), "");
            assert_eq!(values(&stage.client("globex").query("SHOW work_mem")), ["4MB"], "{reset}");
        }
        assert_eq!(values(&acme.query("SHOW work_mem")), ["9MB"]);
    });
}

#[test]
fn what_follows_a_set_in_a_pipeline_needs_no_pause() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        for round in 1..=20 {
            let set = format!("SET work_mem = '{round}MB'");
            let pipeline =
                run(&set).sync().parse("s", "SHOW work_mem", &[]).bind("", "s", &[]).execute("", 0).sync();
            acme.send(&pipeline.query("SELECT org()").close_statement("s").sync());
            globex.send(&Frontend::new().query("SELECT org()"));
            let replies =
                [acme.until_ready(), acme.until_ready(), acme.until_ready(), acme.until_ready()].concat();
            let expected = format!("{round}MB");
            assert!(values(&replies).contains(&expected), "{replies:?}");
            assert!(values(&replies).contains(&ACME.to_owned()), "{replies:?}");
            assert_eq!(values(&globex.until_ready()), [GLOBEX]);
        }
    });
}

#[test]
fn what_drivers_and_frameworks_set_up_leaves_the_pool_shared() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let set_up = [
            // pgjdbc
            "SET extra_float_digits = 3",
            "SET application_name = 'PostgreSQL JDBC Driver'",
            // Rails
            "SET client_min_messages TO 'warning'",
            "SET standard_conforming_strings = on",
            "SET SESSION timezone TO 'UTC'",
            "SET intervalstyle = iso_8601",
            "SET SESSION statement_timeout TO 15000",
            // Django
            "SELECT set_config('TimeZone', 'UTC', false)",
            "SET default_transaction_isolation = 'repeatable read'",
            // SQLAlchemy, pg_dump
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED",
            "SELECT pg_catalog.set_config('search_path', '', false)",
            "SET DATESTYLE = ISO",
            // Applications that set what their own functions read
            "SELECT set_config('request.path', '/', true)",
        ];
        let mut clients = [stage.client("acme"), stage.client("globex")];
        for sql in set_up {
            for client in &mut clients {
                assert_eq!(error_code(&client.query(sql)), "", "{sql}");
            }
        }
        for _ in 0..3 {
            let [acme, globex] = &mut clients;
            assert_eq!(values(&acme.query("SELECT public.org()")), [ACME]);
            assert_eq!(values(&globex.query("SELECT public.org()")), [GLOBEX]);
            assert_eq!(values(&acme.query("SHOW statement_timeout")), ["15s"]);
        }
        let metrics = stage.pgwarden.admin("/metrics").1;
        let counts: Vec<&str> =
            metrics.lines().filter(|line| line.starts_with("pgwarden_pins_total{")).collect();
        assert!(counts.len() > 5 && counts.iter().all(|line| line.ends_with(" 0")), "{counts:?}");
    });
}

#[test]
fn a_backend_with_what_nothing_takes_away_is_closed() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let mut acme = stage.client("acme");
        let pid = values(&acme.query(PID));
        acme.query("SELECT setseed(0.5)");
        assert_eq!(values(&acme.query(PID)), pid);
        assert_eq!(error_code(&acme.query("DISCARD ALL")), "");
        assert_ne!(values(&stage.client("globex").query(PID)), pid, "random() would not be random there");
    });
}

#[test]
fn a_setting_of_which_the_server_would_not_speak_keeps_the_client_until_it_does() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let mut acme = stage.client("acme");
        // A value in an encoding that cannot be carried as it is.
        acme.query("SET client_encoding = LATIN1");
        acme.send(&Frontend::new().message(b'Q', b"SET custom.word = '\xe9'\0"));
        assert_eq!(error_code(&acme.until_ready()), "");
        let pid = values(&acme.query(PID));
        assert_ne!(values(&stage.client("globex").query(PID)), pid);
        assert_eq!(values(&acme.query("SELECT length(current_setting('custom.word'))")), ["1"]);
        assert_eq!(values(&acme.query(PID)), pid);
    });
}

#[test]
fn a_reported_setting_that_is_reset_is_what_the_client_began_with() {
    for_each_version(async |server| {
        let stage = one_backend(server);
        let mut acme = Wire::connect(stage.pgwarden.port());
        let parameters = [("user", "acme"), ("database", "postgres"), ("DateStyle", "SQL, DMY")];
        acme.try_log_in("", &parameters).expect("a client");
        for reset in ["RESET datestyle", "SET DateStyle TO DEFAULT", "BEGIN; RESET DATESTYLE; COMMIT"] {
            acme.query("SET datestyle = ISO, YMD");
            assert_eq!(values(&acme.query("SHOW datestyle")), ["ISO, YMD"], "{reset}");
            assert_eq!(error_code(&acme.query(reset)), "");
            assert_eq!(acme.parameter("DateStyle"), Some("SQL, DMY"), "{reset}: and the client is told");
            assert_eq!(values(&stage.client("globex").query("SHOW datestyle")), ["ISO, MDY"], "{reset}");
            assert_eq!(values(&acme.query("SHOW datestyle")), ["SQL, DMY"], "{reset}");
        }
    });
}
