//! The first packets of a session: protocol versions, extensions nobody knows, and keys that cancel.

use pgwarden_tests::wire::{Fields, PROTOCOL_3_0, PROTOCOL_3_2, tags};
use pgwarden_tests::{
    Frontend, Message, Pgwarden, PgwardenBuilder, Server, Version, Wire, for_each_version, psql_with_libpq,
    until, versions,
};

const MAJOR_3: u32 = 3 << 16;

/// pgwarden that has learned which server stands behind it.
#[track_caller]
fn before(server: &Server, tell: impl FnOnce(PgwardenBuilder) -> PgwardenBuilder) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url());
    let pgwarden = tell(Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust")).start();
    until("pgwarden knows the server", || (pgwarden.admin("/readyz").0 == 200).then_some(()));
    pgwarden
}

/// A login with a protocol version and more parameters, up to ReadyForQuery.
#[track_caller]
fn log_in(port: u16, protocol: u32, more: &[(&str, &str)]) -> (Wire, Vec<Message>) {
    let mut wire = Wire::connect(port);
    let parameters = [&[("user", "postgres"), ("database", "postgres")], more].concat();
    wire.send(&Frontend::new().startup(protocol, &parameters));
    let greeting =
        wire.authenticate("postgres", "").unwrap_or_else(|error| panic!("{protocol:#x}: {error:?}"));
    (wire, greeting)
}

/// The greeting as far as it has to be the server's: without the values of settings and without the key itself.
fn outline(greeting: &[Message]) -> (String, Vec<Message>, usize) {
    let mut order = tags(greeting);
    order.retain(|tag| tag != 'S');
    let negotiated = greeting.iter().filter(|message| message.tag == b'v').cloned().collect();
    let key = greeting.iter().find(|message| message.tag == b'K').expect("a key");
    (order, negotiated, key.backend_key().1.len())
}

fn can_3_2(server: &Server) -> bool {
    server.version() >= Version(18)
}

#[test]
fn protocol_3_0_is_answered_without_negotiation_and_with_a_short_key() {
    for_each_version(async |server| {
        for pooling in ["transaction", "session"] {
            let pgwarden = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", pooling));
            let (mut wire, greeting) = log_in(pgwarden.port(), PROTOCOL_3_0, &[]);
            assert_eq!(outline(&greeting), ("RKZ".to_owned(), vec![], 4), "{pooling}");
            assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
        }
    });
}

#[test]
fn protocol_3_2_is_spoken_where_the_server_can_and_talked_down_where_it_cannot() {
    for_each_version(async |server| {
        for pooling in ["transaction", "session"] {
            let pgwarden = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", pooling));
            let (mut wire, greeting) = log_in(pgwarden.port(), PROTOCOL_3_2, &[]);
            let (order, negotiated, key) = outline(&greeting);
            if can_3_2(server) {
                assert_eq!((order.as_str(), key), ("RKZ", 32), "{pooling}: {greeting:?}");
            } else {
                assert_eq!((order.as_str(), key), ("vRKZ", 4), "{pooling}: {greeting:?}");
                assert_eq!(negotiated[0].body, [0, 3, 0, 0, 0, 0, 0, 0], "3.0, and no options");
            }
            assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
        }
    });
}

#[test]
fn negotiation_is_the_servers_to_the_last_byte() {
    for_each_version(async |server| {
        let pgwarden = before(server, |builder| builder);
        let long = format!("_pq_.{}", "x".repeat(2000));
        let cases: [(u32, &[(&str, &str)]); 9] = [
            (PROTOCOL_3_0, &[]),
            (PROTOCOL_3_0, &[("_pq_.command_progress", "on")]),
            (PROTOCOL_3_2, &[]),
            (PROTOCOL_3_2, &[("_pq_.one", "1"), ("application_name", "a"), ("_pq_.two", "")]),
            (PROTOCOL_3_2, &[("_pq_.", "empty"), ("_pq_.one", "1"), ("_pq_.one", "again")]),
            (MAJOR_3 | 3, &[]),
            (MAJOR_3 | 9999, &[]),
            (MAJOR_3 | 9999, &[("_pq_.test_protocol_negotiation", "")]),
            (MAJOR_3 | 0xffff, &[(&long, "on")]),
        ];
        for (protocol, more) in cases {
            let (mut found, greeting) = log_in(pgwarden.port(), protocol, more);
            let (_direct, expected) = log_in(server.port(), protocol, more);
            assert_eq!(outline(&greeting), outline(&expected), "{protocol:#x} {more:?}");
            assert_eq!(found.rows("SELECT 1"), [[Some("1".to_owned())]]);
        }
    });
}

#[test]
fn negotiation_comes_before_authentication() {
    for_each_version(async |server| {
        let users = |builder: PgwardenBuilder| {
            let builder = builder.file("users", "\"postgres\" \"secret\"\n");
            builder.env("PGWARDEN_AUTH", "scram-sha-256").env("PGWARDEN_USERS_FILE", "{dir}/users")
        };
        let pgwarden = before(server, users);
        let mut wire = Wire::connect(pgwarden.port());
        let parameters = [("user", "postgres"), ("database", "postgres"), ("_pq_.unknown", "")];
        wire.send(&Frontend::new().startup(MAJOR_3 | 9999, &parameters));
        let greeting = wire.authenticate("postgres", "secret").expect("the password is right");
        let (order, ..) = outline(&greeting);
        assert_eq!(order, "vRRRRKZ");
    });
}

#[test]
fn other_major_versions_are_not_supported() {
    for_each_version(async |server| {
        let pgwarden = before(server, |builder| builder);
        let refused = |port, protocol| -> Fields {
            let start = Frontend::new().startup(protocol, &[("user", "postgres"), ("database", "postgres")]);
            Wire::connect(port).fatal(&start)
        };
        for (major, minor) in
            [(0, 0), (1, 0), (2, 0), (2, 9999), (4, 0), (4, 2), (0x7fff, 1), (0xffff, 0xffff)]
        {
            let protocol = major << 16 | minor;
            let found = refused(pgwarden.port(), protocol);
            assert_eq!((found.severity(), found.code()), ("FATAL", "0A000"), "{found}");
            // The server answers versions before 3 in the form of those.
            if major > 3 {
                assert_eq!(refused(server.port(), protocol).code(), found.code());
            }
            let text = format!("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.");
            assert!(found.message().starts_with(&text), "{found}");
        }
        let counted = pgwarden.metric("pgwarden_logins_total{outcome=\"refused_feature\"}");
        assert_eq!(counted, Some(8.0), "each is a feature that there is not");
    });
}

/// The newest libpq asks for 3.2 when it is told to, and insists when it is told so.
#[test]
fn libpq_18_negotiates() {
    if !versions().contains(&Version(18)) {
        return;
    }
    for_each_version(async |server| {
        let pgwarden = before(server, |builder| builder);
        let run = |parameters: &str| {
            let url = format!("{}?{parameters}", pgwarden.url("postgres", "", "postgres"));
            psql_with_libpq(Version(18), &url, &["-c", "SELECT 40 + 2"])
        };
        let latest = run("max_protocol_version=latest");
        assert_eq!(String::from_utf8_lossy(&latest.stdout), "42\n", "{latest:?}");
        let insisting = run("min_protocol_version=3.2&max_protocol_version=latest");
        assert_eq!(insisting.status.success(), can_3_2(server), "{insisting:?}");
    });
}

const SLEEPS: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

#[track_caller]
fn sleep(server: &Server, wire: &mut Wire) {
    wire.send(&Frontend::new().query("SELECT pg_sleep(60)"));
    until("the query runs", || (server.psql(SLEEPS) == "1").then_some(()));
}

#[test]
fn a_key_of_either_length_cancels_and_nothing_that_only_looks_like_it() {
    for_each_version(async |server| {
        for (pooling, protocol) in [
            ("transaction", PROTOCOL_3_0),
            ("transaction", PROTOCOL_3_2),
            ("session", PROTOCOL_3_0),
            ("session", PROTOCOL_3_2),
        ] {
            let pgwarden = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", pooling));
            let (mut wire, _) = log_in(pgwarden.port(), protocol, &[]);
            let (mut bystander, _) = log_in(pgwarden.port(), protocol, &[]);
            sleep(server, &mut wire);
            let (pid, secret) = wire.key.clone();
            let wrong = wrong_keys(&secret);
            for other in &wrong {
                cancel(&pgwarden, pid, other);
            }
            cancel(&pgwarden, pid.wrapping_add(1), &secret);
            let unknown = pgwarden.metric("pgwarden_cancels_total{outcome=\"unknown\"}");
            assert_eq!(unknown, Some(f64::from(u8::try_from(wrong.len() + 1).expect("few"))), "{pooling}");
            assert_eq!(server.psql(SLEEPS), "1", "{pooling} {protocol:#x}: a wrong key has cancelled");

            wire.cancel();
            let answers = wire.until_ready();
            let error = answers.iter().find(|message| message.tag == b'E').expect("an error");
            assert_eq!(error.fields().code(), "57014", "{pooling} {protocol:#x}");
            assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
            assert_eq!(bystander.rows("SELECT 1"), [[Some("1".to_owned())]]);
            let forwarded = pgwarden.metric("pgwarden_cancels_total{outcome=\"forwarded\"}");
            assert_eq!(forwarded, Some(1.0), "{pooling} {protocol:#x}");
        }
    });
}

/// Keys that share much with the right one.
fn wrong_keys(secret: &[u8]) -> Vec<Vec<u8>> {
    let mut last = secret.to_vec();
    *last.last_mut().expect("a key is not empty") ^= 1;
    let shorter = secret[..secret.len() - 1].to_vec();
    let longest = [secret, &vec![0; 256 - secret.len()]].concat();
    vec![last, shorter, [secret, &[0]].concat(), [secret, secret].concat(), longest, vec![0; 4]]
}

#[track_caller]
fn cancel(pgwarden: &Pgwarden, pid: i32, secret: &[u8]) {
    let mut other = Wire::connect(pgwarden.port());
    other.send(&Frontend::new().cancel(pid, secret));
    assert_eq!(other.ended(), [], "a cancel is never answered");
}

#[test]
fn the_servers_own_key_is_never_given_away() {
    for_each_version(async |server| {
        for pooling in ["transaction", "session"] {
            let pgwarden = before(server, |builder| builder.env("PGWARDEN_POOL_MODE", pooling));
            let (mut wire, _) = log_in(pgwarden.port(), PROTOCOL_3_0, &[]);
            sleep(server, &mut wire);
            let mut direct = Wire::connect(server.port());
            direct.send(&Frontend::new().cancel(wire.key.0, &wire.key.1));
            assert_eq!(direct.ended(), []);
            until("the server has looked at the key", || {
                let log = server.log();
                let refused = ["wrong key in cancel request", "did not match any process"];
                refused.iter().any(|text| log.contains(text)).then_some(())
            });
            assert_eq!(server.psql(SLEEPS), "1", "{pooling}");
            wire.cancel();
            wire.until_ready();
        }
    });
}
