//! `[auth.query]`: what it needs, what it takes for granted, and every mistake in it.

use std::time::Duration;

use super::{from_env, from_file};
use crate::{Method, effective};

const START: &str = "upstream.url = \"postgres://app@h/main\"\n";

fn mistakes(text: &str) -> Vec<String> {
    from_file(&format!("{START}{text}")).unwrap_err()
}

#[test]
fn a_query_stands_in_for_the_users_file() {
    let text = format!("{START}[auth.query]\nuser = \"warden\"\n");
    let settings = from_file(&text).unwrap();
    assert_eq!((settings.auth.method, &settings.auth.users_file), (Method::ScramSha256, &None));
    let query = settings.auth.query.unwrap();
    assert_eq!((query.user.as_str(), query.database.as_str()), ("warden", "main"));
    assert_eq!((query.ttl, query.unknown_ttl), (Duration::from_secs(10), Duration::from_secs(2)));
    assert!(query.password.is_none() && query.sql.contains("pg_catalog.pg_authid"));
    let bare = [("PGWARDEN_UPSTREAM", "postgres://h"), ("PGWARDEN_AUTH_QUERY_USER", "warden")];
    assert_eq!(from_env(&bare).unwrap().auth.query.unwrap().database, "postgres");
}

#[test]
fn a_query_reads_back_as_it_was() {
    let text = format!(
        "{START}[auth.query]\nuser = \"w\"\ndatabase = \"d\"\nsql = \"SELECT f($1)\"\nttl = \"0s\"\nmax_entries = 5\n"
    );
    let first = from_file(&text).unwrap();
    assert_eq!(from_file(&effective(&first)).unwrap(), first);
    let hidden = format!("{START}[auth.query]\nuser = \"w\"\npassword = \"file:/p\"\n");
    let shown = effective(&from_file(&hidden).unwrap());
    assert!(shown.contains("password = \"[hidden]\"") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn mistakes_in_a_query() {
    for (line, problem) in [
        (
            "password = \"file:/p\"",
            "auth.query.user: is missing; expected the role that may read the secrets",
        ),
        ("database = \"d\"", "auth.query.user: is missing; expected the role that may read the secrets"),
        (
            "user = \"w\"\npassword = \"hunter2\"",
            "auth.query.password: a secret may not stand here itself; expected file:PATH or env:NAME",
        ),
        (
            "user = \"w\"\nsql = \"SELECT 'x'\"",
            "auth.query.sql: does not ask for a user; expected a statement with $1 for the user's name",
        ),
        ("user = \"\"", "auth.query.user: is empty; expected a value, or the key left out"),
        ("user = \"w\"\nttl = \"2h\"", "auth.query.ttl"),
        ("user = \"w\"\ntimeout = \"0s\"", "auth.query.timeout"),
        ("user = \"w\"\nmax_entries = 0", "auth.query.max_entries: 0 is out of range"),
    ] {
        let found = mistakes(&format!("auth.users_file = \"/u\"\n[auth.query]\n{line}\n"));
        assert!(found.len() == 1 && found[0].contains(problem) && !found[0].contains("hunter2"), "{found:?}");
    }
}
