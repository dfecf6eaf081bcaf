//! Prepared statements that clients share, and the context statement beside them.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Message, Wire, for_each_version};

fn prepare(wire: &mut Wire, name: &str, sql: &str) -> Vec<Message> {
    wire.send(&Frontend::new().parse(name, sql, &[]).sync());
    wire.until_ready()
}

fn execute(wire: &mut Wire, name: &str) -> Vec<Message> {
    wire.send(&Frontend::new().bind("", name, &[]).describe_portal("").execute("", 0).sync());
    wire.until_ready()
}

#[test]
fn clients_with_the_same_text_share_one_statement_of_the_server() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        assert_eq!(tags(&prepare(&mut acme, "mine", "SELECT name FROM items")), "1Z");
        assert_eq!(tags(&prepare(&mut globex, "yours", "SELECT name FROM items")), "1Z");
        // A generic plan from the sixth time on.
        for _ in 0..8 {
            assert_eq!(values(&execute(&mut acme, "mine")), ["of acme"]);
            assert_eq!(values(&execute(&mut globex, "yours")), ["of globex"]);
        }
        let sql = "SELECT name FROM pg_prepared_statements WHERE statement = 'SELECT name FROM items'";
        let names = values(&acme.query(sql));
        assert_eq!(names.len(), 1, "{names:?}");
        assert!(names[0].starts_with("pgwarden_"), "{names:?}");
    });
}

#[test]
fn the_same_name_is_another_statement_for_another_client() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        prepare(&mut acme, "s", "SELECT org()");
        prepare(&mut globex, "s", "SELECT 'mine ' || org()");
        for _ in 0..2 {
            assert_eq!(values(&execute(&mut acme, "s")), [ACME]);
            assert_eq!(values(&execute(&mut globex, "s")), [format!("mine {GLOBEX}")]);
        }
    });
}

#[test]
fn parameter_types_and_search_path_tell_statements_apart() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO PUBLIC; CREATE VIEW other.place AS SELECT 'other'::text; CREATE VIEW place AS SELECT 'public'::text; GRANT SELECT ON other.place, place TO PUBLIC");
        let (mut one, mut two) = (stage.client("acme"), Wire::connect(stage.pgwarden.port()));
        let parameters = [("user", "acme"), ("database", "postgres"), ("search_path", "other")];
        two.try_log_in("", &parameters).expect("a search_path is fine at start-up");
        for wire in [&mut one, &mut two] {
            prepare(wire, "p", "TABLE place");
        }
        for _ in 0..2 {
            assert_eq!(values(&execute(&mut one, "p")), ["public"]);
            assert_eq!(values(&execute(&mut two, "p")), ["other"]);
        }
        for (wire, oid, expected) in [(&mut one, 23, "integer"), (&mut two, 25, "text")] {
            wire.send(&Frontend::new().parse("t", "SELECT pg_catalog.pg_typeof($1)", &[oid]).sync());
            wire.until_ready();
            wire.send(&Frontend::new().bind("", "t", &[Some("1")]).execute("", 0).sync());
            assert_eq!(values(&wire.until_ready()), [expected]);
        }
    });
}

#[test]
fn a_statement_whose_result_type_changed_can_be_prepared_again_by_everybody() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE TABLE shape AS SELECT 1 AS a; GRANT SELECT ON shape TO PUBLIC");
        let mut clients = [stage.client("acme"), stage.client("globex")];
        for client in &mut clients {
            prepare(client, "s", "SELECT * FROM shape");
            assert_eq!(tags(&execute(client, "s")), "2TDCZ");
        }
        server.psql("ALTER TABLE shape ADD COLUMN b int");
        assert_eq!(error_code(&execute(&mut clients[0], "s")), "0A000");
        for client in &mut clients {
            client.send(&Frontend::new().close_statement("s").parse("s", "SELECT * FROM shape", &[]).sync());
            assert_eq!(tags(&client.until_ready()), "31Z");
            let answers = execute(client, "s");
            assert_eq!(tags(&answers), "2TDCZ");
            assert_eq!(answers[1].columns(), ["a", "b"]);
        }
    });
}

#[test]
fn describe_after_ddl_is_the_servers_answer() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("CREATE TABLE shape AS SELECT 1 AS a; GRANT SELECT ON shape TO PUBLIC");
        let mut acme = stage.client("acme");
        prepare(&mut acme, "s", "SELECT * FROM shape");
        server.psql("ALTER TABLE shape ADD COLUMN b int");
        acme.send(&Frontend::new().describe_statement("s").sync());
        assert_eq!(error_code(&acme.until_ready()), "0A000");
        let mut globex = stage.client("globex");
        globex.send(&Frontend::new().parse("n", "SELECT * FROM shape", &[]).describe_statement("n").sync());
        let answers = globex.until_ready();
        assert_eq!(tags(&answers), "1tTZ", "{answers:?}");
        assert_eq!(answers[2].columns(), ["a", "b"]);
    });
}

#[test]
fn every_kind_of_statement_can_be_prepared_transaction_control_too() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut messages = Frontend::new();
        let texts = ["BEGIN", "SAVEPOINT s", "SELECT org()", "ROLLBACK TO s", "COMMIT", "COMMIT AND CHAIN"];
        for sql in texts {
            messages = messages.parse(sql, sql, &[]);
        }
        messages = messages.sync();
        let order = [0, 2, 1, 2, 3, 2, 5, 2, 4, 2];
        for index in order {
            messages = messages.bind("", texts[index], &[]).execute("", 0).sync();
        }
        assert_eq!(values(&stage.like_direct(&messages, order.len() + 1)), [ACME; 5]);
    });
}

#[test]
fn prepared_statements_work_on_a_backend_that_has_never_seen_them() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "2"));
        let [mut acme, mut globex, mut holder] = ["acme", "globex", "globex"].map(|user| stage.client(user));
        acme.query("BEGIN");
        prepare(&mut acme, "s", "SELECT org()");
        prepare(&mut acme, "begin", "BEGIN");
        let first = values(&acme.query("SELECT pg_backend_pid()"));
        globex.query("BEGIN; SELECT 1");
        acme.query("COMMIT");
        holder.query("BEGIN; SELECT 1");
        assert_eq!(values(&holder.query("SELECT pg_backend_pid()")), first, "no other backend was free");
        globex.query("COMMIT");
        assert_eq!(tags(&execute(&mut acme, "begin")), "2nCZ");
        assert_ne!(values(&acme.query("SELECT pg_backend_pid()")), first);
        assert_eq!(values(&execute(&mut acme, "s")), [ACME]);
        acme.query("COMMIT");
    });
}

#[test]
fn the_reserved_prefix_is_refused_wherever_a_client_names_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let name = "pgwarden_context_0";
        for messages in [
            Frontend::new().parse(name, "SELECT 1", &[]),
            Frontend::new().parse("", "SELECT 1", &[]).bind(name, "", &[]),
            Frontend::new().bind("", name, &[]),
            Frontend::new().describe_statement(name),
            Frontend::new().describe_portal(name),
            Frontend::new().execute(name, 0),
            Frontend::new().close_statement(name),
            Frontend::new().close_portal(name),
        ] {
            let mut acme = stage.client("acme");
            acme.send(&messages.sync());
            let answers = acme.until_ready();
            assert!(!error_code(&answers).is_empty(), "{messages:?}", messages = answers);
            assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
        }
    });
}

#[test]
fn the_context_statement_cannot_be_executed_by_a_client() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        acme.query("SELECT org()");
        let sql = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'pgwarden_context%'";
        let name = values(&acme.query(sql)).pop().expect("the context statement");
        let forged = acme.query(&format!("EXECUTE {name} ('{GLOBEX}', '{GLOBEX}')"));
        let rows = values(&acme.query("SELECT name FROM items"));
        assert_ne!(rows, ["of globex"], "another tenant's rows");
        assert_eq!(error_code(&forged), "42939", "{forged:?}");
    });
}

#[test]
fn the_reserved_prefix_is_refused_in_sql() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_MODE", "session"));
        let mut acme = stage.client("acme");
        acme.send(&run("SELECT org()").sync());
        acme.until_ready();
        let sql = "SELECT name FROM pg_prepared_statements WHERE name LIKE 'pgwarden_context%'";
        let name = values(&acme.query(sql)).pop().expect("the context statement");
        for sql in [
            format!("EXECUTE {name} ('a', 'b')"),
            format!("DEALLOCATE {name}"),
            format!("DEALLOCATE PREPARE \"{name}\""),
            format!("PREPARE {name}x AS SELECT 1"),
        ] {
            let answers = acme.query(&sql);
            assert!(!error_code(&answers).is_empty(), "{sql}: {answers:?}");
        }
        acme.send(&run("SELECT org()").sync());
        assert_eq!(values(&acme.until_ready()), [ACME]);
    });
}

#[test]
fn closing_and_reusing_names_is_answered_as_by_the_server() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages = Frontend::new().parse("s", "SELECT org()", &[]).parse("s", "SELECT 2", &[]).sync();
        let messages =
            messages.bind("", "s", &[]).execute("", 0).close_statement("s").close_statement("s").sync();
        let messages = messages.bind("", "s", &[]).execute("", 0).sync().parse("s", "SELECT 3", &[]);
        let messages = messages.bind("", "s", &[]).execute("", 0).sync();
        let [found, expected] = [stage.client("acme"), stage.direct("acme")].map(|mut wire| {
            wire.send(&messages);
            let answers: Vec<_> = (0..4).flat_map(|_| wire.until_ready()).collect();
            // pgwarden's own errors name no place in PostgreSQL's source.
            let errors = answers.iter().filter(|message| message.tag == b'E');
            let errors: Vec<_> = errors.map(|error| error.fields().to_string()).collect();
            (tags(&answers), values(&answers), errors)
        });
        assert_eq!(found, expected);
    });
}

#[test]
fn a_parse_that_fails_leaves_no_name_behind() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages = Frontend::new().parse("s", "SELECT nope", &[]).sync().bind("", "s", &[]).sync();
        let messages = messages.parse("s", "SELECT org()", &[]).bind("", "s", &[]).execute("", 0).sync();
        let mut acme = stage.client("acme");
        acme.send(&messages);
        let answers: Vec<_> = (0..3).flat_map(|_| acme.until_ready()).collect();
        assert_eq!(tags(&answers), "EZEZ12DCZ", "{answers:?}");
        assert_eq!(values(&answers), [ACME]);
    });
}

#[test]
fn a_rolled_back_transaction_keeps_the_statements_that_were_prepared_in_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let messages =
            Frontend::new().query("BEGIN").parse("s", "SELECT org()", &[]).sync().query("ROLLBACK");
        let messages = messages.bind("", "s", &[]).execute("", 0).sync().query("BEGIN").query("SELECT 1/0");
        let messages = messages.bind("", "s", &[]).execute("", 0).sync().query("ROLLBACK");
        let messages = messages.bind("", "s", &[]).execute("", 0).sync();
        assert_eq!(values(&stage.like_direct(&messages, 9)), [ACME, ACME]);
    });
}

#[test]
fn stable_helpers_under_generic_plans_are_right_for_every_tenant() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("ALTER ROLE app SET plan_cache_mode = 'force_generic_plan'");
        let mut clients = [stage.client("acme"), stage.client("globex"), stage.client("acme")];
        for client in &mut clients {
            prepare(client, "s", "SELECT name FROM items WHERE org = org()");
        }
        for _ in 0..7 {
            for (client, name) in clients.iter_mut().zip(["of acme", "of globex", "of acme"]) {
                assert_eq!(values(&execute(client, "s")), [name]);
            }
        }
    });
}

#[test]
fn a_statement_that_is_new_to_its_client_knows_the_table_as_it_is() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        server.psql("GRANT CREATE ON SCHEMA public TO PUBLIC");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let describe = |wire: &mut Wire, name: &str| {
            let describe = Frontend::new().parse(name, "SELECT * FROM shapes", &[]).describe_statement(name);
            wire.send(&describe.bind("", name, &[]).execute("", 0).close_statement(name).sync());
            let replies = wire.until_ready();
            assert_eq!(error_code(&replies), "", "{replies:?}");
            replies.iter().find(|message| message.tag == b'T').expect("a description").columns()
        };
        assert_eq!(error_code(&acme.query("CREATE TABLE shapes (a date)")), "");
        assert_eq!(describe(&mut globex, "s1"), ["a"]);
        assert_eq!(error_code(&acme.query("DROP TABLE shapes; CREATE TABLE shapes (b time)")), "");
        assert_eq!(describe(&mut globex, "s2"), ["b"]);
        assert_eq!(describe(&mut stage.client("acme"), "s3"), ["b"]);
        acme.query("BEGIN");
        assert_eq!(describe(&mut acme, "s4"), ["b"]);
        assert_eq!(error_code(&acme.query("ALTER TABLE shapes ADD COLUMN c int")), "");
        assert_eq!(describe(&mut acme, "s5"), ["b", "c"], "in the same transaction");
        acme.query("COMMIT");
        assert_eq!(describe(&mut globex, "s6"), ["b", "c"]);
    });
}

#[test]
fn a_statement_whose_table_was_altered_fails_once_and_is_right_when_prepared_again() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        server.psql(
            "CREATE TABLE shapes (a int); GRANT ALL ON shapes TO PUBLIC; ALTER TABLE shapes OWNER TO tenants",
        );
        let sql = "SELECT * FROM shapes WHERE a = $1";
        let prepare = |wire: &mut Wire, name: &str| {
            wire.send(&Frontend::new().parse(name, sql, &[]).describe_statement(name).flush());
            wire.expect("1tT");
            wire.send(&Frontend::new().bind("", name, &[Some("1")]).execute("", 0).sync());
            assert_eq!(error_code(&wire.until_ready()), "");
        };
        for (round, column) in ["b", "c", "d"].into_iter().enumerate() {
            let name = format!("s{round}");
            prepare(&mut acme, &name);
            prepare(&mut globex, &name);
            assert_eq!(error_code(&acme.query(&format!("ALTER TABLE shapes ADD COLUMN {column} int"))), "");
            for wire in [&mut globex, &mut acme] {
                wire.send(&Frontend::new().bind("", &name, &[Some("1")]).execute("", 0).sync());
                assert_eq!(error_code(&wire.until_ready()), "0A000");
            }
        }
    });
}
