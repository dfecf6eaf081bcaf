//! The SQL that tells changes: run twice, for tables of other names, and without saying too much.

use pgwarden_tests::identities::{self, ACME, ANN, SAM};
use pgwarden_tests::{Pgwarden, Server, for_each_version, psql};

/// Tables of somebody else, with tokens stored in two other ways.
const OTHERS: &str = "
CREATE SCHEMA shop;
CREATE TABLE shop.people (nr bigint PRIMARY KEY, shop text, name text);
CREATE TABLE shop.\"Logins\" (\"Hash\" bytea PRIMARY KEY, person bigint, seen timestamptz);
CREATE TABLE shop.keys (secret text PRIMARY KEY, shop text);
SELECT pgwarden.watch('shop.people', '{user, nr, org, shop}', channel => 'shops');
SELECT pgwarden.watch('shop.\"Logins\"', '{token, Hash, user, person}', channel => 'shops');
SELECT pgwarden.watch('shop.keys', '{raw_token, secret}', '{shop}', channel => 'shops');
";

/// What is told on a channel when these are run, each in a transaction of its own, in the order in which it is.
#[track_caller]
fn told(server: &Server, channel: &str, statements: &[&str]) -> Vec<String> {
    let listen = format!("LISTEN {channel}");
    let mut arguments = vec!["-c", listen.as_str()];
    arguments.extend(statements.iter().flat_map(|statement| ["-c", statement]));
    let output = psql(&server.url(), &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    let payloads = text.lines().filter_map(|line| line.split_once("with payload \"")?.1.split_once('"'));
    payloads.map(|(payload, _)| payload.to_owned()).collect()
}

#[test]
fn pgwarden_prints_it() {
    let printed = Pgwarden::builder().run(&["sql", "invalidation"]);
    assert_eq!((printed.status.code(), printed.stderr), (Some(0), identities::kit()));
}

#[test]
fn it_can_be_run_twice_and_tells_each_change_once() {
    for_each_version(async |server| {
        identities::load(server);
        server.psql(&identities::kit());
        let switch = format!("SELECT platform.set_user_active_org('{SAM}', '{ACME}')");
        assert_eq!(told(server, "pgwarden", &[&switch]), [format!("user:{SAM}")]);
        let both = "UPDATE platform.users SET active_org_id = NULL WHERE active_org_id IS NOT NULL \
                    AND id IN ('a0000000-0000-4000-8000-0000000000a1', 'c0000000-0000-4000-8000-0000000000a1')";
        let mut users = told(server, "pgwarden", &[both]);
        users.sort();
        assert_eq!(users, [format!("user:{ANN}"), format!("user:{SAM}")]);
    });
}

#[test]
fn what_does_not_matter_is_not_told() {
    for_each_version(async |server| {
        identities::load(server);
        let statements = [
            "UPDATE platform.user_sessions SET last_activity_at = now()",
            "UPDATE platform.user_sessions SET expires_at = expires_at, user_agent = 'another'",
            "UPDATE platform.users SET username = 'another ' || id, active_org_id = active_org_id",
            "BEGIN; UPDATE platform.users SET active_org_id = NULL; ROLLBACK",
        ];
        assert_eq!(told(server, "pgwarden", &statements), Vec::<String>::new());
    });
}

#[test]
fn an_organisation_that_goes_is_told_for_its_members_and_a_table_that_is_emptied_for_all() {
    for_each_version(async |server| {
        identities::load(server);
        let gone =
            told(server, "pgwarden", &[&format!("DELETE FROM platform.organizations WHERE id = '{ACME}'")]);
        assert!(gone.contains(&format!("user:{ANN}")) && gone.contains(&format!("user:{SAM}")), "{gone:?}");
        assert_eq!(told(server, "pgwarden", &["TRUNCATE platform.organization_members"]), ["all"]);
    });
}

#[test]
fn tables_of_other_names_are_watched_as_well() {
    for_each_version(async |server| {
        server.psql(&identities::kit());
        server.psql(OTHERS);
        let hash = "SELECT encode(sha256('key'), 'hex')";
        let hash = server.psql(hash);
        let told = |statement: &str| {
            let mut told = told(server, "shops", &[statement]);
            told.sort();
            told
        };
        assert_eq!(told("INSERT INTO shop.people VALUES (7, 'it''s', 'x')"), ["org:it's", "user:7"]);
        assert_eq!(told("UPDATE shop.people SET shop = 'b'"), ["org:b", "org:it's", "user:7"]);
        assert_eq!(told("UPDATE shop.people SET name = 'y'"), Vec::<String>::new());
        assert_eq!(
            told("INSERT INTO shop.\"Logins\" VALUES (sha256('key'), 7)"),
            [format!("token:{hash}"), "user:7".to_owned()]
        );
        assert_eq!(told("INSERT INTO shop.keys VALUES ('key', 'b')"), [format!("token:{hash}")]);
        let long =
            "INSERT INTO shop.people SELECT 8, string_agg(md5(n::text), '') FROM generate_series(1, 300) n";
        assert_eq!(told(long), ["all", "user:8"]);
    });
}

#[test]
fn only_an_owner_has_a_table_watched() {
    for_each_version(async |server| {
        identities::load(server);
        for (user, sql) in [
            ("app", "SELECT pgwarden.watch('platform.users', '{user, id}')"),
            ("postgres", "SELECT pgwarden.watch('platform.users', '{users, id}')"),
            ("postgres", "SELECT pgwarden.watch('platform.users', '{user}')"),
            ("postgres", "SELECT pgwarden.watch('platform.users', '{user, no_such_column}')"),
        ] {
            let output = psql(&server.url_for(user, "", "postgres"), &["-c", sql]);
            assert!(!output.status.success(), "{user}: {sql}");
        }
    });
}
