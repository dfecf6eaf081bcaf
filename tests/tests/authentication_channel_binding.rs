//! SCRAM-SHA-256-PLUS towards clients: offered over TLS and never without, with libpq as the judge of the hash, and
//! PostgreSQL's own words for who is between, or believes that somebody is.

use pgwarden_tests::certificates::{Authority, Identity};
use pgwarden_tests::encryption::{Way, assert_refused, before, way};
use pgwarden_tests::reload::{OK, reload, write};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{
    Frontend, Message, Pgwarden, PgwardenBuilder, Server, Wire, for_each_version, psql, versions,
};
use postgres_protocol::authentication::sasl::{ChannelBinding, ScramSha256};

const PLAIN: &str = "SCRAM-SHA-256";
const PLUS: &str = "SCRAM-SHA-256-PLUS";

/// A pgwarden that asks for SCRAM, before a server that trusts it.
fn asking(server: &Server, method: &str) -> PgwardenBuilder {
    let builder = before(server).env("PGWARDEN_AUTH", method);
    builder.file("users", "\"postgres\" \"secret\"\n").env("PGWARDEN_USERS_FILE", "{dir}/users")
}

fn with_tls(server: &Server, identity: &Identity) -> Pgwarden {
    asking(server, "scram-sha-256").tls("allow", identity).start()
}

/// How psql gets in with a password and parameters of libpq.
fn log_in(pgwarden: &Pgwarden, password: &str, parameters: &str) -> Way {
    let url = format!("{}?{parameters}", pgwarden.url("postgres", password, "postgres"));
    way(&psql(&url, &["-c", "\\conninfo"]))
}

/// A client that has asked for TLS.
#[track_caller]
fn encrypted(port: u16, authority: &Authority) -> Wire {
    let mut wire = Wire::connect(port);
    wire.request_tls(&authority.client(None, &[]));
    wire
}

/// The mechanisms that somebody is offered.
#[track_caller]
fn offered(wire: &mut Wire) -> Vec<String> {
    wire.startup(&[("user", "postgres"), ("database", "postgres")]);
    let body = wire.expect("R").remove(0).body;
    assert_eq!(body[..4], [0, 0, 0, 10]);
    let names = body[4..].split(|byte| *byte == 0).filter(|name| !name.is_empty());
    names.map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// What somebody is answered who chooses this mechanism and begins with this message.
#[track_caller]
fn answer(wire: &mut Wire, mechanism: &str, first: &str) -> Result<Message, Fields> {
    offered(wire);
    wire.send(&Frontend::new().sasl_initial(mechanism, first.as_bytes()));
    let answer = wire.receive();
    if answer.tag == b'E' { Err(answer.fields()) } else { Ok(answer) }
}

/// A whole exchange with a binding of one's own.
#[track_caller]
fn exchange(wire: &mut Wire, mechanism: &str, binding: ChannelBinding, password: &str) -> Result<(), Fields> {
    offered(wire);
    let mut scram = ScramSha256::new(password.as_bytes(), binding);
    wire.send(&Frontend::new().sasl_initial(mechanism, scram.message()));
    scram.update(&wire.expect("R")[0].body[4..]).expect("a challenge");
    wire.send(&Frontend::new().sasl(scram.message()));
    let answer = wire.receive();
    if answer.tag == b'E' {
        return Err(answer.fields());
    }
    scram.finish(&answer.body[4..]).expect("pgwarden knows the password as well");
    wire.until_ready();
    Ok(())
}

/// SQLSTATE, message and detail.
fn words(error: &Fields) -> [String; 3] {
    [error.code(), error.message(), error.detail()].map(str::to_owned)
}

#[test]
fn libpq_binds_its_login_to_the_connection_and_may_insist_on_it() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = with_tls(server, &authority.server());
        for binding in ["disable", "prefer", "require"] {
            let parameters = format!("sslmode=require&channel_binding={binding}");
            assert_eq!(log_in(&pgwarden, "secret", &parameters), Way::Encrypted, "{binding}");
            let wrong = log_in(&pgwarden, "wrong", &parameters);
            assert_refused(&wrong, "password authentication failed for user \"postgres\"", binding);
        }
        let clear = log_in(&pgwarden, "secret", "sslmode=disable&channel_binding=require");
        assert_refused(&clear, "channel binding required, but SSL not in use", "clear text");
        assert_eq!(log_in(&pgwarden, "secret", "sslmode=disable&channel_binding=prefer"), Way::Clear);
    });
}

#[test]
fn binding_is_offered_over_tls_first_and_never_without() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = with_tls(server, &authority.server());
        assert_eq!(offered(&mut encrypted(pgwarden.port(), &authority)), [PLUS, PLAIN]);
        assert_eq!(offered(&mut Wire::connect(pgwarden.port())), [PLAIN]);
        let mut direct = Wire::connect(pgwarden.port());
        direct.start_tls(&authority.client(None, &["postgresql"])).expect("direct TLS");
        assert_eq!(offered(&mut direct), [PLUS, PLAIN]);
        let without = asking(server, "scram-sha-256").start();
        assert_eq!(offered(&mut Wire::connect(without.port())), [PLAIN]);
        let mut clear = Wire::connect(pgwarden.port());
        let error = answer(&mut clear, PLUS, "p=tls-server-end-point,,n=,r=abc").expect_err("not offered");
        assert_eq!(error.code(), "08P01");
        assert_eq!(error.message(), "client selected an invalid SASL authentication mechanism");
    });
}

/// libpq hashes the certificate by itself: with the hash of its signature, or SHA-256 in place of an older one.
#[test]
fn the_certificate_is_hashed_as_libpq_hashes_it() {
    for_each_version(async |server| {
        let authority = Authority::create();
        const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        const RSA: [&str; 2] = ["-newkey", "rsa:2048"];
        const PSS: [&str; 4] = ["-newkey", "rsa:2048", "-sigopt", "rsa_padding_mode:pss"];
        let signatures = [
            (&EC[..], "-sha1"),
            (&EC, "-sha256"),
            (&EC, "-sha384"),
            (&EC, "-sha512"),
            (&RSA, "-sha1"),
            (&RSA, "-sha384"),
            (&PSS, "-sha256"),
            (&PSS, "-sha512"),
        ];
        for (key, hash) in signatures {
            let pgwarden = with_tls(server, &authority.self_signed(&[key, &[hash]].concat()));
            let way = log_in(&pgwarden, "secret", "sslmode=require&channel_binding=require");
            assert_eq!(way, Way::Encrypted, "{key:?} {hash}");
        }
    });
}

/// RFC 5929 has no hash for such a signature, and libpq cannot bind to it either.
#[test]
fn a_certificate_without_a_hash_is_not_bound_to() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = with_tls(server, &authority.self_signed(&["-newkey", "ed25519"]));
        let parameters = |binding: &str| format!("sslmode=require&channel_binding={binding}");
        assert_eq!(log_in(&pgwarden, "secret", &parameters("prefer")), Way::Encrypted);
        let demanded = log_in(&pgwarden, "secret", &parameters("require"));
        assert_refused(&demanded, "channel binding is required", "require");
    });
}

#[test]
fn a_driver_that_does_not_bind_gets_in_as_before() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = with_tls(server, &authority.server());
        let mut wire = encrypted(pgwarden.port(), &authority);
        assert_eq!(exchange(&mut wire, PLAIN, ChannelBinding::unsupported(), "secret"), Ok(()));
        assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
        // Where it was not offered, a client that could bind says so.
        let mut clear = Wire::connect(pgwarden.port());
        assert_eq!(exchange(&mut clear, PLAIN, ChannelBinding::unrequested(), "secret"), Ok(()));
    });
}

#[test]
fn a_client_bound_to_another_certificate_is_not_let_in() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = with_tls(server, &authority.server());
        for (hash, password) in [(vec![7; 32], "secret"), (vec![], "secret"), (vec![7; 32], "wrong")] {
            let mut wire = encrypted(pgwarden.port(), &authority);
            let binding = ChannelBinding::tls_server_end_point(hash);
            let error = exchange(&mut wire, PLUS, binding, password).expect_err("somebody is between");
            assert_eq!((error.severity(), error.code()), ("FATAL", "28000"));
            assert_eq!(error.message(), "SCRAM channel binding check failed");
            assert_eq!(wire.ended(), []);
        }
    });
}

/// Each of these is refused with SQLSTATE, message and detail of the server itself.
#[test]
fn a_removed_offer_and_other_contradictions_are_refused_in_the_servers_words() {
    for version in versions() {
        let authority = Authority::create();
        let identity = authority.server();
        let server = Server::builder(version)
            .tls(&identity.certificate, &identity.key)
            .access("host all asked 127.0.0.1/32 scram-sha-256")
            .start();
        server.psql("SET password_encryption = 'scram-sha-256'; CREATE ROLE asked LOGIN PASSWORD 'secret'");
        let builder = before(&server).file("users", "\"asked\" \"secret\"\n").tls("allow", &identity);
        let builder = builder.env("PGWARDEN_AUTH", "scram-sha-256").env("PGWARDEN_USERS_FILE", "{dir}/users");
        let pgwarden = builder.start();
        for (mechanism, first, sqlstate) in [
            (PLAIN, "y,,n=,r=abc", "28000"),
            (PLUS, "n,,n=,r=abc", "08P01"),
            (PLUS, "y,,n=,r=abc", "08P01"),
            (PLAIN, "p=tls-server-end-point,,n=,r=abc", "08P01"),
        ] {
            let [expected, found] = [server.port(), pgwarden.port()].map(|port| {
                let mut wire = encrypted(port, &authority);
                wire.startup(&[("user", "asked"), ("database", "postgres")]);
                wire.expect("R");
                wire.send(&Frontend::new().sasl_initial(mechanism, first.as_bytes()));
                words(&wire.expect("E")[0].fields())
            });
            assert_eq!(found, expected, "{mechanism} {first}");
            assert_eq!(found[0], sqlstate, "{mechanism} {first}");
        }
        let [expected, found] = [server.port(), pgwarden.port()].map(|port| {
            let mut wire = encrypted(port, &authority);
            wire.startup(&[("user", "asked"), ("database", "postgres")]);
            wire.expect("R");
            wire.send(&Frontend::new().sasl_initial(PLUS, b"p=tls-unique,,n=,r=abc"));
            wire.expect("E")[0].fields().code().to_owned()
        });
        assert_eq!((&*found, &*expected), ("08P01", "08P01"));
    }
}

#[test]
fn where_binding_is_demanded_nobody_gets_in_without() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let pgwarden = asking(server, "scram-sha-256-plus").tls("allow", &authority.server()).start();
        assert_eq!(offered(&mut encrypted(pgwarden.port(), &authority)), [PLUS]);
        for binding in ["prefer", "require"] {
            let parameters = format!("sslmode=require&channel_binding={binding}");
            assert_eq!(log_in(&pgwarden, "secret", &parameters), Way::Encrypted, "{binding}");
            let wrong = log_in(&pgwarden, "wrong", &parameters);
            assert_refused(&wrong, "password authentication failed", binding);
        }
        let mut wire = encrypted(pgwarden.port(), &authority);
        let error = answer(&mut wire, PLAIN, "n,,n=,r=abc").expect_err("not offered");
        assert_eq!(error.code(), "08P01");
        let mut clear = Wire::connect(pgwarden.port());
        clear.startup(&[("user", "postgres"), ("database", "postgres")]);
        let error = clear.expect("E")[0].fields();
        assert_eq!(error.code(), "28000", "{error}");
        assert_eq!(error.message(), "channel binding is required, and this connection has none");
    });
}

#[test]
fn binding_cannot_be_demanded_where_there_is_no_tls() {
    let builder = Pgwarden::builder().upstream("postgres://app@127.0.0.1:1/postgres");
    let builder = builder.env("PGWARDEN_AUTH", "scram-sha-256-plus").file("users", "\"a\" \"b\"\n");
    let exit = builder.env("PGWARDEN_USERS_FILE", "{dir}/users").run(&["config", "check"]);
    assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
    assert!(exit.stderr.contains("scram-sha-256-plus needs TLS to bind to"), "{}", exit.stderr);
}

#[test]
fn behind_a_reload_logins_are_bound_to_the_new_certificate() {
    for_each_version(async |server| {
        let authority = Authority::create();
        let (old, new) = (authority.server(), authority.server());
        let pgwarden = with_tls(server, &old);
        const PARAMETERS: &str = "sslmode=require&channel_binding=require";
        assert_eq!(log_in(&pgwarden, "secret", PARAMETERS), Way::Encrypted);
        write(&pgwarden, "server.crt", &new.certificate);
        write(&pgwarden, "server.key", &new.key);
        reload(&pgwarden, OK);
        assert_eq!(log_in(&pgwarden, "secret", PARAMETERS), Way::Encrypted);
    });
}
