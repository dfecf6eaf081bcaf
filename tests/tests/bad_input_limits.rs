//! Messages over a configured limit, and answers to authentication that are none: FATAL, before memory is taken.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0, tags};
use pgwarden_tests::{Frontend, PgwardenBuilder, Server, Wire, for_each_version, until};

const USERS: &str = "\"acme\" \"open sesame\"\n\"globex\" \"open sesame\"\n";

fn with_limits(builder: PgwardenBuilder, limits: &str) -> PgwardenBuilder {
    let text = format!("[limits]\n{limits}\n");
    builder.config(&text)
}

/// `SELECT org() -- …`, as a Query message of this many bytes.
fn query_of(length: usize) -> Frontend {
    let sql = "SELECT org() -- ";
    let message = Frontend::new().query(&format!("{sql}{}", "x".repeat(length - 6 - sql.len())));
    assert_eq!(message.bytes().len(), length);
    message
}

#[track_caller]
fn assert_too_long(error: &Fields, length: usize, limit: usize) {
    let message = format!("message of {length} bytes is over the limit of {limit} bytes");
    assert_eq!((error.severity(), error.code(), error.message()), ("FATAL", "54000", &*message));
    assert!(error.hint().contains("limits."), "{error}");
}

#[track_caller]
fn assert_next_is_served(stage: &Tenants<'_>) {
    assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    assert_eq!(values(&stage.client("globex").query("SELECT count(*) FROM notes")), ["0"]);
}

#[test]
fn a_message_over_the_limit_ends_the_session_and_one_of_just_the_limit_passes() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| with_limits(builder, "message_bytes = 4096"));
        let mut acme = stage.client("acme");
        acme.send(&query_of(4096));
        assert_eq!(values(&acme.until_ready()), [ACME]);
        acme.query("BEGIN; INSERT INTO notes VALUES ('never')");
        assert_too_long(&acme.fatal(&query_of(4097)), 4097, 4096);
        assert_next_is_served(&stage);
        let long = "x".repeat(5000);
        for message in [
            Frontend::new().parse("", &format!("SELECT '{long}'"), &[]),
            Frontend::new().parse("", "SELECT $1::text", &[]).bind("", "", &[Some(&long)]),
            Frontend::new().query("COPY notes FROM STDIN").copy_data(long.as_bytes()),
            Frontend::new().function_call(1, &[Some(long.as_bytes())]),
        ] {
            let mut acme = stage.client("acme");
            acme.send(&message);
            let end = acme.ended();
            assert_eq!(error_code(&end), "54000", "{end:?}");
            assert_next_is_served(&stage);
        }
        // What the server sends may be as long as it likes.
        assert_eq!(values(&stage.client("acme").query("SELECT length(repeat('x', 9000))")), ["9000"]);
        let row = stage.client("acme").query("SELECT repeat('x', 9000)");
        assert_eq!(values(&row)[0].len(), 9000);
    });
}

#[test]
fn the_limit_of_a_query_holds_for_what_is_read_whole_and_not_for_what_streams() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| with_limits(builder, "query_bytes = 4096"));
        let long = "x".repeat(100_000);
        let mut acme = stage.client("acme");
        acme.send(&query_of(4096));
        assert_eq!(values(&acme.until_ready()), [ACME]);
        let bind = Frontend::new().parse("", "SELECT length($1)", &[]).bind("", "", &[Some(&long)]);
        acme.send(&bind.execute("", 0).sync());
        assert_eq!(values(&acme.until_ready()), ["100000"]);
        acme.send(&Frontend::new().query("COPY notes FROM STDIN").copy_data(long.as_bytes()).copy_fail("no"));
        assert_eq!(tags(&acme.until_ready()), "GEZ");
        assert_too_long(&acme.fatal(&query_of(4097)), 4097, 4096);
        let parse = Frontend::new().parse("", &format!("SELECT '{long}'"), &[]);
        assert_too_long(&stage.client("acme").fatal(&parse), parse.bytes().len(), 4096);
        assert_next_is_served(&stage);
    });
}

#[test]
fn an_announced_gigabyte_costs_nothing_before_it_comes() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut waiting = Vec::new();
        let read = || stage.pgwarden.metric("pgwarden_frontend_bytes_total").unwrap_or_default();
        let before = read();
        for tag in [b'Q', b'P', b'B', b'D', b'E', b'C', b'F'] {
            for _ in 0..10 {
                let mut acme = stage.client("acme");
                acme.send_bytes(&[&[tag], &0x3fff_fff0_u32.to_be_bytes()[..], b"\0\0\0"].concat());
                waiting.push(acme);
            }
        }
        until("all of it is read", || (read() >= before + 70.0 * 8.0).then_some(()));
        let status = std::fs::read_to_string(format!("/proc/{}/status", stage.pgwarden.process_id()));
        let status = status.expect("it runs");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident size");
        let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(kilobytes < 300_000, "{resident} for 70 announced gigabytes");
        drop(waiting);
        assert_next_is_served(&stage);
    });
}

#[test]
fn clients_over_the_limit_are_refused_until_others_go() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| with_limits(builder, "max_clients = 2"));
        let (acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let startup = Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]);
        for _ in 0..3 {
            let error = Wire::connect(stage.pgwarden.port()).fatal(&startup);
            assert_eq!((error.code(), error.message()), ("53300", "sorry, too many clients already"));
            assert_eq!(error.detail(), "limits.max_clients is 2.");
        }
        assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
        drop(acme);
        until("it is gone", || (stage.pgwarden.metric("pgwarden_clients") == Some(1.0)).then_some(()));
        assert_eq!(values(&stage.client("acme").query("SELECT org()")), [ACME]);
    });
}

/// A pgwarden that asks for a password in this way.
fn asking<'a>(server: &'a Server, method: &str) -> Tenants<'a> {
    Tenants::start_with(server, |builder| {
        let builder = builder.env("PGWARDEN_AUTH", method).file("users.txt", USERS);
        builder.env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
    })
}

/// A connection that has been asked for its proof.
#[track_caller]
fn asked(stage: &Tenants<'_>) -> Wire {
    let mut wire = Wire::connect(stage.pgwarden.port());
    wire.send(&Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]));
    wire.expect("R");
    wire
}

#[track_caller]
fn assert_logs_in(stage: &Tenants<'_>) {
    let mut wire = Wire::open(stage.pgwarden.port(), "acme", "open sesame", "postgres");
    assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
}

#[test]
fn another_message_where_a_password_is_expected_is_refused() {
    for_each_version(async |server| {
        for method in ["password", "md5", "scram-sha-256"] {
            let stage = asking(server, method);
            for message in [
                Frontend::new().query("SELECT 1"),
                run("SELECT 1").sync(),
                Frontend::new().terminate(),
                Frontend::new().message(0, b"\0\0"),
            ] {
                let error = asked(&stage).fatal(&message);
                let expected = format!("expected password response, got message type {}", message.bytes()[0]);
                assert_eq!((error.code(), error.message()), ("08P01", &*expected), "{method}");
            }
            assert_logs_in(&stage);
            server.psql(CLEAN);
        }
    });
}

/// The schema of one stage goes before the next comes.
const CLEAN: &str = "DROP OWNED BY tenants, app; DROP TABLE items, notes; DROP FUNCTION org, who, poison; \
                     DROP ROLE acme, globex, app, tenants";

#[test]
fn a_password_message_that_is_none_is_refused() {
    for_each_version(async |server| {
        for method in ["password", "md5"] {
            let stage = asking(server, method);
            for body in [&b""[..], b"open sesame", b"open\0sesame\0", b"open sesame\0\0"] {
                let error = asked(&stage).fatal(&Frontend::new().message(b'p', body));
                let found = (error.code(), error.message());
                assert_eq!(found, ("08P01", "invalid password packet"), "{method} {body:?}");
            }
            for length in [0_i32, 3, -1] {
                let bytes = [b"p", &length.to_be_bytes()[..]].concat();
                let error = asked(&stage).fatal(&Frontend::new().raw(&bytes));
                assert_eq!(error.code(), "08P01", "{error}");
                assert!(error.message().starts_with("invalid message length"), "{error}");
            }
            for length in [65_542_u32, 0x3fff_ffff, 0x7fff_ffff] {
                let bytes = [b"p", &length.to_be_bytes()[..]].concat();
                let error = asked(&stage).fatal(&Frontend::new().raw(&bytes));
                assert_eq!(error.code(), "54000", "{error}");
            }
            assert_logs_in(&stage);
            server.psql(CLEAN);
        }
    });
}

#[test]
fn a_scram_exchange_that_goes_wrong_is_refused() {
    for_each_version(async |server| {
        let stage = asking(server, "scram-sha-256");
        let first: &[u8] = b"n,,n=,r=rOprNGfwEbeRWgbNEkqO";
        for message in [
            Frontend::new().message(b'p', b""),
            Frontend::new().message(b'p', b"SCRAM-SHA-256"),
            Frontend::new().message(b'p', b"SCRAM-SHA-256\0"),
            Frontend::new().message(b'p', b"SCRAM-SHA-256\0\0\0\x01\0n,,"),
            Frontend::new().message(b'p', b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
            Frontend::new().message(b'p', b"SCRAM-SHA-256\0\0\0\0\x03n,,more"),
            Frontend::new().sasl_initial("SCRAM-SHA-256-PLUS", first),
            Frontend::new().sasl_initial("PLAIN", b"\0acme\0open sesame"),
            Frontend::new().sasl_initial("SCRAM-SHA-256", b""),
            Frontend::new().sasl_initial("SCRAM-SHA-256", b"garbage"),
            Frontend::new().sasl_initial("SCRAM-SHA-256", b"p=tls-server-end-point,,n=,r=x"),
            Frontend::new().sasl_initial("SCRAM-SHA-256", b"n,,n=\xff\xfe,r=\xff"),
        ] {
            let error = asked(&stage).fatal(&message);
            assert_eq!(error.code(), "08P01", "{:?}: {error}", message.bytes().escape_ascii().to_string());
        }
        for last in [&b""[..], b"garbage", b"c=biws,r=another nonce,p=AAAA", b"c=eSws,r=x,p=v0X8"] {
            let mut wire = asked(&stage);
            wire.send(&Frontend::new().sasl_initial("SCRAM-SHA-256", first));
            wire.expect("R");
            let error = wire.fatal(&Frontend::new().sasl(last));
            assert!(["08P01", "28P01"].contains(&error.code()), "{error}");
        }
        assert_logs_in(&stage);
    });
}

#[test]
fn a_client_that_goes_while_it_is_asked_leaves_nothing() {
    for_each_version(async |server| {
        let stage = asking(server, "scram-sha-256");
        for bytes in [&b""[..], b"p", b"p\0\0\0\x40SCRAM"] {
            let mut wire = asked(&stage);
            wire.send_bytes(bytes);
            wire.close_sending();
            assert_eq!(wire.ended(), []);
        }
        assert_logs_in(&stage);
    });
}
