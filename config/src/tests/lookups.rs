//! What the database is asked about identities: how it is written, and every mistake in it.

use std::time::Duration;

use super::mistakes::file;
use super::{from_file, from_file_with_upstream};
use crate::{TokenCarrier, TokenHash, ValueFrom, effective};

const RIGHT: &str = r#"
    mode = "enforce"
    upstream.url = "postgres://app@db/platform"
    auth.method = "trust"
    [context]
    variables = "app.org=tenant:uuid, app.user=user:uuid, app.role=column:role"
    [context.lookup]
    user = "lookup"
    ttl = "10s"
    channel = "Changes"
    [context.session_token]
    query = "SELECT user_id AS user FROM sessions WHERE hash = $1"
    hash = "sha256"
    [context.resolver]
    query = "SELECT org FROM users WHERE id = $1"
    [context.membership]
    query = "SELECT role FROM members WHERE user_id = $1 AND org_id = $2"
    [context.claim]
    users = ["app", "jobs"]
    [context.token]
    carriers = "comment"
"#;

#[test]
fn a_look_up_is_read_and_reads_back() {
    let settings = from_file(RIGHT).unwrap();
    let lookups = &settings.context.lookups;
    let lookup = lookups.lookup.as_ref().unwrap();
    assert_eq!((lookup.user.as_str(), lookup.database.as_str()), ("lookup", "platform"));
    assert_eq!((lookup.timeout, lookup.ttl), (Duration::from_secs(2), Duration::from_secs(10)));
    assert_eq!(lookup.channel, "Changes");
    assert_eq!(lookups.session_token.as_ref().unwrap().hash, TokenHash::Sha256);
    assert_eq!(lookups.claimants.iter().collect::<Vec<_>>(), ["app", "jobs"]);
    assert_eq!(lookups.carriers.iter().collect::<Vec<_>>(), [&TokenCarrier::Comment]);
    assert_eq!(settings.context.variables[2].from, ValueFrom::Column("role".into()));
    assert_eq!(from_file(&effective(&settings)).unwrap(), settings);
}

#[test]
fn who_looks_up_is_who_logs_in_unless_it_is_said() {
    let text = RIGHT.replace("user = \"lookup\"", "");
    let text = text.replace("app@db", "app:hunter2@db");
    let lookup = from_file(&text).unwrap().context.lookups.lookup.unwrap();
    assert_eq!((lookup.user.as_str(), lookup.password.unwrap().expose()), ("app", "hunter2"));
}

#[test]
fn without_a_query_nothing_is_looked_up() {
    let settings = from_file_with_upstream("").unwrap();
    assert_eq!(settings.context.lookups.lookup, None);
    assert_eq!(settings.context.lookups.carriers.len(), 3);
}

#[test]
fn queries_ask_for_their_parameters() {
    file(
        "context.session_token.query = \"SELECT 1\"\ncontext.resolver.query = \"SELECT 1\"\n\
         context.membership.query = \"SELECT $1\"",
        &[
            "pgwarden.toml:1:31: context.session_token.query: does not ask for $1; expected a query of $1",
            "pgwarden.toml:2:26: context.resolver.query: does not ask for $1; expected a query of $1",
            "pgwarden.toml:3:28: context.membership.query: does not ask for $2; expected a query of $1 and $2",
        ],
    );
}

#[test]
fn what_is_missing_is_named_with_its_place() {
    file(
        "context.claim.users = [\"app\"]",
        &["pgwarden.toml:1:23: context.claim.users: nothing checks what they say of themselves; \
           expected context.membership.query"],
    );
    file(
        "context.lookup.user = \"lookup\"",
        &["pgwarden.toml:1:23: context.lookup.user: nothing is looked up; \
           expected one of context.session_token.query, context.resolver.query, context.membership.query, context.tenants.query"],
    );
    file(
        "context.lookup.password = \"env:SECRET\"\ncontext.resolver.query = \"SELECT $1\"",
        &["pgwarden.toml:1:27: context.lookup.password: a password without a user; \
           expected context.lookup.user"],
    );
    let alone = "upstream.url = \"postgres://db\"\nauth.method = \"trust\"\n\
                 context.resolver.query = \"SELECT $1\"";
    assert_eq!(
        from_file(alone).unwrap_err(),
        ["pgwarden.toml:3:26: context.lookup.user: is missing, nothing says who looks up; \
          expected a login of pgwarden's own"]
    );
    file(
        "mode = \"shadow\"\ncontext.variables = \"a.b=column:role\"",
        &["pgwarden.toml:2:21: context.variables: a.b takes a column, but nothing is looked up; \
           expected one of context.session_token.query, context.resolver.query, context.membership.query, context.tenants.query"],
    );
}

#[test]
fn words_and_bounds() {
    file(
        "context.session_token.hash = \"md5\"\n[context.lookup]\nttl = 0\nentries = 0\nchannel = \"\"\n\
         password = \"hunter2\"\n[context.token]\ncarriers = [\"header\"]\nmax_bytes = 1",
        &[
            "pgwarden.toml:1:30: context.session_token.hash: \"md5\" is not known; \
             expected one of sha256-hex, sha256, none",
            "pgwarden.toml:3:7: context.lookup.ttl: \"0\" is out of range; \
             expected a duration from 1s to 3600s, like 30s, 500ms or 5min",
            "pgwarden.toml:4:11: context.lookup.entries: 0 is out of range; expected an integer from 1 to 100000000",
            "pgwarden.toml:5:11: context.lookup.channel: is empty; expected a value, or the key left out",
            "pgwarden.toml:6:12: context.lookup.password: a secret may not stand here itself; \
             expected file:PATH or env:NAME",
            "pgwarden.toml:8:13: context.token.carriers: \"header\" is not known; \
             expected one of set, set_config, comment",
            "pgwarden.toml:9:13: context.token.max_bytes: \"1\" is out of range; \
             expected a size from 16 to 65535 bytes, like 8192 or 16MiB",
        ],
    );
}
