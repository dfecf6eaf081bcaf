//! Bugs that others had, each as a rule that holds here. This file has those about order and habits of clients; the
//! map says where the others are.
//!
//! | rule | where |
//! |---|---|
//! | nothing in clear is read as encrypted, on both sides | `tls_clients_hostile`, `lessons_hostile_server` |
//! | no client value on a connection before authentication | here, `lessons_left_behind` (start-up `search_path`) |
//! | an expired token or certificate is no login | `proxy/auth` `jwt`, `proxy/server` `tls` |
//! | lengths are checked before anything is allocated | `bad_input`, `bad_input_limits`, `proxy/wire` `startup` |
//! | the server's SCRAM nonce and iterations have limits | `lessons_hostile_server`, `proxy/auth` `scram_client` |
//! | an error needs no SQLSTATE | `lessons_hostile_server`, `proxy/wire` `backend` |
//! | an unknown user fails as a wrong password does | `proxy/auth` `scram`, `password` |
//! | a cancel hits nobody else | `cancel`, `injection_pooling` |
//! | replies out of step end the backend | `lessons_hostile_server` |
//! | errors never overtake replies in flight | here, `chunking` |
//! | session state is never left for the next client | `lessons_left_behind`, `injection_pooling`, `isolation` |
//! | a COMMIT that the backend never parsed commits | here, `injection_prepared_statements` |
//! | no password is remembered beyond its users file | here; a changed file needs a restart in this version |
//! | a closed log harms nobody | `lifecycle`, `proxy/server` `logging` |
//! | the end of a connection is an event, at every stage | `lessons_garbage`, `bad_input` |
//! | what cannot be read is refused | `bad_input_refusals`, `injection_edge_cases` |
//! | no input makes pgwarden panic | `lessons_garbage`, `proxy/*` (properties) |
//! | the admin listener shows no tenant | here, `proxy/server` `admin`, `meters` |
//! | the context travels in the client's own write | `injection_invisible` |
//! | DISCARD ALL and DEALLOCATE ALL work, the context survives | here, `injection_loss` |
//! | pg_dump's `set_config('search_path', '', false)` works | here, `drivers` |
//! | a value left on the session shows nobody another's rows | `lessons_left_behind`, `isolation` |
//! | a backend that is not what it says is never pooled | here, `injection_simple_query` |
//! | no name of a client's own stands for what pgwarden runs | here |
//! | ROLLBACK TO brings the context back | `injection_loss`, `isolation` |
//! | a stale shared statement recovers after DDL | `injection_prepared_statements`, `drivers_tokio_postgres` |
//! | session scope is refused behind a transaction pooler | `injection_pooling` |

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Pgwarden, Server, Wire, connect, for_each_version};

const TOUCHED: &str = "SET app.current_org_id = 'x'";

#[test]
fn a_refusal_keeps_its_place_in_a_pipeline() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let slow = "SELECT pg_sleep(0.2), org()";
        for (messages, expected) in [
            (Frontend::new().query(slow).query(TOUCHED).query("SELECT org()"), ["TDCZ", "EZ", "TDCZ"]),
            (Frontend::new().query(TOUCHED).query("SELECT org()").query(TOUCHED), ["EZ", "TDCZ", "EZ"]),
            (run(slow).sync().query(TOUCHED).query("SELECT 1"), ["12DCZ", "EZ", "TDCZ"]),
            (run(slow).sync().raw(run(TOUCHED).sync().bytes()).query("SELECT 1"), ["12DCZ", "EZ", "TDCZ"]),
            (
                run(TOUCHED).sync().raw(run("SELECT org()").sync().bytes()).query(TOUCHED),
                ["EZ", "12DCZ", "EZ"],
            ),
            (run(slow).raw(run(TOUCHED).bytes()).sync().query(slow).query(TOUCHED), ["12DCEZ", "TDCZ", "EZ"]),
            (Frontend::new().query("BEGIN").query(slow).query(TOUCHED), ["CZ", "TDCZ", "EZ"]),
        ] {
            let mut acme = stage.client("acme");
            acme.send(&messages);
            let found = [acme.until_ready(), acme.until_ready(), acme.until_ready()];
            assert_eq!(found.each_ref().map(|answers| tags(answers)), expected, "{found:?}");
            for answers in found.iter().filter(|answers| tags(answers).contains('E')) {
                assert_eq!(error_code(answers), "42501", "{answers:?}");
            }
        }
    });
}

#[test]
fn a_refusal_that_waits_for_an_exhausted_pool_keeps_its_place() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut globex = stage.client("globex");
        globex.query("BEGIN");
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("SELECT org()").query(TOUCHED).query("SELECT 2"));
        assert_eq!(acme.receive_at_once(), None, "nothing can be answered yet");
        globex.query("COMMIT");
        assert_eq!(values(&acme.until_ready()), [ACME]);
        assert_eq!(error_code(&acme.until_ready()), "42501");
        assert_eq!(values(&acme.until_ready()), ["2"]);
    });
}

#[test]
fn a_commit_by_name_commits_on_a_backend_that_never_parsed_it() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let mut acme = stage.client("acme");
        let names =
            Frontend::new().parse("b", "BEGIN", &[]).parse("c", "COMMIT", &[]).parse("r", "ROLLBACK", &[]);
        acme.send(&names.sync());
        acme.until_ready();
        // Whoever holds a transaction open has the backend that knows the three, or acme has.
        let mut globex = stage.client("globex");
        let named = |name: &str| Frontend::new().bind("", name, &[]).execute("", 0).sync();
        for (end, kept) in [("c", "1"), ("r", "1"), ("c", "2")] {
            globex.query("BEGIN");
            for messages in [named("b"), run("INSERT INTO notes VALUES ('written')").sync(), named(end)] {
                acme.send(&messages);
                assert_eq!(error_code(&acme.until_ready()), "");
            }
            globex.query("COMMIT");
            assert_eq!(server.psql("SELECT count(*) FROM notes"), kept);
        }
    });
}

#[test]
fn no_password_is_remembered_from_an_earlier_login() {
    for_each_version(async |server| {
        let users = |secret: &str| format!("\"acme\" \"{secret}\"\n");
        let start = |secret: &str| {
            Tenants::builder(&format!("{}?sslmode=disable", server.url_for("app", "", "postgres")))
                .env("PGWARDEN_AUTH", "scram-sha-256")
                .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
                .file("users.txt", &users(secret))
                .start()
        };
        Tenants::load(server);
        let try_with = |pgwarden: &Pgwarden, password: &str| {
            let parameters = [("user", "acme"), ("database", "postgres")];
            let outcome = Wire::connect(pgwarden.port()).try_log_in(password, &parameters);
            outcome.map_err(|error| error.fields().code().to_owned()).map(drop)
        };
        let pgwarden = start("old");
        for _ in 0..3 {
            assert_eq!(try_with(&pgwarden, "old"), Ok(()));
            assert_eq!(try_with(&pgwarden, "new"), Err("28P01".to_owned()));
            assert_eq!(try_with(&pgwarden, "old"), Ok(()), "a failed login spoils no other");
        }
        let pgwarden = start("new");
        assert_eq!(try_with(&pgwarden, "old"), Err("28P01".to_owned()));
        assert_eq!(try_with(&pgwarden, "new"), Ok(()));
    });
}

#[test]
fn a_client_that_is_not_let_in_says_nothing_to_the_server() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| {
            builder
                .env("PGWARDEN_AUTH", "scram-sha-256")
                .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
                .file("users.txt", "\"acme\" \"secret\"\n")
        });
        let mark = stage.mark();
        for (name, value) in [
            ("search_path", "forged_schema"),
            ("options", "-c search_path=forged_schema"),
            ("application_name", "forged_schema"),
            ("role", "forged_schema"),
        ] {
            for user in ["acme", "nobody"] {
                let parameters = [("user", user), ("database", "postgres"), (name, value)];
                let refused = Wire::connect(stage.pgwarden.port())
                    .try_log_in("wrong", &parameters)
                    .expect_err("the password is wrong");
                assert_eq!(refused.fields().code(), "28P01", "{name}: {refused:?}");
            }
        }
        let log = &server.log()[mark..];
        assert!(!log.contains("forged_schema"), "{log}");
    });
}

#[test]
fn a_password_of_the_server_that_was_changed_is_not_taken_from_memory() {
    for_each_version(async |server| {
        let strict = Server::builder(server.version()).access("host all app all scram-sha-256").start();
        let server = &strict;
        server.psql("CREATE ROLE app LOGIN PASSWORD 'old'");
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "old", "postgres"));
        let pgwarden = Tenants::builder(&upstream).start();
        let parameters = [("user", "acme"), ("database", "postgres")];
        Wire::connect(pgwarden.port()).try_log_in("", &parameters).expect("the password is right");
        server.psql("ALTER ROLE app PASSWORD 'new'");
        server.terminate("usename = 'app'");
        let mut acme = Wire::connect(pgwarden.port());
        let refused = match acme.try_log_in("", &parameters) {
            Err(refused) => refused,
            Ok(_) => {
                acme.send(&Frontend::new().query("SELECT 1"));
                acme.until_closed().pop().expect("a last word")
            }
        };
        assert_eq!(refused.fields().code(), "57P03", "{refused:?}");
        server.psql("ALTER ROLE app PASSWORD 'old'");
        let mut acme = Wire::connect(pgwarden.port());
        acme.try_log_in("", &parameters).expect("the password is right again");
        assert_eq!(values(&acme.query("SELECT 1")), ["1"]);
    });
}

#[test]
fn the_admin_listener_shows_no_tenant_no_user_and_no_statement() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        stage.client("acme").query("SELECT 'a statement', org()");
        stage.client("globex").query(TOUCHED);
        for path in ["/metrics", "/status", "/healthz", "/readyz", "/", "/config", "/debug"] {
            let (_, body) = stage.pgwarden.admin(path);
            for secret in [ACME, GLOBEX, "acme", "globex", "a statement", "current_org_id"] {
                assert!(!body.contains(secret), "{path} shows {secret}: {body}");
            }
        }
    });
}

#[test]
fn what_drivers_send_when_a_connection_goes_back_to_their_pool_keeps_the_context() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        for habit in [
            "DISCARD ALL",
            "DEALLOCATE ALL",
            "RESET ALL",
            "ROLLBACK; DEALLOCATE ALL; RESET ALL",
            "SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL",
            "DISCARD TEMP; DISCARD PLANS; DISCARD SEQUENCES",
            "SET SESSION AUTHORIZATION DEFAULT",
            "RESET ROLE",
            "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; CLOSE ALL; UNLISTEN *; \
             SELECT pg_advisory_unlock_all(); DISCARD SEQUENCES; DISCARD TEMP",
            "",
            ";",
            "-- ping",
        ] {
            for messages in [Frontend::new().query(habit), run(habit).sync()] {
                acme.send(&messages);
                let code = error_code(&acme.until_ready());
                // A batch takes one statement, as on a direct connection.
                assert!(["", "42601"].contains(&code.as_str()), "{habit}: {code}");
                assert_eq!(values(&acme.query("SELECT org()")), [ACME], "{habit}");
                acme.send(&run("SELECT name FROM items").sync());
                assert_eq!(values(&acme.until_ready()), ["of acme"], "{habit}");
                assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX], "{habit}");
            }
        }
    });
}

#[test]
fn a_search_path_emptied_as_pg_dump_does_it_is_kept_and_the_context_with_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut dump = stage.client("acme");
        dump.query("SELECT pg_catalog.set_config('search_path', '', false)");
        for _ in 0..3 {
            assert_eq!(values(&dump.query("SHOW search_path")), [""]);
            assert_eq!(error_code(&dump.query("SELECT name FROM items")), "42P01");
            assert_eq!(values(&dump.query("SELECT name FROM public.items")), ["of acme"]);
            dump.query("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY");
            let copied = dump.query("COPY (SELECT name FROM public.items) TO stdout");
            assert_eq!(tags(&copied), "HdcCZ");
            assert_eq!(copied[1].body, b"of acme\n");
            dump.query("COMMIT");
        }
        drop(dump);
        assert_eq!(values(&stage.client("globex").query("SELECT name FROM items")), ["of globex"]);
    });
}

#[test]
fn a_backend_that_18_leaves_in_an_open_transaction_is_never_pooled() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for _ in 0..3 {
            let mut acme = stage.client("acme");
            acme.send(&run("INSERT INTO notes VALUES ('a')").query("INSERT INTO notes VALUES ('b')").sync());
            acme.until_ready();
            acme.until_ready();
            drop(acme);
            let mut globex = stage.client("globex");
            assert_eq!(error_code(&globex.query("INSERT INTO notes VALUES ('kept')")), "");
            assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes WHERE name = 'kept'"), "3");
    });
}

#[test]
fn nothing_that_a_client_names_stands_for_what_the_context_statement_calls() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_MODE", "session"));
        let mut acme = stage.client("acme");
        acme.query("CREATE DOMAIN pg_temp.bytea AS text");
        acme.query("CREATE DOMAIN pg_temp.text AS varchar");
        let fake = "RETURNS text LANGUAGE sql AS $$ SELECT 'forged'::pg_catalog.text $$";
        acme.query(&format!("CREATE FUNCTION pg_temp.set_config(text, text, boolean) {fake}"));
        acme.query(&format!("CREATE FUNCTION pg_temp.convert_from(bytea, name) {fake}"));
        acme.query("SET search_path = pg_temp, public, pg_catalog");
        acme.query("DEALLOCATE ALL");
        for messages in [Frontend::new().query("SELECT public.org()"), run("SELECT public.org()").sync()] {
            acme.send(&messages);
            let answers = acme.until_ready();
            assert_eq!(values(&answers), [ACME], "{answers:?}");
        }
    });
}

#[test]
fn a_driver_that_prepares_its_own_transaction_control_writes_what_it_commits() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let client = connect(&stage.pgwarden.url("acme", "", "postgres")).await;
        let [begin, commit] = [client.prepare("BEGIN").await, client.prepare("COMMIT").await];
        let (begin, commit) =
            (begin.expect("BEGIN can be prepared"), commit.expect("COMMIT can be prepared"));
        for _ in 0..3 {
            client.execute(&begin, &[]).await.expect("a block begins");
            client.execute("INSERT INTO notes VALUES ('kept')", &[]).await.expect("a row is written");
            client.execute(&commit, &[]).await.expect("the block ends");
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "3");
    });
}
