//! SCRAM-SHA-256-PLUS towards the server: used where it is offered, demanded where that is configured, and a stripped
//! offer is noticed by the server.

#[path = "authentication_channel_binding_server/encrypted.rs"]
mod encrypted;

use encrypted::Encrypted;
use pgwarden_tests::certificates::{Authority, Identity};
use pgwarden_tests::{Frontend, Pgwarden, Server, Version, Wire, until, versions};

const PLAIN: &[u8] = b"SCRAM-SHA-256\0\0";
const BOTH: &[u8] = b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";

/// A server with TLS that asks `app` for SCRAM there, and for nothing less anywhere.
fn asking(version: Version, identity: &Identity) -> Server {
    let server = Server::builder(version)
        .tls(&identity.certificate, &identity.key)
        .set("password_encryption", "scram-sha-256")
        .access("host all app 127.0.0.1/32 scram-sha-256")
        .access("host all trusted 127.0.0.1/32 trust")
        .access("host all clear 127.0.0.1/32 password")
        .access("host all hashed 127.0.0.1/32 md5")
        .start();
    for user in ["app", "trusted", "clear"] {
        server.psql(&format!("CREATE ROLE {user} LOGIN PASSWORD 'secret'"));
    }
    server.psql("SET password_encryption = md5; CREATE ROLE hashed LOGIN PASSWORD 'secret'");
    server
}

/// pgwarden that logs in there as `user`, with parameters of the URL.
fn before(port: u16, user: &str, parameters: &str) -> Pgwarden {
    let upstream = format!("postgres://{user}:secret@localhost:{port}/postgres?{parameters}");
    Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust").start()
}

/// Whether a client gets a row, or the SQLSTATE that it is told.
#[track_caller]
fn works(pgwarden: &Pgwarden) -> Result<(), String> {
    let mut wire = Wire::connect(pgwarden.port());
    match wire.try_log_in("", &[("user", "anyone"), ("database", "postgres")]) {
        Ok(_) => {
            assert_eq!(wire.rows("SELECT 1"), [[Some("1".to_owned())]]);
            Ok(())
        }
        Err(error) => Err(error.fields().code().to_owned()),
    }
}

/// No client gets in, and the log says why.
#[track_caller]
fn assert_refused(pgwarden: &Pgwarden, reason: &str) {
    assert_eq!(works(pgwarden), Err("57P03".to_owned()), "{reason}");
    until(&format!("the log says {reason:?}"), || pgwarden.stderr().contains(reason).then_some(()));
}

#[test]
fn a_login_is_bound_to_the_connection_where_that_is_demanded() {
    for version in versions() {
        let authority = Authority::create();
        let server = asking(version, &authority.server());
        for parameters in ["sslmode=prefer", "sslmode=require"] {
            for binding in ["disable", "prefer", "require"] {
                let parameters = format!("{parameters}&channel_binding={binding}");
                assert_eq!(works(&before(server.port(), "app", &parameters)), Ok(()), "{parameters}");
            }
        }
        let upstream = format!("postgres://app:secret@localhost:{}/postgres?sslmode=require", server.port());
        let file = "[upstream.tls]\nchannel_binding = \"require\"\n";
        let builder = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust");
        let builder = builder.file("c.toml", file).argument("--config").argument("{dir}/c.toml");
        assert_eq!(works(&builder.start()), Ok(()));
    }
}

/// The server hashes its certificate by itself.
#[test]
fn the_certificate_is_hashed_as_the_server_hashes_it() {
    for version in versions() {
        let authority = Authority::create();
        const EC: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        const RSA: [&str; 2] = ["-newkey", "rsa:2048"];
        for (key, hash) in [(&EC[..], "-sha384"), (&EC, "-sha512"), (&RSA, "-sha1"), (&RSA, "-sha256")] {
            let identity = authority.self_signed(&[key, &[hash]].concat());
            // A server that may load a certificate signed with SHA-1.
            let server = Server::builder(version)
                .set("ssl_ciphers", "DEFAULT:@SECLEVEL=0")
                .set("password_encryption", "scram-sha-256")
                .tls(&identity.certificate, &identity.key)
                .access("host all app 127.0.0.1/32 scram-sha-256")
                .start();
            server.psql("CREATE ROLE app LOGIN PASSWORD 'secret'");
            let pgwarden = before(server.port(), "app", "sslmode=require&channel_binding=require");
            assert_eq!(works(&pgwarden), Ok(()), "{key:?} {hash}");
        }
    }
}

#[test]
fn where_binding_is_demanded_nothing_else_is_good_enough() {
    for version in versions() {
        let authority = Authority::create();
        let server = asking(version, &authority.server());
        for user in ["trusted", "clear", "hashed"] {
            for binding in ["disable", "prefer"] {
                let parameters = format!("sslmode=require&channel_binding={binding}");
                assert_eq!(works(&before(server.port(), user, &parameters)), Ok(()), "{user} {binding}");
            }
            let demanded = before(server.port(), user, "sslmode=require&channel_binding=require");
            assert_refused(&demanded, "asks for no authentication that can be bound to it");
        }
        let clear = Server::builder(version).access("host all app 127.0.0.1/32 scram-sha-256").start();
        clear.psql("SET password_encryption = 'scram-sha-256'; CREATE ROLE app LOGIN PASSWORD 'secret'");
        assert_eq!(works(&before(clear.port(), "app", "channel_binding=prefer")), Ok(()));
        assert_refused(&before(clear.port(), "app", "channel_binding=require"), "does not use TLS");
    }
}

/// Mechanism and first message with which pgwarden answers an offer; nothing if it hangs up instead.
#[track_caller]
fn answer(offer: &'static [u8], parameters: &str) -> (Pgwarden, String, String) {
    let authority = Authority::create();
    let server = Encrypted::start(&authority.server(), move |peer, _startup| {
        peer.ask(10, offer)?;
        Ok(peer.receive().map(|message| message.body).unwrap_or_default())
    });
    let pgwarden = before(server.port(), "app", parameters);
    let heard = server.heard();
    let end = heard.iter().position(|byte| *byte == 0).unwrap_or(heard.len());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (pgwarden, text(&heard[..end]), text(heard.get(end + 5..).unwrap_or_default()))
}

#[test]
fn the_best_offer_is_taken_and_a_missing_one_is_remarked_on() {
    let plus = ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=");
    let (could, cannot) = (("SCRAM-SHA-256", "y,,n=,r="), ("SCRAM-SHA-256", "n,,n=,r="));
    for (offer, parameters, expected) in [
        (BOTH, "sslmode=require", plus),
        (BOTH, "sslmode=require&channel_binding=require", plus),
        (BOTH, "sslmode=require&channel_binding=disable", cannot),
        (PLAIN, "sslmode=require", could),
        (PLAIN, "sslmode=require&channel_binding=disable", cannot),
    ] {
        let (_pgwarden, mechanism, first) = answer(offer, parameters);
        assert_eq!(mechanism, expected.0, "{parameters}");
        assert!(first.starts_with(expected.1), "{parameters}: {first}");
    }
}

#[test]
fn a_stripped_offer_is_not_answered_where_binding_is_demanded() {
    let (pgwarden, mechanism, first) = answer(PLAIN, "sslmode=require&channel_binding=require");
    assert_eq!((&*mechanism, &*first), ("", ""), "nothing is said to it");
    assert_refused(&pgwarden, "does not offer SCRAM-SHA-256-PLUS");
}

/// Neither the password nor a hash of it is told to a server that asks for it.
#[test]
fn no_password_is_sent_where_binding_is_demanded() {
    let authority = Authority::create();
    for (kind, data) in [(3, &b""[..]), (5, b"salt")] {
        let server = Encrypted::start(&authority.server(), move |peer, _startup| {
            peer.ask(kind, data)?;
            Ok([b"end", peer.rest().as_slice()].concat())
        });
        let pgwarden = before(server.port(), "app", "sslmode=require&channel_binding=require");
        assert_eq!(server.heard(), b"end");
        assert_refused(&pgwarden, "asks for no authentication that can be bound to it");
    }
}

/// Somebody between with a certificate of their own, who passes everything on; `offer` replaces what the server offers.
fn between(server: &Server, authority: &Authority, offer: &'static [u8]) -> Encrypted {
    let (port, client) = (server.port(), authority.client(None, &[]));
    Encrypted::start(&authority.stranger(), move |peer, startup| {
        let mut wire = Wire::connect(port);
        wire.request_tls(&client);
        let length = u32::try_from(startup.len() + 4).expect("a short packet").to_be_bytes();
        wire.send_bytes(&[&length[..], &startup].concat());
        wire.receive();
        peer.ask(10, offer)?;
        loop {
            let message = peer.receive()?;
            wire.send(&Frontend::new().message(message.tag, &message.body));
            let answer = wire.receive();
            peer.send(Frontend::new().message(answer.tag, &answer.body).bytes())?;
            if answer.tag == b'E' {
                return Ok(answer.body);
            }
        }
    })
}

/// Without a root certificate, TLS alone would not have noticed.
#[test]
fn somebody_between_is_found_out_by_the_server_itself() {
    for version in versions() {
        let authority = Authority::create();
        let server = asking(version, &authority.server());
        for (offer, reason) in
            [(PLAIN, "SCRAM channel binding negotiation error"), (BOTH, "SCRAM channel binding check failed")]
        {
            let attacker = between(&server, &authority, offer);
            let pgwarden = before(attacker.port(), "app", "sslmode=require");
            assert_refused(&pgwarden, reason);
        }
    }
}

#[test]
fn contradictions_of_the_configuration_are_named() {
    let check = |url: &str, file: &str| {
        let builder = Pgwarden::builder().upstream(url).env("PGWARDEN_AUTH", "trust").file("c.toml", file);
        let builder = builder.argument("--config").argument("{dir}/c.toml");
        let exit = builder.run(&["config", "check"]);
        assert_eq!(exit.status.code(), Some(64), "{url}: {}", exit.stderr);
        exit.stderr
    };
    let demanded = "[upstream.tls]\nchannel_binding = \"require\"\n";
    for (url, file, expected) in [
        ("postgres://a@h?sslmode=disable&channel_binding=require", "", "channel binding needs TLS"),
        ("postgres://a@h?sslmode=disable", demanded, "channel binding needs TLS"),
        ("postgres://a@/d?host=/tmp", demanded, "channel binding needs TLS"),
        ("postgres://a@h?channel_binding=prefer", demanded, "upstream.url says it already"),
        ("postgres://a@h?channel_binding=always", "", "has an unknown channel_binding"),
    ] {
        let said = check(url, file);
        assert!(said.contains(expected), "{url}: {said}");
    }
}
