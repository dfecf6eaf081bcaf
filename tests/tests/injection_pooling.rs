//! Many clients, few backends: what one leaves behind, the next one never sees.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, PgBouncer, Pgwarden, Server, Wire, for_each_version, until};

const PID: &str = "SELECT pg_backend_pid()";

#[test]
fn tenants_that_take_turns_on_one_backend_see_their_own_rows() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let first = values(&acme.query(PID));
        for _ in 0..5 {
            for (wire, name) in [(&mut acme, "of acme"), (&mut globex, "of globex")] {
                assert_eq!(values(&wire.query("SELECT name FROM items")), [name]);
                wire.send(&run("SELECT name FROM items").sync());
                assert_eq!(values(&wire.until_ready()), [name]);
                assert_eq!(values(&wire.query(PID)), first);
            }
        }
    });
}

/// A PgBouncer with one server connection, through which a test sees what pgwarden left there.
fn peephole(server: &Server) -> (PgBouncer, Pgwarden) {
    Tenants::load(server);
    let settings = [("pool_mode", "transaction"), ("default_pool_size", "1")];
    let pgbouncer = PgBouncer::start_with(server, &["app"], &settings);
    let upstream = format!("{}?sslmode=disable", pgbouncer.url("app", "postgres"));
    let config = "[upstream]\ndownstream_pooler = \"transaction\"\n";
    let pgwarden = Tenants::builder(&upstream).config(config).start();
    (pgbouncer, pgwarden)
}

#[test]
fn the_value_is_gone_at_the_end_of_the_transaction() {
    for_each_version(async |server| {
        let (pgbouncer, pgwarden) = peephole(server);
        let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
        for messages in [
            Frontend::new().query("SELECT org()"),
            run("SELECT org()").sync(),
            Frontend::new().query("BEGIN; SELECT org(); COMMIT"),
            Frontend::new().query("SELECT 1/0"),
        ] {
            acme.send(&messages);
            acme.until_ready();
            let mut peep = Wire::open(pgbouncer.port(), "app", "", "postgres");
            let seen = peep.rows("SELECT coalesce(org(), '') || coalesce(who(), '')");
            assert_eq!(seen, [[Some(String::new())]], "{}", pgbouncer.log());
        }
    });
}

#[test]
fn the_context_is_right_through_a_transaction_pooler() {
    for_each_version(async |server| {
        let (_pgbouncer, pgwarden) = peephole(server);
        let mut clients = ["acme", "globex"].map(|user| Wire::open(pgwarden.port(), user, "", "postgres"));
        for _ in 0..3 {
            for (client, org) in clients.iter_mut().zip([ACME, GLOBEX]) {
                assert_eq!(values(&client.query("SELECT org()")), [org]);
                client.send(&run("SELECT org()").sync());
                let answers = client.until_ready();
                assert_eq!((tags(&answers).as_str(), values(&answers)), ("12DCZ", vec![org.to_owned()]));
                client.send(
                    &Frontend::new().query("BEGIN").query("SELECT org()").query("COMMIT; SELECT org()"),
                );
                let answers: Vec<_> = (0..3).flat_map(|_| client.until_ready()).collect();
                assert_eq!(values(&answers), [org, org]);
            }
        }
    });
}

#[test]
fn session_scope_is_refused_behind_a_transaction_pooler() {
    for_each_version(async |server| {
        let (_pgbouncer, pgwarden) = peephole(server);
        for messages in [Frontend::new().query("VACUUM"), run("CALL nothing()").sync()] {
            let mut acme = Wire::open(pgwarden.port(), "acme", "", "postgres");
            acme.send(&messages);
            assert_eq!(error_code(&acme.until_ready()), "0A000");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
    });
}

#[test]
fn what_a_client_set_comes_along_to_every_backend() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.query("SET TimeZone = 'Europe/Rome'");
        acme.query("SET application_name = 'mine'");
        for _ in 0..2 {
            assert_eq!(values(&globex.query("SHOW TimeZone")), ["UTC"]);
            assert_eq!(values(&acme.query("SHOW TimeZone")), ["Europe/Rome"]);
            assert_eq!(values(&acme.query("SHOW application_name")), ["mine"]);
            assert_ne!(values(&globex.query("SHOW application_name")), ["mine"]);
        }
    });
}

#[test]
fn settings_of_the_startup_packet_come_along_although_postgresql_does_not_report_them() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let settings = [
            ("extra_float_digits", "3"),
            ("statement_timeout", "12345"),
            ("lock_timeout", "2345"),
            ("idle_in_transaction_session_timeout", "34567"),
            ("search_path", "pg_catalog, public"),
        ];
        let mut mine = Wire::connect(stage.pgwarden.port());
        let parameters = [[("user", "acme"), ("database", "postgres")].as_slice(), &settings].concat();
        mine.try_log_in("", &parameters).expect("these are fine at start-up");
        let mut other = stage.client("globex");
        let sql = |name: &str| format!("SELECT setting FROM pg_settings WHERE name = '{name}'");
        for (name, value) in settings {
            assert_ne!(values(&other.query(&sql(name))), [value], "{name}");
            assert_eq!(values(&mine.query(&sql(name))), [value], "{name}");
        }
    });
}

#[test]
fn what_cannot_be_carried_pins_the_client_to_its_backend() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        for sql in [
            "LISTEN news",
            "CREATE TEMPORARY TABLE t (id int)",
            "SELECT 1 AS a INTO TEMP t",
            "CREATE TEMP TABLE t AS SELECT 1",
            "SELECT pg_advisory_lock(1)",
            "SELECT pg_try_advisory_lock_shared(1)",
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
            "PREPARE p AS SELECT 1",
            "SELECT setseed(0.5)",
        ] {
            let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
            assert_eq!(error_code(&acme.query(sql)), "", "{sql}");
            let mine = values(&acme.query(PID));
            assert_ne!(values(&globex.query(PID)), mine, "{sql}: the backend is acme's alone");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{sql}");
            assert_eq!(error_code(&acme.query("DISCARD ALL")), "", "{sql}");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{sql}");
        }
    });
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_transaction_leaves_nothing_behind() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for _ in 0..3 {
            let mut acme = stage.client("acme");
            acme.query("BEGIN");
            acme.query("INSERT INTO notes VALUES ('never')");
            drop(acme);
            let mut nobody = stage.client("nobody");
            assert_eq!(value(&nobody.query("SELECT org()")).as_deref(), Some(""));
            let mut acme = stage.client("acme");
            acme.send(&run("SELECT org()"));
            drop(acme);
            assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn a_late_cancel_never_hits_another_client() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("SELECT 1");
        let mut globex = stage.client("globex");
        globex.send(&Frontend::new().query("SELECT pg_sleep(0.2), org()"));
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        until("the other's statement runs", || (server.psql(asleep) == "1").then_some(()));
        for _ in 0..5 {
            acme.cancel();
        }
        assert_eq!(error_code(&globex.until_ready()), "");
    });
}

#[test]
fn replication_connections_are_refused() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for value in ["true", "database"] {
            let mut wire = Wire::connect(stage.pgwarden.port());
            let parameters = [("user", "acme"), ("database", "postgres"), ("replication", value)];
            let refused = wire.try_log_in("", &parameters).expect_err("no replication");
            assert_eq!((refused.fields().severity(), refused.fields().code()), ("FATAL", "0A000"));
        }
    });
}

#[test]
fn session_pooling_keeps_the_context_too() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_MODE", "session"));
        for _ in 0..2 {
            let mut acme = stage.client("acme");
            acme.query("CREATE TEMP TABLE mine AS SELECT org()");
            assert_eq!(values(&acme.query("TABLE mine")), [ACME]);
            assert_eq!(values(&acme.query("SELECT name FROM items")), ["of acme"]);
            drop(acme);
            let mut globex = stage.client("globex");
            assert_eq!(values(&globex.query("SELECT name FROM items")), ["of globex"]);
            assert_eq!(error_code(&globex.query("TABLE mine")), "42P01");
        }
    });
}
