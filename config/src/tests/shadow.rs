//! `[shadow]`.

use std::time::Duration;

use super::mistakes::one;
use super::{from_file_with_upstream, with};
use crate::{TenantColumn, effective};

#[test]
fn nobody_looks_where_nothing_is_said() {
    assert_eq!(with(&[]).shadow.observer, None);
}

#[test]
fn a_tenant_column_is_enough() {
    let settings = with(&[("PGWARDEN_TENANT_COLUMNS", "Org_Id, public.\"My Table\".\"Org\"")]);
    let of = TenantColumn::Of { schema: "public".into(), table: "My Table".into(), column: "Org".into() };
    assert_eq!(settings.shadow.tenant_columns, [TenantColumn::Anywhere("org_id".into()), of]);
    let observer = settings.shadow.observer.expect("somebody looks");
    assert_eq!((observer.user.as_str(), observer.databases.as_slice()), ("proxy", &["app".to_owned()][..]));
    assert_eq!((observer.interval, observer.password), (Duration::from_secs(2), None));
}

#[test]
fn what_was_read_is_shown_and_reads_back() {
    let text = "shadow.tenant_columns = ['a', 's.t.\"C\"']\nshadow.global_tenants = ['0']\nshadow.null_is_global = true\n\
                shadow.observer.user = 'o'\nshadow.observer.password = 'env:A_SECRET'\nshadow.writes.rows = 5\n";
    let settings = from_file_with_upstream(text).expect("right");
    let observer = settings.shadow.observer.as_ref().expect("somebody looks");
    assert_eq!(observer.password.as_ref().map(|password| password.expose()), Some("hunter2-from-env"));
    let shown = effective(&settings);
    assert!(shown.contains("tenant_columns = [\"\\\"a\\\"\", \"\\\"s\\\".\\\"t\\\".\\\"C\\\"\"]"), "{shown}");
    assert!(shown.contains("[shadow.observer]\nuser = \"o\"\npassword = \"[hidden]\"\n"), "{shown}");
}

#[test]
fn mistakes_are_named() {
    one(
        &[("PGWARDEN_TENANT_COLUMNS", "a.b")],
        "PGWARDEN_TENANT_COLUMNS: shadow.tenant_columns: \"a.b\" is no column; expected column, or schema.table.column; \
         names with capitals or dots in double quotes",
    );
    for (text, expected) in [
        (
            "shadow.null_is_global = 'perhaps'",
            "shadow.null_is_global: \"perhaps\" is not known; expected true or false",
        ),
        ("shadow.observer.password = 'env:A_SECRET'", "shadow.observer.password: a password without a user"),
        ("shadow.observer.interval = '1ms'", "shadow.observer.interval: \"1ms\" is out of range"),
        ("shadow.writes.rows = 0", "shadow.writes.rows: 0 is out of range"),
    ] {
        let mistakes = from_file_with_upstream(&format!("{text}\n")).expect_err(text);
        assert!(mistakes.len() == 1 && mistakes[0].contains(expected), "{text}: {mistakes:?}");
    }
}
