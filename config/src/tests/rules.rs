//! `[[auth.rules]]`: what matches, and every mistake.

use std::net::IpAddr;

use super::{UPSTREAM, pairs, render};
use crate::{Attempt, Method, Settings, load};

/// Loads a file with rules; there are unix and TCP listeners, users and TLS.
fn with_rules(rules: &str) -> Result<Settings, Vec<String>> {
    let text = format!(
        "listen = [\"/tmp\", \"0.0.0.0:1\"]\ntls.cert = \"/c\"\ntls.key = \"/k\"\nauth.users_file = \"/u\"\n{rules}"
    );
    render(load(Some((std::path::Path::new("c.toml"), &text)), &pairs(&[UPSTREAM]), &[], &super::Fake))
}

/// The method for `user@database` from an address, `+` in front of which stands for TLS; `-` is a unix socket.
fn method(settings: &Settings, database: &str, user: &str, from: &str) -> Option<Method> {
    let address: Option<IpAddr> = from.trim_start_matches('+').parse().ok();
    let attempt = Attempt { database, user, address, is_encrypted: from.starts_with('+') };
    settings.auth.method_for(&attempt)
}

#[test]
fn the_first_rule_that_matches_decides() {
    let settings = with_rules(
        r#"
        [[auth.rules]]
        type = "local"
        user = ["root", "app"]
        method = "peer"
        [[auth.rules]]
        user = "eve"
        method = "reject"
        [[auth.rules]]
        type = "hostssl"
        address = ["10.0.0.0/8", "fd00::/8"]
        method = "scram-sha-256-plus"
        [[auth.rules]]
        type = "hostnossl"
        database = "reports"
        address = "10.1.2.3"
        method = "md5"
        [[auth.rules]]
        type = "host"
        database = "sameuser"
        address = "all"
        method = "password"
        "#,
    )
    .unwrap();
    for (database, user, from, expected) in [
        ("d", "root", "-", Some(Method::Peer)),
        ("d", "other", "-", None),
        ("other", "other", "-", None),
        ("d", "eve", "-", Some(Method::Reject)),
        ("eve", "eve", "+10.0.0.1", Some(Method::Reject)),
        ("d", "root", "+10.255.0.1", Some(Method::ScramSha256Plus)),
        ("d", "root", "+fd12::1", Some(Method::ScramSha256Plus)),
        ("d", "root", "10.255.0.1", None),
        ("d", "root", "+11.0.0.1", None),
        ("reports", "root", "10.1.2.3", Some(Method::Md5)),
        ("reports", "root", "10.1.2.4", None),
        ("root", "root", "192.0.2.1", Some(Method::Password)),
        ("sameuser", "root", "192.0.2.1", Some(Method::Password)),
        ("Root", "root", "192.0.2.1", None),
    ] {
        assert_eq!(method(&settings, database, user, from), expected, "{user}@{database} from {from}");
    }
    let methods: Vec<_> = settings.auth.methods().collect();
    assert_eq!(methods.len(), 5);
}

#[test]
fn without_rules_the_one_method_is_for_everybody() {
    let settings = with_rules("auth.method = \"md5\"").unwrap();
    for from in ["-", "10.0.0.1", "+::1"] {
        assert_eq!(method(&settings, "d", "u", from), Some(Method::Md5));
    }
    assert_eq!(settings.auth.methods().collect::<Vec<_>>(), [Method::Md5]);
}

#[test]
fn ranges_end_where_their_mask_says() {
    for (range, inside, outside) in [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        ("10.0.0.128/25", "10.0.0.128", "10.0.0.127"),
        ("10.0.0.1", "10.0.0.1", "10.0.0.2"),
        ("0.0.0.0/0", "255.255.255.255", "::"),
        ("::/0", "ffff::", "0.0.0.0"),
        ("fd00::/8", "fdff::1", "fe00::1"),
        ("::1/128", "::1", "::2"),
    ] {
        let rules = format!("[[auth.rules]]\naddress = \"{range}\"\nmethod = \"password\"");
        let settings = with_rules(&rules).unwrap();
        assert_eq!(method(&settings, "d", "u", inside), Some(Method::Password), "{range}");
        assert_eq!(method(&settings, "d", "u", outside), None, "{range}");
        assert_eq!(method(&settings, "d", "u", "-"), None, "{range}");
    }
}

/// The rules begin in line 5 of the file.
fn mistakes(rules: &str, lines: &[&str]) {
    assert_eq!(with_rules(rules).unwrap_err(), lines, "{rules}");
}

#[test]
fn mistakes_of_a_rule_are_named_with_their_place() {
    mistakes(
        "[[auth.rules]]\ntype = \"hostgssenc\"\nmethod = \"gss\"\nuser = []\nport = 1",
        &[
            "c.toml:6:8: auth.rules.type: \"hostgssenc\" is not known; expected one of local, host, hostssl, hostnossl",
            "c.toml:7:10: auth.rules.method: \"gss\" is not known; expected one of trust, password, md5, \
             scram-sha-256, scram-sha-256-plus, cert, jwt, oauthbearer, peer, passthrough, reject",
            "c.toml:8:8: auth.rules.user: is an empty list; expected names, or \"all\"",
            "c.toml:9:1: auth.rules.port: unknown key; expected one of type, database, user, address, method",
        ],
    );
    for (name, problem) in [
        (
            "user = \"+admins\"",
            "5:24: auth.rules.user: \"+admins\": members of a role are not known to pgwarden",
        ),
        ("user = \"@file\"", "5:24: auth.rules.user: \"@file\": files of names are not read"),
        ("user = [\"a\", \"/^b\"]", "5:24: auth.rules.user: \"/^b\": regular expressions are not supported"),
        (
            "database = \"replication\"",
            "5:28: auth.rules.database: \"replication\": replication connections are not supported",
        ),
        (
            "database = \"samerole\"",
            "5:28: auth.rules.database: \"samerole\": members of a role are not known to pgwarden",
        ),
    ] {
        let line = format!("c.toml:{problem}; expected names, or \"all\"");
        mistakes(&format!("auth.rules = [{{ {name}, method = \"reject\" }}]"), &[&line]);
    }
}

#[test]
fn mistakes_in_addresses_are_named() {
    const RANGE: &str = "a range like 10.0.0.0/8 or fd00::/8, an address, or \"all\"";
    for (address, problem) in [
        ("10.0.0.0/33", format!("\"10.0.0.0/33\" has a mask of more than 32 bits; expected {RANGE}")),
        ("10.0.0.1/8", "\"10.0.0.1/8\" has bits to the right of its mask; expected 10.0.0.0/8".to_owned()),
        ("fd00::1/64", "\"fd00::1/64\" has bits to the right of its mask; expected fd00::/64".to_owned()),
        ("example.com", format!("\"example.com\" is no range of addresses; expected {RANGE}")),
        ("samenet", format!("\"samenet\" is no range of addresses; expected {RANGE}")),
        ("10.0.0.0/255.0.0.0", format!("\"10.0.0.0/255.0.0.0\" is no range of addresses; expected {RANGE}")),
    ] {
        let rules = format!("[[auth.rules]]\nmethod = \"reject\"\naddress = \"{address}\"");
        mistakes(&rules, &[&format!("c.toml:7:11: auth.rules.address: {problem}")]);
    }
    mistakes(
        "[[auth.rules]]\ntype = \"local\"\naddress = \"10.0.0.0/8\"\nmethod = \"peer\"",
        &[
            "c.toml:5:1: auth.rules.address: clients of unix sockets have no address; expected type host, or no address",
        ],
    );
}

#[test]
fn the_list_of_rules_has_to_be_one() {
    for (rules, line) in [
        (
            "auth.rules = \"trust\"",
            "5:14: auth.rules: is not a list of tables; expected [[auth.rules]] with a method",
        ),
        ("auth.rules = []", "5:14: auth.rules: is empty; expected at least one rule, or the key left out"),
        (
            "auth.rules = [1]",
            "5:15: auth.rules: is not a table; expected a table with type, database, user, address and method",
        ),
        (
            "auth.rules = [{ user = \"a\" }]",
            "5:15: auth.rules.method: is missing; expected one of trust, password, md5, \
          scram-sha-256, scram-sha-256-plus, cert, jwt, oauthbearer, peer, passthrough, reject",
        ),
        (
            "auth.method = \"md5\"\nauth.rules = [{ method = \"md5\" }]",
            "5:15: auth.method: auth.rules say the method already; expected one of auth.method and auth.rules",
        ),
    ] {
        mistakes(rules, &[&format!("c.toml:{line}")]);
    }
}

#[test]
fn a_rule_that_no_client_gets_to_is_a_mistake() {
    const WILD: &str = "{ method = \"password\" }";
    for (first, second) in [
        (WILD, "{ user = \"eve\", method = \"reject\" }"),
        (WILD, WILD),
        ("{ type = \"host\", method = \"md5\" }", "{ type = \"hostssl\", method = \"reject\" }"),
        ("{ type = \"host\", method = \"md5\" }", "{ address = \"10.0.0.1\", method = \"reject\" }"),
        (
            "{ address = \"10.0.0.0/8\", method = \"md5\" }",
            "{ address = [\"10.1.0.0/16\", \"10.2.0.0/16\"], method = \"reject\" }",
        ),
        (
            "{ user = [\"a\", \"b\"], method = \"md5\" }",
            "{ user = \"b\", database = \"d\", method = \"reject\" }",
        ),
    ] {
        let found = with_rules(&format!("auth.rules = [\n{first},\n{second}]")).unwrap_err();
        let line = "c.toml:7:1: auth.rules: no client gets to this rule, because the one of line 6 takes them all; \
                    expected the narrower rule first";
        assert_eq!(found, [line], "{first} {second}");
    }
    for (first, second) in [
        ("{ type = \"hostssl\", method = \"md5\" }", "{ type = \"host\", method = \"reject\" }"),
        ("{ type = \"host\", method = \"md5\" }", "{ method = \"reject\" }"),
        (
            "{ address = \"10.0.0.0/8\", method = \"md5\" }",
            "{ address = [\"10.1.0.0/16\", \"11.0.0.1\"], method = \"reject\" }",
        ),
        ("{ address = \"0.0.0.0/0\", method = \"md5\" }", "{ address = \"::/0\", method = \"reject\" }"),
        ("{ user = \"a\", method = \"md5\" }", "{ method = \"reject\" }"),
    ] {
        assert!(with_rules(&format!("auth.rules = [\n{first},\n{second}]")).is_ok(), "{first} {second}");
    }
}

#[test]
fn what_a_method_needs_is_asked_of_each_rule() {
    for (rule, expected) in [
        (
            "method = \"peer\"",
            "auth.rules: peer knows clients of unix sockets only; expected type = \"local\"",
        ),
        (
            "type = \"host\", method = \"peer\"",
            "auth.rules: peer knows clients of unix sockets only; expected type = \"local\"",
        ),
        (
            "method = \"scram-sha-256-plus\"",
            "auth.rules: scram-sha-256-plus needs a connection with TLS; expected type = \"hostssl\"",
        ),
        (
            "type = \"hostssl\", method = \"cert\"",
            "auth.rules: cert needs TLS with client certificates; expected tls.cert, tls.key and tls.client_ca as well",
        ),
        (
            "address = \"10.0.0.0/8\", method = \"trust\"",
            "auth.rules: trust lets everybody in who reaches 0.0.0.0:1; \
             expected a loopback address or unix socket, or auth.trust_remote = true",
        ),
        (
            "method = \"jwt\"",
            "auth.jwt.key: is missing, jwt needs it; expected file:PATH, env:NAME or the URL of a JWKS document",
        ),
    ] {
        mistakes(&format!("auth.rules = [{{ {rule} }}]"), &[&format!("c.toml:5:15: {expected}")]);
    }
    for fine in [
        "type = \"local\", method = \"peer\"",
        "type = \"local\", method = \"trust\"",
        "address = [\"127.0.0.0/8\", \"::1\"], method = \"trust\"",
        "type = \"hostssl\", method = \"scram-sha-256-plus\"",
    ] {
        assert!(with_rules(&format!("auth.rules = [{{ {fine} }}]")).is_ok(), "{fine}");
    }
    let bare =
        |text: &str| super::from_file(&format!("upstream.url = \"postgres://h\"\n{text}")).unwrap_err();
    assert_eq!(
        bare("auth.rules = [{ type = \"hostssl\", method = \"md5\" }]"),
        [
            "pgwarden.toml:2:15: auth.users_file: is missing, md5 needs it; \
             expected the path of a file with lines \"name\" \"secret\", or auth.query.user",
            "pgwarden.toml:2:15: auth.rules: hostssl matches nobody, because there is no TLS; \
             expected tls.cert and tls.key as well",
        ]
    );
    assert_eq!(
        bare("auth.method = \"peer\""),
        [
            "pgwarden.toml:2:15: auth.method: peer knows clients of unix sockets only, and 127.0.0.1:6432 is none; \
          expected unix sockets in listen, or auth.rules"
        ]
    );
    assert_eq!(
        bare("auth.method = \"reject\""),
        ["pgwarden.toml:2:15: auth.method: reject lets nobody in; expected another method, or auth.rules"]
    );
}

#[test]
fn what_a_load_balancer_says_is_enough_for_neither_trust_nor_peer() {
    const TRUST: &str = "trust lets everybody in whom a load balancer brings; \
                         expected another method, or auth.trust_remote = true";
    const PEER: &str = "peer takes clients that a load balancer brings through a unix socket for the load balancer; \
         expected another method, or no unix in proxy_protocol";
    for (proxies, rule, expected) in [
        ("10.0.0.1", "type = \"local\", method = \"trust\"", Some(TRUST)),
        ("10.0.0.1", "address = \"127.0.0.0/8\", method = \"trust\"", Some(TRUST)),
        ("unix", "type = \"local\", method = \"peer\"", Some(PEER)),
        ("10.0.0.1", "type = \"local\", method = \"peer\"", None),
        ("unix", "type = \"local\", method = \"md5\"", None),
    ] {
        let found = with_rules(&format!("auth.rules = [{{ {rule} }}]\nproxy_protocol = \"{proxies}\""));
        let expected = expected.map(|text| vec![format!("c.toml:5:15: auth.rules: {text}")]);
        assert_eq!(found.err(), expected, "{rule} behind {proxies}");
    }
    let bare = |text: &str| super::from_file(&format!("upstream.url = \"postgres://h\"\n{text}")).err();
    let trust = "auth.method = \"trust\"\nproxy_protocol = \"unix\"";
    assert_eq!(bare(trust), Some(vec![format!("pgwarden.toml:2:15: auth.method: {TRUST}")]));
    assert_eq!(bare(&format!("{trust}\nauth.trust_remote = true")), None);
}

#[test]
fn what_a_reload_brings_has_to_fit_what_stays() {
    let written = |text: &str| with_rules(text).unwrap();
    let start = written("auth.method = \"md5\"");
    let refused = |text: &str| {
        let mistakes = written(text).over(&start, &start).map(drop).unwrap_err();
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        refused("pool.mode = \"session\"\nauth.rules = [{ type = \"local\", method = \"passthrough\" }]"),
        ["configuration: auth.rules: passthrough needs a connection to the server for each client; \
             expected pool.mode = \"session\""]
    );
    let alone = |text: &str| super::from_file(&format!("upstream.url = \"postgres://h\"\n{text}")).unwrap();
    let next = alone("auth.rules = [{ database = \"d\", method = \"trust\" }]");
    let mistakes = next.over(&start, &start).map(drop).unwrap_err();
    assert_eq!(
        mistakes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["configuration: auth.rules: trust lets everybody in who reaches 0.0.0.0:1; \
             expected a loopback address or unix socket, or auth.trust_remote = true"]
    );
    let next =
        written("upstream.max_backends = 3\nlimits.login_failures = 1\nlimits.max_clients_per_user = 2");
    let (next, fixed) = next.over(&start, &start).unwrap();
    assert_eq!((next.upstream.max_backends, next.limits.login_failures, fixed), (Some(3), 1, Vec::new()));
}
