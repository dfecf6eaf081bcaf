//! `[context.seal]`.

use std::time::Duration;

use super::mistakes::one;
use super::{from_file_with_upstream, with};
use crate::effective;

const CONTEXT: [(&str, &str); 2] = [("PGWARDEN_MODE", "shadow"), ("PGWARDEN_CONTEXT", "a.b=literal:x")];
const KEY: (&str, &str) = ("PGWARDEN_SEAL_KEY", "env:A_SECRET");

#[test]
fn nothing_is_sealed_without_a_key() {
    assert_eq!(with(&CONTEXT).context.seal, None);
}

#[test]
fn a_key_is_enough_and_is_never_shown() {
    let settings = with(&[&CONTEXT[..], &[KEY]].concat());
    let seal = settings.context.seal.as_ref().expect("sealed");
    assert_eq!(seal.key.expose(), "hunter2-from-env");
    assert_eq!((seal.lifetime, seal.variable.as_str()), (Duration::from_secs(10), "app.context_seal"));
    let shown = effective(&settings);
    assert!(shown.contains("[context.seal]\nkey = \"[hidden]\"\nlifetime = \"10s\"\n"), "{shown}");
    assert!(!shown.contains("hunter2"));
}

#[test]
fn what_is_sealed_where_and_for_how_long_is_checked() {
    for (variables, line) in [
        (
            [&CONTEXT[..1], &[("PGWARDEN_CONTEXT", "App.Context_Seal=literal:x"), KEY]].concat(),
            "PGWARDEN_SEAL_KEY: context.seal.key: \"app.context_seal\" is a variable of the context already; \
             expected a variable for the seal alone, context.seal.variable",
        ),
        (
            vec![KEY],
            "PGWARDEN_SEAL_KEY: context.seal.key: there is nothing to seal; expected context.variables as well",
        ),
    ] {
        one(&variables, line);
    }
    for (text, expected) in [
        ("context.seal.lifetime = '0'", "context.seal.lifetime: \"0\" is out of range"),
        ("context.seal.lifetime = '11min'", "context.seal.lifetime: \"11min\" is out of range"),
        (
            "context.seal.variable = 'seal'",
            "context.seal.variable: \"seal\" is not the name of a custom setting",
        ),
        (
            "context.seal.variable = 'pgwarden.seal'",
            "context.seal.variable: \"pgwarden.seal\" belongs to pgwarden",
        ),
        (
            "upstream.downstream_pooler = 'transaction'",
            "context.seal.key: a seal is good for one server process",
        ),
    ] {
        let base = "mode = 'shadow'\ncontext.variables = 'a.b=literal:x'\ncontext.seal.key = 'env:A_SECRET'";
        let mistakes = from_file_with_upstream(&format!("{base}\n{text}\n")).expect_err(text);
        assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{text}: {mistakes:?}");
    }
}
