//! Sealed contexts: in every way in which a context travels, the readers in the database believe it.

use pgwarden_tests::seal::{self, KEY, NEXT_KEY, Seen, TENANTS};
use pgwarden_tests::tenants::{ACME, ANN, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::{Frontend, Message, Server, Wire, for_each_version, psql, until};

const OWN: &str = "SELECT name FROM sealed";

/// What the readers say about every seal.
#[track_caller]
fn refusal(messages: &[Message]) -> (String, String, String) {
    let error = messages.iter().find(|message| message.tag == b'E');
    let fields = error.unwrap_or_else(|| panic!("no error: {messages:?}")).fields();
    (fields.code().to_owned(), fields.message().to_owned(), fields.hint().to_owned())
}

/// The rows of a query that both tenants run in every way.
#[track_caller]
fn assert_each_reads_its_own(stage: &Tenants<'_>) {
    for (name, org, user) in TENANTS {
        let mut client = stage.client(name);
        let own = format!("of {name}");
        for messages in [
            Frontend::new().query(OWN),
            run(OWN).sync(),
            Frontend::new().query("BEGIN; SELECT name FROM sealed; COMMIT"),
            Frontend::new().query("SELECT name FROM sealed; COMMIT; BEGIN; SELECT 1 WHERE false; COMMIT"),
            Frontend::new().query("COMMIT; SELECT name FROM sealed"),
        ] {
            client.send(&messages);
            let replies = client.until_ready();
            assert_eq!(error_code(&replies), "", "{replies:?}");
            assert_eq!(values(&replies), [own.as_str()], "{replies:?}");
        }
        for sql in ["BEGIN", "SAVEPOINT s", OWN, "ROLLBACK TO s", OWN, "COMMIT AND CHAIN", OWN, "COMMIT"] {
            let replies = client.query(sql);
            assert_eq!(error_code(&replies), "", "{sql}");
            if sql == OWN {
                assert_eq!(values(&replies), [own.as_str()]);
            }
        }
        let sql = "SELECT pgwarden.current_org_id() || ' ' || pgwarden.current_user_id()";
        assert_eq!(values(&client.query(sql)), [format!("{org} {user}")]);
    }
}

#[test]
fn each_tenant_reads_its_own_however_its_context_travels() {
    for_each_version(async |server| {
        let stage = seal::start(server);
        assert_each_reads_its_own(&stage);
        let reasserting = seal::start_before(server, |builder| builder.config("pool.reassert = 'statement'"));
        assert_each_reads_its_own(&reasserting);
        let sessions = seal::start_before(server, |builder| builder.env("PGWARDEN_POOL_MODE", "session"));
        assert_each_reads_its_own(&sessions);
        let as_role = seal::start_before(server, |builder| builder.config("context.role = 'tenants'"));
        assert_each_reads_its_own(&as_role);
    });
}

#[test]
fn each_tenant_reads_its_own_where_set_config_is_revoked() {
    for_each_version(async |server| {
        seal::load(server);
        server.psql("REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC");
        assert_each_reads_its_own(&seal::start_before(server, |builder| builder));
    });
}

#[test]
fn each_tenant_reads_its_own_behind_a_unix_socket() {
    for_each_version(async |server| {
        seal::load(server);
        let (directory, port) = (server.directory().display(), server.port());
        let upstream = format!("postgres://app@/postgres?host={directory}&port={port}");
        assert_each_reads_its_own(&seal::start_before(server, |builder| builder.upstream(&upstream)));
    });
}

#[test]
fn a_client_without_a_tenant_reads_nothing_and_gets_no_error() {
    for_each_version(async |server| {
        let stage = seal::start(server);
        let mut nobody = stage.client("nobody");
        assert_eq!(nobody.rows(OWN), Vec::<Vec<Option<String>>>::new());
        assert_eq!(nobody.rows("SELECT pgwarden.current_org_id()"), [[None]]);
        assert_eq!(
            nobody.rows("SELECT pgwarden.verified_setting('app.current_org_id')"),
            [[Some("".into())]]
        );
    });
}

#[test]
fn claims_and_other_variables_are_sealed_too() {
    for_each_version(async |server| {
        seal::load(server);
        let claims = r#"{"sub": "é", "app_metadata": {"org_id": "x, y = z"}}"#;
        let context = format!("request.jwt.claims=literal:'{claims}', app.Region=literal:eu");
        let tell = |builder: pgwarden_tests::PgwardenBuilder| builder.env("PGWARDEN_CONTEXT", &context);
        let told = seal::with_key(tell(Tenants::builder("postgres://h")), NEXT_KEY);
        seal::add_key_of(server, told);
        let stage = seal::start_before(server, |builder| seal::with_key(tell(builder), NEXT_KEY));
        let mut client = stage.client("acme");
        let one = |client: &mut Wire, sql: &str| client.rows(sql).swap_remove(0).swap_remove(0);
        let sub = "SELECT pgwarden.jwt_claims() #>> '{app_metadata,org_id}'";
        assert_eq!(one(&mut client, sub), Some("x, y = z".into()));
        let region = "SELECT pgwarden.verified_setting('app.Region')";
        assert_eq!(one(&mut client, region), Some("eu".into()));
        let (code, message, _) = refusal(&client.query("SELECT pgwarden.current_org_id()"));
        assert_eq!(
            (code.as_str(), message.as_str()),
            ("42501", "\"app.current_org_id\" is not among the sealed variables")
        );
    });
}

#[test]
fn a_statement_outside_of_a_block_has_its_seal_to_its_end() {
    for_each_version(async |server| {
        let stage = seal::start_with(server, |builder| builder.config("context.seal.lifetime = '1s'"));
        server.psql(
            "CREATE PROCEDURE commits(INOUT seen text) LANGUAGE plpgsql AS $$
             DECLARE began timestamptz := clock_timestamp(); BEGIN
                 COMMIT;
                 WHILE clock_timestamp() < began + interval '1100 milliseconds' LOOP
                     PERFORM pg_sleep(0.05);
                 END LOOP;
                 COMMIT;
                 SELECT name INTO seen FROM sealed;
             END $$;",
        );
        let mut acme = stage.client("acme");
        for messages in [Frontend::new().query("CALL commits(NULL)"), run("CALL commits(NULL)").sync()] {
            // A machine that stands still for a second makes the seal too old; it does not do so every time.
            until("a call outlives its seal", || {
                acme.send(&messages);
                (values(&acme.until_ready()) == ["of acme"]).then_some(())
            });
        }
        assert_eq!(
            stage.client("nobody").rows("SELECT current_setting('app.context_seal') <> ''"),
            [[Some("t".into())]]
        );
        let mut leftovers = stage.client("globex");
        assert_eq!(values(&leftovers.query(OWN)), ["of globex"]);
    });
}

/// Waits until seals that were made before have expired on the server, where they live for a second.
fn let_a_second_pass(server: &Server) {
    let then = server.psql("SELECT clock_timestamp() + interval '1100 milliseconds'");
    until("a second has passed", || {
        (server.psql(&format!("SELECT clock_timestamp() > '{then}'")) == "t").then_some(())
    });
}

#[test]
fn a_long_transaction_reads_to_its_end_and_may_begin_to_read_late() {
    for_each_version(async |server| {
        let stage = seal::start_with(server, |builder| {
            builder.config("context.seal.lifetime = '1s'").env("PGWARDEN_POOL_SIZE", "2")
        });
        let (mut early, mut late) = (stage.client("acme"), stage.client("globex"));
        assert_eq!(error_code(&late.query("BEGIN")), "");
        assert_eq!(error_code(&early.query("BEGIN")), "");
        assert_eq!(values(&early.query(OWN)), ["of acme"]);
        let_a_second_pass(server);
        assert_eq!(values(&early.query(OWN)), ["of acme"]);
        assert_eq!(values(&late.query(OWN)), ["of globex"]);
    });
}

#[test]
fn a_seal_is_made_when_its_transaction_can_begin_whatever_is_in_front_of_it() {
    for_each_version(async |server| {
        let stage = seal::start_with(server, |builder| builder.config("context.seal.lifetime = '1s'"));
        let mut holder = stage.direct("postgres");
        let mut acme = stage.client("acme");
        // A machine that stands still for a second makes the seal too old; it does not do so every time.
        until("the second statement is sealed when it is its turn", || {
            assert_eq!(error_code(&holder.query("SELECT pg_advisory_lock(1)")), "");
            // Everything at once: the second waits for the first, which waits for the lock.
            let (waiting, second) = (run("SELECT count(pg_advisory_xact_lock(1))").sync(), run(OWN).sync());
            acme.send(&waiting.raw(second.bytes()));
            let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            until("the first statement waits", || (server.psql(waits) == "1").then_some(()));
            let_a_second_pass(server);
            assert_eq!(error_code(&holder.query("SELECT pg_advisory_unlock(1)")), "");
            assert_eq!(error_code(&acme.until_ready()), "");
            (values(&acme.until_ready()) == ["of acme"]).then_some(())
        });
    });
}

#[test]
fn a_pipeline_is_answered_in_order() {
    for_each_version(async |server| {
        let stage = seal::start(server);
        let mut acme = stage.client("acme");
        let mut messages = Frontend::new();
        for _ in 0..20 {
            messages = messages.raw(run(OWN).sync().bytes()).query("SELECT org()");
        }
        acme.send(&messages);
        for _ in 0..20 {
            assert_eq!(values(&acme.until_ready()), ["of acme"]);
            assert_eq!(values(&acme.until_ready()), [ACME]);
        }
    });
}

#[test]
fn parallel_plans_read_the_same_rows() {
    for_each_version(async |server| {
        let stage = seal::start(server);
        server.psql(&format!(
            "INSERT INTO sealed SELECT 'of acme', '{ACME}' FROM generate_series(1, 20000);
             ALTER TABLE sealed SET (parallel_workers = 2); ANALYZE sealed"
        ));
        let forced = if server.version().0 >= 16 { "debug_parallel_query" } else { "force_parallel_mode" };
        let mut acme = stage.client("acme");
        for setting in [forced, "parallel_setup_cost", "parallel_tuple_cost", "min_parallel_table_scan_size"]
            .map(|name| {
                let value = if name == forced { "on" } else { "0" };
                format!("SET {name} = {value}")
            })
        {
            assert_eq!(error_code(&acme.query(&setting)), "", "{setting}");
        }
        let count = "SELECT count(*) FROM sealed";
        let plan = values(&acme.query(&format!("EXPLAIN {count}"))).join("\n");
        assert!(plan.contains("Parallel Seq Scan"), "the wrapped reader leaves the plan parallel: {plan}");
        assert_eq!(values(&acme.query(count)), ["20001"]);
        // Not wrapped, it keeps the plan out of workers, and is right.
        server.psql("ALTER POLICY own ON sealed USING (org = pgwarden.current_org_id())");
        let plan = values(&acme.query(&format!("EXPLAIN {count}"))).join("\n");
        assert!(!plan.contains("Parallel Seq Scan"), "{plan}");
        assert_eq!(values(&acme.query(count)), ["20001"]);
        assert_eq!(values(&stage.client("globex").query(count)), ["1"]);
    });
}

#[test]
fn without_a_seal_the_readers_refuse() {
    for_each_version(async |server| {
        seal::load(server);
        let plain = Tenants { server, pgwarden: Tenants::builder(&upstream(server)).start() };
        for mut client in [plain.client("acme"), plain.direct("acme")] {
            let (code, message, hint) = refusal(&client.query(OWN));
            assert_eq!((code.as_str(), message.as_str()), ("42501", "the tenant context is not sealed"));
            assert!(hint.contains("context.seal"), "{hint}");
        }
    });
}

fn upstream(server: &Server) -> String {
    format!("{}?sslmode=disable", server.url_for("app", "", "postgres"))
}

#[test]
fn with_a_wrong_key_every_read_is_refused_and_says_what_to_do() {
    for_each_version(async |server| {
        seal::load(server);
        let stage = seal::start_before(server, |builder| seal::with_key(builder, NEXT_KEY));
        for name in ["acme", "nobody"] {
            let (code, message, hint) = refusal(&stage.client(name).query(OWN));
            assert_eq!(code, "42501");
            assert_eq!(message, "the tenant context is sealed with a key that is not known here");
            assert!(hint.contains("pgwarden seal key"), "{hint}");
        }
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME], "other policies go on");
    });
}

#[test]
fn with_other_variables_than_the_keys_every_read_is_refused() {
    for_each_version(async |server| {
        seal::load(server);
        let stage = seal::start_before(server, |builder| {
            builder.env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid")
        });
        let (code, message, hint) = refusal(&stage.client("acme").query(OWN));
        assert_eq!((code.as_str(), message.as_str()), ("42501", "the seal does not fit the tenant context"));
        assert!(hint.contains("context.variables"), "{hint}");
    });
}

#[test]
fn without_the_readers_pgwarden_says_so_and_everything_else_goes_on() {
    for_each_version(async |server| {
        Tenants::load(server);
        let stage = seal::start_before(server, |builder| builder);
        assert_eq!(values(&stage.client("acme").query("SELECT name FROM items")), ["of acme"]);
        let log = stage.pgwarden.until_logged("nothing verifies them in this database", 0);
        assert!(log.contains("pgwarden seal install"), "{log}");
        // They may come at any time.
        seal::install(server);
        seal::add_key(server, KEY);
        assert_eq!(values(&stage.client("acme").query("SELECT pgwarden.current_user_id()")), [ANN]);
    });
}

#[test]
fn the_script_can_be_run_again_and_keeps_keys_and_policies() {
    for_each_version(async |server| {
        let stage = seal::start(server);
        seal::install(server);
        assert_eq!(values(&stage.client("acme").query(OWN)), ["of acme"]);
        let path = server.directory().join("script.sql");
        let key = seal::printed(seal::with_key(Tenants::builder("postgres://h"), KEY), &["key"]);
        std::fs::write(&path, &key).expect("a file can be written");
        let output = psql(&server.url(), &["-f", &path.to_string_lossy()]);
        assert!(!output.status.success(), "a key is known once");
        let digits: String = key.chars().skip_while(|c| *c != 'x').skip(1).take(128).collect();
        assert!(digits.len() == 128 && !server.log().contains(&digits), "the key is in no log");
    });
}

#[test]
fn the_readers_can_have_another_owner_and_another_variable() {
    for_each_version(async |server| {
        Tenants::load(server);
        let flags = ["install", "--owner=seal_owner", "--variable=my.seal"];
        seal::run(server, &server.url(), &seal::printed(pgwarden_tests::Pgwarden::builder(), &flags));
        seal::add_key(server, KEY);
        let stage = seal::start_before(server, |builder| builder.config("context.seal.variable = 'my.seal'"));
        assert_eq!(values(&stage.client("acme").query("SELECT pgwarden.current_org_id()")), [ACME]);
        assert_eq!(server.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'pgwarden_kit'"), "0");
        // The guard protects it under its name.
        let guarded = seal::start_before(server, |builder| {
            builder.config("context.seal.variable = 'my.seal'").env("PGWARDEN_MODE", "enforce")
        });
        assert_eq!(error_code(&guarded.client("acme").query("SET my.seal = 'x'")), "42501");
    });
}

#[test]
fn no_superuser_is_needed_to_install_the_readers() {
    for_each_version(async |server| {
        Tenants::load(server);
        server.psql("CREATE ROLE installer LOGIN CREATEROLE");
        server.psql("GRANT CREATE ON DATABASE postgres TO installer");
        server.psql("GRANT pg_read_all_stats TO installer WITH ADMIN OPTION");
        let installer = server.url_for("installer", "", "postgres");
        let script = seal::printed(pgwarden_tests::Pgwarden::builder(), &["install"]);
        seal::run(server, &installer, &script);
        seal::run(server, &installer, &script);
        seal::add_key(server, KEY);
        let stage = seal::start_before(server, |builder| builder);
        assert_eq!(values(&stage.client("globex").query("SELECT pgwarden.current_org_id()")), [GLOBEX]);
        let member = "SELECT pg_has_role('installer', 'pgwarden_kit', 'USAGE')";
        assert_eq!(server.psql(member), "f", "the installer keeps no right to read keys");
    });
}

#[test]
fn a_key_is_written_for_its_owner_alone_and_a_wrong_one_is_a_mistake() {
    let printed = seal::printed(pgwarden_tests::Pgwarden::builder(), &["keygen"]);
    assert_eq!(printed.trim_end().len(), 64);
    let again = seal::printed(pgwarden_tests::Pgwarden::builder(), &["keygen"]);
    assert_ne!(printed, again);
    let builder = seal::with_key(Tenants::builder("postgres://h"), "too short");
    let exit = builder.run(&["config", "check"]);
    assert_eq!(exit.status.code(), Some(64));
    assert!(
        exit.stderr.contains("context.seal.key: a key of contexts has 64 hexadecimal digits"),
        "{}",
        exit.stderr
    );
    assert!(!exit.stderr.contains("too short"));
}

#[test]
fn what_a_client_sees_of_a_seal_says_nothing_about_the_key() {
    for_each_version(async |server| {
        let stage = seal::start(server);
        let mut acme = stage.client("acme");
        let (one, other) = (Seen::by(&mut acme), Seen::by(&mut acme));
        assert_ne!(one.seal, other.seal, "each is used once");
        assert_eq!(one.seal.len(), 105);
    });
}
