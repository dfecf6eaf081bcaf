//! SET, set_config and comments, in both protocols, with the replies that PostgreSQL itself would give.

use crate::stage::{acme, globex, seen, start};
use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX, error_code, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Wire, for_each_version};

const TEXT: u32 = 25;
const BOOL: u32 = 16;

fn set_config(token: &str) -> String {
    format!("SELECT set_config('pgwarden.token', '{token}', true)")
}

#[test]
fn every_carrier_gives_a_simple_query_the_context_of_its_token() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut nobody = stage.client("nobody");
        assert_eq!(error_code(&nobody.query("SELECT org FROM items")), "42501");
        for (token, org, user) in [(acme(), ACME, ANN), (globex(), GLOBEX, BOB), (acme(), ACME, ANN)] {
            for show in [format!("SET LOCAL pgwarden.token = '{token}'"), set_config(&token)] {
                nobody.query("BEGIN");
                nobody.query(&show);
                assert_eq!(seen(&mut nobody), [org], "{show}");
                assert_eq!(value(&nobody.query("SELECT who()")).as_deref(), Some(user));
                nobody.query("COMMIT");
                assert_eq!(
                    error_code(&nobody.query("SELECT org FROM items")),
                    "42501",
                    "the transaction is over"
                );
            }
            for text in [
                format!("/*pgwarden_token='{token}'*/ SELECT DISTINCT org FROM items"),
                format!("SELECT DISTINCT org FROM items /*action='list',pgwarden_token='{token}'*/"),
                format!(
                    "BEGIN; SET LOCAL pgwarden.token = '{token}'; SELECT DISTINCT org FROM items; COMMIT"
                ),
            ] {
                assert_eq!(values(&nobody.query(&text)).last().map(String::as_str), Some(org), "{text}");
                assert_eq!(
                    error_code(&nobody.query("SELECT org FROM items")),
                    "42501",
                    "the transaction is over"
                );
            }
        }
    });
}

#[test]
fn a_token_of_the_session_counts_until_another_is_shown_or_it_is_taken_back() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut nobody = stage.client("nobody");
        for end in [
            "RESET pgwarden.token",
            "SET pgwarden.token TO DEFAULT",
            "RESET ALL",
            "DISCARD ALL",
            "SET pgwarden.token = ''",
        ] {
            nobody.query(&format!("SET pgwarden.token = '{}'", acme()));
            assert_eq!(seen(&mut nobody), [ACME]);
            nobody.query(&format!("BEGIN; SELECT 1; ROLLBACK; SET SESSION pgwarden.token TO '{}'", globex()));
            nobody.query(&format!("SET pgwarden.token = '{}'", globex()));
            assert_eq!(seen(&mut nobody), [GLOBEX]);
            nobody.query("BEGIN");
            nobody.query(&format!("SET LOCAL pgwarden.token = '{}'", acme()));
            assert_eq!(seen(&mut nobody), [ACME], "the transaction's own comes first");
            nobody.query("COMMIT");
            assert_eq!(seen(&mut nobody), [GLOBEX]);
            assert_eq!(error_code(&nobody.query(end)), "", "{end}");
            assert_eq!(error_code(&nobody.query("SELECT org FROM items")), "42501", "{end}");
        }
    });
}

#[test]
fn the_extended_protocol_takes_the_token_from_a_parameter() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut nobody = stage.client("nobody");
        let text = "SELECT set_config('pgwarden.token', $1, $2)";
        nobody.send(&Frontend::new().parse("show", text, &[TEXT, BOOL]).describe_statement("show").sync());
        assert_eq!(tags(&nobody.until_ready()), "1tTZ");
        let read = "SELECT DISTINCT org FROM items";
        for (token, org) in [(acme(), ACME), (globex(), GLOBEX)] {
            let shown = [Some(token.as_str()), Some("true")];
            let all = Frontend::new().parse("", "BEGIN", &[]).bind("", "", &[]).execute("", 0);
            let all = all.bind("", "show", &shown).describe_portal("").execute("", 0);
            let all = all.parse("", read, &[]).bind("", "", &[]).execute("", 0);
            let all = all.parse("", "COMMIT", &[]).bind("", "", &[]).execute("", 0).sync();
            nobody.send(&all);
            let replies = nobody.until_ready();
            assert_eq!(tags(&replies), "12C2TDC12DC12CZ");
            assert_eq!(values(&replies), [token.as_str(), org], "one pipeline");
            assert_eq!(error_code(&nobody.query("SELECT org FROM items")), "42501");
        }
        // What the server takes for false is for the session: NULL, and words that are cut short.
        for (local, token, org) in [(None, globex(), GLOBEX), (Some("fa"), acme(), ACME)] {
            nobody.send(&Frontend::new().bind("", "show", &[Some(&token), local]).execute("", 0).sync());
            assert_eq!(values(&nobody.until_ready()), [token]);
            assert_eq!(seen(&mut nobody), [org], "{local:?}");
        }
        nobody.query("RESET pgwarden.token");
        // The second argument in binary format, and for the session.
        let binary =
            Frontend::new().bind_formats("", "show", &[0, 1], &[Some(acme().as_bytes()), Some(&[0])], &[]);
        nobody.send(&binary.execute("", 0).sync());
        assert_eq!(values(&nobody.until_ready()), [acme()]);
        assert_eq!(seen(&mut nobody), [ACME]);
    });
}

#[test]
fn what_the_server_answers_reaches_the_client_as_it_would_without_pgwarden() {
    for_each_version(async |server| {
        let stage = start(server);
        let token = acme();
        stage.queries_like_direct(&[
            &format!("SET pgwarden.token = '{token}'"),
            &set_config(&token),
            &format!("SELECT 1; {}; SELECT 2", set_config(&token)),
            &format!("SELECT pg_catalog.set_config('pgwarden.token', '{token}', false) AS shown"),
            &format!("SET LOCAL pgwarden.token = '{token}'"),
            &format!("BEGIN; SET LOCAL pgwarden.token = '{token}'; SELECT nothing"),
            &format!("SET pgwarden.token = '{token}'"),
            "ROLLBACK",
            &format!("BEGIN; {}; SELECT org FROM items; COMMIT; SELECT nope", set_config(&token)),
            "SELECT set_config('pgwarden.token', NULL, true)",
            "RESET pgwarden.token",
        ]);
        let commented = |text: &str| format!("/*pgwarden_token='{token}'*/{text}");
        for text in
            ["SELECT 1", "SELECT nope", "SELEC", "INSERT INTO items VALUES ('é', nope)", "", "VACUUM notes"]
        {
            let (mut proxied, mut direct) = (stage.client("acme"), stage.direct("acme"));
            assert_eq!(
                without_position(proxied.query(&commented(text))),
                without_position(direct.query(&commented(text))),
                "{text}"
            );
            assert_eq!(
                position(&mut proxied, &commented(text)),
                position(&mut direct, &commented(text)),
                "{text}"
            );
        }
    });
}

fn without_position(messages: Vec<pgwarden_tests::Message>) -> String {
    tags(&messages)
}

fn position(wire: &mut Wire, text: &str) -> String {
    let parse = Frontend::new().parse("", text, &[]).bind("", "", &[]).execute("", 0).sync();
    wire.send(&parse);
    let messages = wire.until_ready();
    let extended =
        messages.iter().find(|message| message.tag == b'E').map(|error| error.fields().field('P').to_owned());
    let messages = wire.query(text);
    let simple =
        messages.iter().find(|message| message.tag == b'E').map(|error| error.fields().field('P').to_owned());
    format!("{extended:?} {simple:?}")
}

#[test]
fn extended_replies_are_the_servers_own_too() {
    for_each_version(async |server| {
        let stage = start(server);
        let token = acme();
        let literal = set_config(&token);
        let run = |messages: Frontend, text: &str, values: &[Option<&str>]| {
            messages.parse("", text, &[]).bind("", "", values).describe_portal("").execute("", 0)
        };
        let parameter = "SELECT set_config('pgwarden.token', $1::text, true)";
        for text in [literal.as_str(), &format!("SET pgwarden.token = '{token}'"), "RESET pgwarden.token"] {
            stage.like_direct(&run(Frontend::new(), text, &[]).sync(), 1);
            stage
                .like_direct(&run(run(Frontend::new(), "BEGIN", &[]), text, &[]).sync().query("ROLLBACK"), 2);
        }
        for value in [Some(token.as_str()), Some(""), None] {
            stage.like_direct(&run(Frontend::new(), parameter, &[value]).sync(), 1);
        }
        let wrong = Frontend::new().parse("", parameter, &[]).bind("", "", &[]).execute("", 0).sync();
        stage.like_direct(&wrong.query("SELECT 1"), 2);
        let failed = Frontend::new().query("BEGIN").query("SELECT nope");
        stage.like_direct(&run(failed, parameter, &[Some(&token)]).sync().query("ROLLBACK"), 4);
        let twice = Frontend::new().parse("a", parameter, &[]).bind("p", "a", &[Some(&token)]);
        stage.like_direct(&twice.execute("p", 1).execute("p", 1).close_statement("a").sync(), 1);
    });
}

#[test]
fn tenants_take_turns_on_one_backend_and_prepared_statements_are_shared() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut clients = [stage.client("one"), stage.client("two")];
        let mark = stage.mark();
        for (token, org) in [(acme(), ACME), (globex(), GLOBEX)].into_iter().cycle().take(10) {
            for (number, wire) in clients.iter_mut().enumerate() {
                let text =
                    format!("SELECT DISTINCT org FROM items WHERE name <> $1 /*pgwarden_token='{token}'*/");
                let name = format!("s{number}");
                let all =
                    Frontend::new().parse(&name, &text, &[TEXT]).bind("", &name, &[Some("x")]).execute("", 0);
                wire.send(&all.close_statement(&name).sync());
                assert_eq!(values(&wire.until_ready()), [org]);
            }
        }
        assert_eq!(stage.pgwarden.metric("pgwarden_backends"), Some(1.0));
        let names: std::collections::BTreeSet<String> = stage
            .ran(mark)
            .iter()
            .filter(|text| text.contains("DISTINCT org"))
            .filter_map(|text| Some(text.split_once(':')?.0.to_owned()))
            .collect();
        assert_eq!(names.len(), 1, "one statement for all: {names:?}");
    });
}

#[test]
fn a_prepared_statement_keeps_the_token_of_its_comment() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut wire = stage.client("nobody");
        let text = |token: &str| format!("/*pgwarden_token='{token}'*/ SELECT DISTINCT org FROM items");
        let prepared = Frontend::new().parse("a", &text(&acme()), &[]).sync();
        wire.send(&prepared.parse("b", &text(&globex()), &[]).sync());
        assert_eq!(tags(&wire.until_ready()), "1Z");
        assert_eq!(tags(&wire.until_ready()), "1Z");
        for (name, org) in [("a", ACME), ("b", GLOBEX), ("a", ACME)] {
            wire.send(&Frontend::new().bind("", name, &[]).execute("", 0).sync());
            assert_eq!(values(&wire.until_ready()), [org]);
        }
        // Closed and skipped by an error: the name still stands for the same.
        let failed = Frontend::new()
            .query("BEGIN")
            .bind("", "nope", &[])
            .close_statement("a")
            .sync()
            .query("ROLLBACK");
        wire.send(&failed);
        for _ in 0..3 {
            wire.until_ready();
        }
        wire.send(&Frontend::new().bind("", "a", &[]).execute("", 0).sync());
        assert_eq!(values(&wire.until_ready()), [ACME]);
    });
}

#[test]
fn a_token_reaches_neither_the_server_nor_a_log_nor_a_metric() {
    for_each_version(async |server| {
        let stage = start(server);
        let (token, mut wire) = (acme(), stage.client("nobody"));
        let mark = stage.mark();
        wire.query(&format!("SET pgwarden.token = '{token}'"));
        wire.query(&set_config(&token));
        wire.query(&format!("BEGIN; {}; COMMIT", set_config(&token)));
        wire.query(&format!("SELECT org FROM items /*pgwarden_token='{token}'*/"));
        wire.query(&format!("/*pgwarden_token='{token}'*/ SELECT nope"));
        let parameter = "SELECT set_config('pgwarden.token', $1, true)";
        let shown = Frontend::new().parse("", parameter, &[]).bind("", "", &[Some(&token)]).execute("", 0);
        let literal = shown.parse("", &set_config(&token), &[]).bind("", "", &[]).execute("", 0);
        wire.send(&literal.parse("", &format!("SELECT 1/*pgwarden_token='{token}'*/"), &[]).sync());
        assert_eq!(error_code(&wire.until_ready()), "");
        wire.query(&format!("SET pgwarden.token = '{token}x'"));
        wire.query("SELECT 'the end'");
        pgwarden_tests::until("the server has logged the end", || {
            server.log()[mark..].contains("the end").then_some(())
        });
        assert!(!server.log()[mark..].contains(&token), "the server's log holds the token");
        assert!(!stage.pgwarden.stderr().contains(&token), "pgwarden's log holds the token");
        assert!(!stage.pgwarden.admin("/metrics").1.contains(&token), "a metric holds the token");
    });
}
