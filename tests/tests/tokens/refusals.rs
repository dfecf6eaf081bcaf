//! Tokens that stand for nothing, and tokens in places where none can be taken out.

use crate::stage::{acme, of, seen, start, start_configured, start_with};
use pgwarden_tests::tenants::{ACME, ANN, error_code, run, values};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Frontend, Message, Wire, for_each_version};

#[track_caller]
fn error(messages: &[Message]) -> Fields {
    let error = messages.iter().find(|message| message.tag == b'E');
    error.unwrap_or_else(|| panic!("no error: {messages:?}")).fields()
}

fn is_usable(wire: &mut Wire) {
    assert_eq!(error_code(&wire.query("ROLLBACK")), "");
    assert_eq!(error_code(&wire.query("SELECT org FROM items")), "42501", "no context is left");
    let good = wire.query(&format!("SELECT DISTINCT org FROM items /*pgwarden_token='{}'*/", acme()));
    assert_eq!(values(&good), [ACME]);
}

#[test]
fn a_bad_token_is_refused_with_a_clear_error_and_nothing_of_it_is_repeated() {
    for_each_version(async |server| {
        let stage = start(server);
        let long = "x".repeat(9000);
        let forged = format!("{}x", acme());
        let expired = of(ACME, ANN, -5);
        let unfit = of("no-uuid", ANN, 3600);
        for (token, code, about) in [
            (forged.as_str(), "28000", "the token was refused"),
            ("garbage", "28000", "the token was refused"),
            ("a.b.c", "28000", "the token was refused"),
            (expired.as_str(), "28000", "the token was refused"),
            (unfit.as_str(), "28000", "no valid tenant context"),
            ("with blank", "28000", "the token is malformed"),
            ("é", "28000", "the token is malformed"),
            (long.as_str(), "28000", "the token is malformed"),
        ] {
            let mut wire = stage.client("nobody");
            wire.query(&format!("SET pgwarden.token = '{}'", acme()));
            for text in [
                format!("SET pgwarden.token = '{token}'"),
                format!("SET LOCAL pgwarden.token = '{token}'"),
                format!("SELECT set_config('pgwarden.token', '{token}', false)"),
                format!("/*pgwarden_token='{token}'*/ SELECT org FROM items"),
            ] {
                let refused = error(&wire.query(&text));
                assert_eq!((refused.code(), refused.message()), (code, about), "{text}");
                assert!(!refused.detail().is_empty() && !refused.hint().is_empty(), "{refused}");
                assert!(token.len() < 10 || !refused.to_string().contains(token), "{refused}");
                wire.send(&run(&text).sync());
                assert_eq!(error_code(&wire.until_ready()), code, "{text}");
            }
            wire.query("RESET pgwarden.token");
            wire.query("BEGIN");
            assert_eq!(error_code(&wire.query(&format!("SET LOCAL pgwarden.token = '{token}'"))), code);
            assert_eq!(error_code(&wire.query("SELECT 1")), "25P02", "the block has failed");
            is_usable(&mut wire);
        }
        assert!(!stage.pgwarden.stderr().contains(&forged));
    });
}

#[test]
fn a_refused_token_of_the_session_puts_an_end_to_the_one_before() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut wire = stage.client("nobody");
        wire.query(&format!("SET pgwarden.token = '{}'", acme()));
        assert_eq!(seen(&mut wire), [ACME]);
        assert_eq!(error_code(&wire.query("SET pgwarden.token = 'garbage'")), "28000");
        assert_eq!(
            error_code(&wire.query("SELECT org FROM items")),
            "42501",
            "whose request this is, nobody knows"
        );
    });
}

#[test]
fn a_token_where_it_cannot_be_taken_out_is_refused_and_never_sent() {
    for_each_version(async |server| {
        let stage = start(server);
        let token = acme();
        let mark = stage.mark();
        let mut wire = stage.client("nobody");
        for text in [
            format!("SELECT set_config('pgwarden.token', '{token}', true), 1"),
            format!("SELECT set_config('pgwarden.token', '{token}' || '', true)"),
            format!("COPY (SELECT set_config('pgwarden.token', '{token}', true)) TO STDOUT"),
            format!("PREPARE x AS SELECT set_config('pgwarden.token', '{token}', true)"),
            format!("SET pgwarden.token = {}", "token"),
            format!("SET LOCAL pgwarden.token = '{token}'; SET LOCAL pgwarden.token = '{token}'"),
            format!("COMMIT; SET LOCAL pgwarden.token = '{token}'"),
        ] {
            let refused = error(&wire.query(&text));
            assert!(["42501", "0A000"].contains(&refused.code()), "{text}: {refused}");
        }
        let several = format!("BEGIN; SET LOCAL pgwarden.token = '{token}'; SELECT 1");
        wire.send(&Frontend::new().parse("a", &several, &[]).sync());
        assert_eq!(error_code(&wire.until_ready()), "42601");
        let arguments: [Option<&[u8]>; 3] = [Some(b"pgwarden.token"), Some(token.as_bytes()), Some(b"t")];
        wire.send(&Frontend::new().function_call(2078, &arguments));
        assert_eq!(error_code(&wire.until_ready()), "42501");
        is_usable(&mut wire);
        assert!(!server.log()[mark..].contains(&token));
    });
}

#[test]
fn carriers_that_are_not_named_are_refused() {
    for_each_version(async |server| {
        let stage = start_configured(server, "[context.token]\ncarriers = [\"set\"]\n", |builder| builder);
        let mut wire = stage.client("nobody");
        let token = acme();
        assert_eq!(
            error_code(&wire.query(&format!("SELECT set_config('pgwarden.token', '{token}', false)"))),
            "0A000"
        );
        let commented = format!("SELECT org FROM items /*pgwarden_token='{token}'*/");
        assert_eq!(error_code(&wire.query(&commented)), "42501", "just a comment");
        wire.query(&format!("SET pgwarden.token = '{token}'"));
        assert_eq!(seen(&mut wire), [ACME]);
    });
}

#[test]
fn shadow_counts_a_bad_token_and_blocks_nothing() {
    for_each_version(async |server| {
        let stage = start_with(server, |builder| builder.env("PGWARDEN_MODE", "shadow"));
        let mut wire = stage.client("nobody");
        for text in [
            "SET pgwarden.token = 'garbage'",
            "SELECT set_config('pgwarden.token', 'garbage', false)",
            "/*pgwarden_token='garbage'*/ SELECT org FROM items",
            "SELECT org FROM items",
        ] {
            assert_eq!(error_code(&wire.query(text)), "", "{text}");
            wire.send(&run(text).sync());
            assert_eq!(error_code(&wire.until_ready()), "", "{text}");
        }
        let counted = "pgwarden_findings_total{kind=\"context_denied\",mode=\"shadow\"}";
        assert!(
            stage.pgwarden.metric(counted).is_some_and(|count| count >= 4.0),
            "{}",
            stage.pgwarden.admin("/metrics").1
        );
        wire.query(&format!("SET pgwarden.token = '{}'", acme()));
        assert_eq!(seen(&mut wire), [ACME]);
    });
}

#[test]
fn where_no_context_is_configured_the_setting_is_one_like_others() {
    for_each_version(async |server| {
        let stage = start_with(server, |builder| builder.env("PGWARDEN_MODE", "passthrough"));
        let mut wire = stage.client("nobody");
        assert_eq!(error_code(&wire.query("SET pgwarden.token = 'x'")), "");
        assert_eq!(values(&wire.query("SELECT set_config('pgwarden.token', 'y', false)")), ["y"]);
        assert_eq!(values(&wire.query("SELECT 1 /*pgwarden_token='z'*/")), ["1"]);
    });
}
