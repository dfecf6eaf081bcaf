//! What nobody should send before a session begins: every connection ends with a FATAL error that says why, and the
//! next client is served.

use pgwarden_tests::tenants::{GLOBEX, Tenants, run, value, values};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0};
use pgwarden_tests::{Frontend, Wire, for_each_version, until};

const USER: &str = "user\0globex\0database\0postgres\0\0";

/// What is said to bytes that open a connection.
#[track_caller]
fn opening(stage: &Tenants<'_>, bytes: &[u8]) -> Fields {
    Wire::connect(stage.pgwarden.port()).fatal(&Frontend::new().raw(bytes))
}

/// A first packet with its right length.
fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(rest.len() + 8).expect("small");
    [&length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
}

#[track_caller]
fn assert_next_is_served(stage: &Tenants<'_>) {
    assert_eq!(value(&stage.client("globex").query("SELECT org()")).as_deref(), Some(GLOBEX));
}

#[track_caller]
fn assert_error(error: &Fields, code: &str, message: &str) {
    assert_eq!((error.severity(), error.code(), error.message()), ("FATAL", code, message));
}

#[test]
fn a_first_packet_of_impossible_length_is_refused_before_the_rest_of_it_comes() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for length in [0, 1, 4, 7, 10_001, 0x00ff_ffff, i32::MAX, -1, i32::MIN] {
            let error = opening(&stage, &length.to_be_bytes());
            assert_error(&error, "08P01", "invalid length of startup packet");
        }
        assert_next_is_served(&stage);
    });
}

#[test]
fn what_speaks_another_protocol_is_told_and_let_go() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let strangers: [&[u8]; 6] = [
            b"GET / HTTP/1.1\r\nHost: pgwarden\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"\xde\xad\xbe\xef\xde\xad\xbe\xef",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", // TLS, where there is no certificate
            b"Q\0\0\0\x0dSELECT 1\0",
        ];
        for bytes in strangers {
            let error = opening(&stage, bytes);
            assert_error(&error, "08P01", "invalid length of startup packet");
        }
        assert_next_is_served(&stage);
    });
}

#[test]
fn an_unknown_major_version_is_not_supported() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for (code, shown) in
            [(0x0002_0000, "2.0"), (0x0004_0000, "4.0"), (0, "0.0"), (0x7fff_ffff, "32767.65535")]
        {
            let error = opening(&stage, &packet(code, USER.as_bytes()));
            let message = format!("unsupported frontend protocol {shown}: server supports 3.0 to 3.2");
            assert_error(&error, "0A000", &message);
        }
        assert_next_is_served(&stage);
    });
}

#[test]
fn a_newer_minor_version_is_talked_down() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        stage.client("globex").rows("SELECT 1");
        let mut wire = Wire::connect(stage.pgwarden.port());
        let parameters = [("user", "globex"), ("database", "postgres"), ("_pq_.wish", "1")];
        wire.send(&Frontend::new().startup(0x0003_270f, &parameters));
        let answer = wire.receive();
        let offered = if server.version().0 >= 18 { 2 } else { 0 };
        let expected = [&[0, 3, 0, offered, 0, 0, 0, 1], b"_pq_.wish\0".as_slice()].concat();
        assert_eq!((answer.tag, answer.body), (b'v', expected));
        wire.authenticate("globex", "").expect("the rest is as ever");
        assert_eq!(value(&wire.query("SELECT org()")).as_deref(), Some(GLOBEX));
    });
}

#[test]
fn a_startup_without_a_user_is_refused() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for rest in ["\0", "database\0postgres\0\0", "user\0\0database\0postgres\0\0", "USER\0globex\0\0"] {
            let error = opening(&stage, &packet(PROTOCOL_3_0, rest.as_bytes()));
            assert_error(&error, "28000", "no PostgreSQL user name specified in startup packet");
            let direct = Wire::connect(server.port())
                .fatal(&Frontend::new().raw(&packet(PROTOCOL_3_0, rest.as_bytes())));
            assert_eq!(
                (direct.code(), direct.message()),
                (error.code(), error.message()),
                "the server's own"
            );
        }
        assert_next_is_served(&stage);
    });
}

#[test]
fn a_startup_that_does_not_fill_its_packet_is_malformed() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let layouts: [&[u8]; 8] = [
            b"",
            b"user",
            b"user\0",
            b"user\0globex",
            b"user\0globex\0",
            b"user\0globex\0database\0postgres\0",
            b"user\0globex\0\0database\0postgres\0\0",
            b"user\0globex\0\0\0",
        ];
        for rest in layouts {
            let error = opening(&stage, &packet(PROTOCOL_3_0, rest));
            assert_error(&error, "08P01", "invalid startup packet layout: expected terminator as last byte");
        }
        let error = opening(&stage, &packet(PROTOCOL_3_0, b"user\0gl\xffbex\0\0"));
        assert_error(&error, "08P01", "startup parameter is not valid UTF-8");
        let error = opening(&stage, &packet(PROTOCOL_3_0, b"user\0globex\0options\0-c\0\0"));
        assert_error(&error, "42601", "invalid command-line argument for server process: -c");
        assert_next_is_served(&stage);
    });
}

#[test]
fn requests_with_more_in_them_than_they_say_are_malformed() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (ssl, gss, cancel) = (80_877_103, 80_877_104, 80_877_102);
        let malformed = [
            packet(ssl, b"x"),
            packet(gss, b"x"),
            packet(cancel, b""),
            packet(cancel, b"\0\0\0\x01"),
            packet(cancel, &[1; 4 + 257]),
        ];
        for bytes in malformed {
            let error = opening(&stage, &bytes);
            assert_error(&error, "08P01", "invalid startup packet layout: expected terminator as last byte");
        }
        assert_next_is_served(&stage);
    });
}

#[test]
fn the_longest_startup_packet_is_taken_and_one_byte_more_is_not() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let startup = |length: usize| {
            let around = b"user\0globex\0database\0postgres\0application_name\0\0\0".len();
            let name = "x".repeat(length - 8 - around);
            let parameters = [("user", "globex"), ("database", "postgres"), ("application_name", &*name)];
            Frontend::new().startup(PROTOCOL_3_0, &parameters)
        };
        assert_eq!(startup(10_000).bytes().len(), 10_000);
        let mut wire = Wire::connect(stage.pgwarden.port());
        wire.send(&startup(10_000));
        wire.authenticate("globex", "").expect("10,000 bytes are taken");
        assert_eq!(value(&wire.query("SELECT org()")).as_deref(), Some(GLOBEX));
        let error = Wire::connect(stage.pgwarden.port()).fatal(&startup(10_001));
        assert_error(&error, "08P01", "invalid length of startup packet");
    });
}

#[test]
fn a_client_that_goes_in_the_middle_of_its_startup_leaves_nothing() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
        let bytes = startup.bytes();
        for end in [0, 1, 3, 4, 7, 8, 20, bytes.len() - 1] {
            let mut wire = Wire::connect(stage.pgwarden.port());
            wire.send_bytes(&bytes[..end]);
            wire.close_sending();
            assert_eq!(wire.ended(), [], "{end} bytes deserve no answer");
        }
        until("all are counted", || {
            (stage.pgwarden.metric("pgwarden_logins_total{outcome=\"abandoned\"}")? >= 8.0).then_some(())
        });
        until("none is kept", || (stage.pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
        assert_next_is_served(&stage);
    });
}

#[test]
fn a_startup_that_never_ends_is_cut_off() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| {
            let limits = "[limits]\nlogin_timeout = \"1s\"\n";
            builder.config(limits)
        });
        let mut wire = Wire::connect(stage.pgwarden.port());
        wire.send_bytes(&[0, 0, 0, 200, 0, 3]);
        assert_eq!(wire.ended(), []);
        assert_next_is_served(&stage);
    });
}

#[test]
fn an_encryption_request_is_answered_once() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (ssl, gss) = (Frontend::new().ssl_request(), Frontend::new().gssenc_request());
        let mut wire = Wire::connect(stage.pgwarden.port());
        for request in [&gss, &ssl] {
            wire.send(request);
            assert_eq!(wire.receive_bytes(1), b"N");
        }
        wire.log_in("globex", "", "postgres");
        assert_eq!(value(&wire.query("SELECT org()")).as_deref(), Some(GLOBEX));
        for request in [&gss, &ssl] {
            let mut wire = Wire::connect(stage.pgwarden.port());
            wire.send(request);
            assert_eq!(wire.receive_bytes(1), b"N");
            let error = wire.fatal(request);
            assert!(["08P01", "0A000"].contains(&error.code()), "{error}");
        }
    });
}

#[test]
fn what_is_sent_right_behind_the_startup_is_served() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "globex"), ("database", "postgres")]);
        let all = startup.query("SELECT org()").raw(run("SELECT org()").sync().bytes()).terminate();
        for size in [all.bytes().len(), 1, 7] {
            let mut wire = Wire::connect(stage.pgwarden.port());
            wire.send_in_pieces(all.bytes(), size);
            assert_eq!(values(&wire.ended()), [GLOBEX, GLOBEX], "in pieces of {size}");
        }
    });
}

#[test]
fn replication_connections_are_refused_as_not_supported() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for wish in ["true", "on", "yes", "1", "database", "DATABASE", "TRUE", "t", "nonsense"] {
            let mut wire = Wire::connect(stage.pgwarden.port());
            let parameters = [("user", "globex"), ("database", "postgres"), ("replication", wish)];
            let error = wire.fatal(&Frontend::new().startup(PROTOCOL_3_0, &parameters));
            assert_error(&error, "0A000", "replication connections are not supported");
            assert!(!error.detail().is_empty() && !error.hint().is_empty(), "{error}");
        }
        for wish in ["false", "off", "no", "0"] {
            let mut wire = Wire::connect(stage.pgwarden.port());
            let parameters = [("user", "globex"), ("database", "postgres"), ("replication", wish)];
            wire.try_log_in("", &parameters).unwrap_or_else(|error| panic!("{wish}: {error:?}"));
        }
        assert_next_is_served(&stage);
    });
}

#[test]
fn many_bad_openings_cost_no_backend_and_no_place() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        stage.client("globex").rows("SELECT 1");
        for number in 0..300_u32 {
            let mut wire = Wire::connect(stage.pgwarden.port());
            wire.send_bytes(&number.wrapping_mul(0x9e37_79b9).to_be_bytes());
            wire.send_bytes(b"\0\0\0\0");
        }
        until("all are gone", || (stage.pgwarden.metric("pgwarden_clients") == Some(0.0)).then_some(()));
        assert_eq!(stage.pgwarden.metric("pgwarden_backends"), Some(1.0));
        assert_next_is_served(&stage);
    });
}
