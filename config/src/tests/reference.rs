//! `reference.toml` is complete and tells the truth.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Fake, from_file, pairs};
use crate::keys::KEYS;
use crate::written::Written;
use crate::{REFERENCE, effective, load};

/// The reference with its examples switched on.
fn uncommented() -> String {
    let is_example = |rest: &str| {
        let name = rest.split(" = ").next().unwrap_or_default();
        rest.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || matches!(c, '_' | '.'))
    };
    let line = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_example(rest) => rest.to_owned(),
        _ => line.to_owned(),
    };
    REFERENCE.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_reference_has_the_defaults_of_the_code() {
    let upstream = "postgres://h";
    let needed = pairs(&[("PGWARDEN_UPSTREAM", upstream), ("PGWARDEN_USERS_FILE", "/users")]);
    let reference = load(Some((Path::new("reference.toml"), REFERENCE)), &needed, &[], &Fake).unwrap();
    let bare = load(None, &needed, &[], &Fake).unwrap();
    assert_eq!(reference, bare);
}

#[test]
fn the_reference_has_every_key_and_no_other() {
    let text = uncommented();
    let written = Written::read(Some((Path::new("r"), &text)), &[], &[]).ok().unwrap();
    assert_eq!(written.mistakes, []);
    for (key, variable) in KEYS {
        assert!(written.node(key).is_some(), "{key} is not in the reference");
        assert!(variable.is_none_or(|name| REFERENCE.contains(name)), "{variable:?} is not in the reference");
    }
    assert_eq!(KEYS.iter().map(|(key, _)| key).collect::<BTreeSet<_>>().len(), KEYS.len());
}

#[test]
fn each_example_of_the_reference_is_right() {
    let flags = pairs(&[("PGWARDEN_MODE", "shadow"), ("PGWARDEN_TLS_MODE", "require")]);
    let text = uncommented().replace("missing = \"refuse\"", "missing = \"default\"");
    let text = text.replace("client_cert = \"none\"", "client_cert = \"verify\"");
    // The one method, or rules.
    let text = text.replace("method = \"scram-sha-256\"\n", "\n");
    let settings = load(Some((Path::new("r"), &text)), &[], &flags, &Fake).unwrap();
    assert_eq!(settings.context.variables.len(), 3);
    assert_eq!(settings.context.fixed.len(), 1);
}

#[test]
fn every_key_of_the_reference_has_a_comment_above() {
    let lines: Vec<&str> = REFERENCE.lines().collect();
    for (index, line) in lines.iter().enumerate().filter(|(_, line)| line.contains(" = ")) {
        let above = lines[index - 1];
        assert!(above.starts_with("# ") && !above.contains(" = "), "no comment above {line}");
    }
}

#[test]
fn the_effective_configuration_reads_back_as_it_was() {
    let first = from_file(
        r#"
        listen = ["[::1]:1", "/tmp:2"]
        mode = "enforce"
        workers = 2
        upstream.url = "postgres://us%40er@%2Frun%2Fpg:5433/my%20db"
        databases."odd \"name\"".mode = "shadow"
        users.migrator.mode = "passthrough"
        [auth]
        jwt.key = "file:/key"
        jwt.audience = ["a"]
        [[auth.rules]]
        type = "local"
        database = ["sameuser", "b"]
        method = "trust"
        [[auth.rules]]
        user = "eve"
        address = ["10.0.0.0/8", "::1"]
        method = "reject"
        [[auth.rules]]
        method = "jwt"
        [context]
        default_tenant = "5"
        tenant_claim = '"https://x.y/z".org'
        fixed.alice = { tenant = "1", user = "u" }
        [[context.variables]]
        name = "app.org"
        from = "tenant"
        kind = "bigint"
        [[context.variables]]
        name = "app.odd"
        from = "literal:'it''s, a: b'"
        [admin]
        listen = "off"
        [tls]
        cert = "/c"
        key = "/k"
        client_ca = "/ca"
        [limits]
        login_timeout = "1500ms"
        "#,
    )
    .unwrap();
    assert_eq!(from_file(&effective(&first)).unwrap(), first);
}
