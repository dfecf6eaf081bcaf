//! Where names and rights are looked up: in every protocol, as the role and nobody else.

use crate::stage::{answer, become_role, client, client_as, of, start, start_configured, start_with};
use pgwarden_tests::tenants::{error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, PgBouncer, Pgwarden, Server, Wire, for_each_version};

const WHOSE: &str = "SELECT name FROM whose";

/// Asks in each way whose table a name stands for, each in a transaction of its own.
#[track_caller]
fn asked_in_each_way(wire: &mut Wire) -> Vec<String> {
    let mut found = values(&wire.query(WHOSE));
    found.extend(values(&answer(wire, run(WHOSE))));
    assert_eq!(tags(&answer(wire, Frontend::new().parse("named", WHOSE, &[]))), "1Z");
    assert_eq!(tags(&answer(wire, Frontend::new().describe_statement("named"))), "tTZ");
    found.extend(values(&answer(wire, Frontend::new().bind("", "named", &[]).execute("", 0))));
    assert_eq!(tags(&answer(wire, Frontend::new().close_statement("named"))), "3Z");
    wire.query("BEGIN");
    found.extend(values(&answer(wire, run(WHOSE))));
    wire.query("COMMIT");
    found.extend(values(&wire.query(&format!("BEGIN; {WHOSE}; COMMIT; {WHOSE}"))));
    wire.query("PREPARE inside AS SELECT name FROM whose");
    found.extend(values(&wire.query("EXECUTE inside")));
    wire.query("DEALLOCATE inside");
    found
}

#[track_caller]
fn looks_up_as_its_role(pgwarden: &Pgwarden) {
    for (role, name) in [(None, "member"), (Some("support"), "support"), (Some("member"), "member")] {
        let mut wire = client_as(pgwarden, role);
        let found = asked_in_each_way(&mut wire);
        assert_eq!(found, vec![name; 7], "as {role:?}");
    }
    assert_eq!(asked_in_each_way(&mut client(pgwarden)), ["anon"; 7]);
}

#[test]
fn names_are_looked_up_as_the_role_in_every_protocol() {
    for_each_version(async |server| looks_up_as_its_role(&start(server)));
}

#[test]
fn names_are_looked_up_as_the_role_with_session_pooling() {
    for_each_version(async |server| {
        let pgwarden = start_with(server, |builder| {
            builder.env("PGWARDEN_POOL_MODE", "session").env("PGWARDEN_POOL_SIZE", "8")
        });
        looks_up_as_its_role(&pgwarden);
    });
}

#[test]
fn names_are_looked_up_as_the_role_where_set_config_may_not_be_executed() {
    for_each_version(async |server| {
        server.psql("REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC");
        looks_up_as_its_role(&start(server));
    });
}

#[test]
fn names_are_looked_up_as_the_role_behind_a_transaction_pooler() {
    for_each_version(async |server| {
        let pooler = PgBouncer::start(server, &["authenticator"]);
        let upstream = format!("{}?sslmode=disable", pooler.url("authenticator", "postgres"));
        let pooler = "[upstream]\ndownstream_pooler = \"transaction\"";
        let more = |text: &str| format!("{text}\n{pooler}");
        let pgwarden = start_configured(server, more, |builder| builder.upstream(&upstream));
        let mut clients = [client_as(&pgwarden, None), client_as(&pgwarden, Some("support"))];
        for client in &mut clients {
            answer(client, Frontend::new().parse("s", WHOSE, &[]));
        }
        for _ in 0..3 {
            for (client, name) in clients.iter_mut().zip(["member", "support"]) {
                assert_eq!(values(&client.query(WHOSE)), [name]);
                assert_eq!(values(&answer(client, run(WHOSE))), [name]);
                assert_eq!(tags(&answer(client, Frontend::new().describe_statement("s"))), "tTZ");
                let ran = answer(client, Frontend::new().bind("", "s", &[]).execute("", 0));
                assert_eq!(values(&ran), [name]);
            }
        }
    });
}

#[test]
fn a_statement_prepared_as_one_role_is_not_run_as_another() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut clients = [client_as(&pgwarden, None), client_as(&pgwarden, Some("support"))];
        for client in &mut clients {
            answer(client, Frontend::new().parse("s", WHOSE, &[]));
        }
        // A generic plan from the sixth time on.
        for _ in 0..8 {
            for (client, name) in clients.iter_mut().zip(["member", "support"]) {
                let batch = Frontend::new().bind("", "s", &[]).describe_portal("").execute("", 0);
                assert_eq!(values(&answer(client, batch)), [name]);
            }
        }
        assert_eq!(prepared(&mut clients[1]), 2, "each role has one of its own");
    });
}

#[test]
fn a_client_that_becomes_another_role_takes_its_statements_along() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client_as(&pgwarden, None);
        answer(&mut wire, Frontend::new().parse("s", WHOSE, &[]).describe_statement("s"));
        answer(&mut wire, Frontend::new().parse("", WHOSE, &[]));
        for role in ["support", "member", "support"] {
            become_role(&mut wire, Some(role));
            assert_eq!(tags(&answer(&mut wire, Frontend::new().describe_statement("s"))), "tTZ");
            let ran = answer(&mut wire, Frontend::new().bind("", "s", &[]).execute("", 0));
            assert_eq!(values(&ran), [role]);
        }
        assert_eq!(prepared(&mut wire), 2, "one for each role");
    });
}

#[test]
fn tokens_in_comments_say_the_role_of_each_transaction_of_one_connection() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client(&pgwarden);
        let texts =
            ["member", "support"].map(|role| format!("{WHOSE} /*pgwarden_token='{}'*/", of(Some(role))));
        for (name, text) in ["m", "s"].iter().zip(&texts) {
            let prepared = answer(&mut wire, Frontend::new().parse(name, text, &[]));
            assert_eq!(tags(&prepared), "1Z");
        }
        for _ in 0..3 {
            for (name, role) in [("m", "member"), ("s", "support")] {
                assert_eq!(tags(&answer(&mut wire, Frontend::new().describe_statement(name))), "tTZ");
                let ran = answer(&mut wire, Frontend::new().bind("", name, &[]).execute("", 0));
                assert_eq!(values(&ran), [role]);
                assert_eq!(values(&wire.query(WHOSE)), ["anon"]);
            }
        }
    });
}

#[test]
fn a_pipeline_runs_as_the_role_from_its_first_parse_on() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut wire = client_as(&pgwarden, None);
        let begin = Frontend::new().parse("", "BEGIN", &[]).bind("", "", &[]).execute("", 0);
        let first =
            begin.parse("one", WHOSE, &[]).describe_statement("one").bind("", "one", &[]).execute("", 0);
        let rest = first.sync().parse("two", WHOSE, &[]).bind("", "two", &[]).execute("", 0).sync();
        let end = rest.parse("", "ROLLBACK", &[]).bind("", "", &[]).execute("", 0).sync();
        wire.send(&end.bind("", "one", &[]).execute("", 0).sync());
        let messages: Vec<_> = (0..4).flat_map(|_| wire.until_ready()).collect();
        assert_eq!(values(&messages), ["member"; 3], "{messages:?}");
    });
}

#[test]
fn rights_are_those_of_the_role_for_commands_as_well() {
    for_each_version(async |server| {
        let pgwarden = start(server);
        let mut member = client_as(&pgwarden, None);
        member.query("BEGIN");
        assert_eq!(error_code(&member.query("LOCK TABLE papers IN ACCESS SHARE MODE")), "");
        assert_eq!(error_code(&member.query("LOCK TABLE papers IN EXCLUSIVE MODE")), "42501");
        member.query("ROLLBACK");
        assert_eq!(error_code(&answer(&mut member, run("ANALYZE whose"))), "");
        assert_eq!(error_code(&member.query("VACUUM whose")), "");
        assert_eq!(analysed(server, "member.whose"), "t");
        assert_eq!(error_code(&member.query("CREATE TABLE made (name text)")), "");
        assert_eq!(server.psql("SELECT tableowner FROM pg_tables WHERE tablename = 'made'"), "member");
        assert_eq!(error_code(&member.query("CALL sign()")), "");
        assert_eq!(error_code(&answer(&mut member, run("CALL sign()"))), "");
        assert_eq!(
            error_code(&member.query("DO $$ BEGIN COMMIT; INSERT INTO whose VALUES ('done'); END $$")),
            ""
        );
        assert_eq!(values(&member.query(WHOSE)), ["member", "signed by member", "signed by member", "done"]);
        let mut anon = client(&pgwarden);
        assert_eq!(error_code(&anon.query("SELECT name FROM papers")), "42501");
        assert_eq!(
            error_code(&answer(&mut anon, Frontend::new().parse("", "TABLE member.whose", &[]))),
            "42501"
        );
    });
}

#[test]
fn what_a_role_has_prepared_to_commit_it_may_commit() {
    for_each_version(async |shared| {
        let server = Server::builder(shared.version()).set("max_prepared_transactions", "4").start();
        let pgwarden = start(&server);
        let mut wire = client_as(&pgwarden, None);
        for (name, end) in [("one", "COMMIT PREPARED 'one'"), ("two", "ROLLBACK PREPARED 'two'")] {
            wire.query("BEGIN");
            wire.query(&format!("INSERT INTO whose VALUES ('{name}')"));
            assert_eq!(error_code(&wire.query(&format!("PREPARE TRANSACTION '{name}'"))), "");
            assert_eq!(error_code(&wire.query(end)), "");
        }
        assert_eq!(values(&wire.query(WHOSE)), ["member", "one"]);
    });
}

/// How many statements of the server have the text.
#[track_caller]
fn prepared(wire: &mut Wire) -> usize {
    let sql = format!("SELECT count(*) FROM pg_prepared_statements WHERE statement = '{WHOSE}'");
    value(&wire.query(&sql)).and_then(|count| count.parse().ok()).expect("a number")
}

#[track_caller]
fn analysed(server: &Server, table: &str) -> String {
    server.psql(&format!("SELECT count(*) > 0 FROM pg_statistic WHERE starelid = '{table}'::regclass"))
}
