//! What nobody should send in a session: the client reads a FATAL error and is cut off, or the server's own error; and
//! the one backend is safe for the next client.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Frontend, Wire, for_each_version, until};

/// A message whose length field says something else than is true.
fn of_length(tag: u8, length: i32, body: &[u8]) -> Frontend {
    Frontend::new().raw(&[&[tag], &length.to_be_bytes()[..], body].concat())
}

#[track_caller]
fn assert_violation(error: &Fields, message: &str) {
    assert_eq!((error.code(), error.message()), ("08P01", message));
}

/// The next client gets the backend: with its own context, and without what the last one had begun.
#[track_caller]
fn assert_backend_is_safe(stage: &Tenants<'_>) {
    let mut globex = stage.client("globex");
    assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
    assert_eq!(values(&globex.query("SELECT name FROM items")), ["of globex"]);
    assert_eq!(values(&globex.query("SELECT count(*) FROM notes")), ["0"]);
    let state = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state LIKE 'idle in%'";
    until("nothing is left open", || (stage.server.psql(state) == "0").then_some(()));
}

/// Sends `messages` in four situations of a session, each of which they end: `check` looks at the error.
#[track_caller]
fn ends_every_session(stage: &Tenants<'_>, messages: &Frontend, check: impl Fn(&Fields)) {
    check(&stage.client("acme").fatal(messages));
    let mut in_block = stage.client("acme");
    in_block.query("BEGIN; INSERT INTO notes VALUES ('never')");
    check(&in_block.fatal(messages));
    assert_backend_is_safe(stage);
    let mut in_failed_block = stage.client("acme");
    in_failed_block.query("BEGIN");
    in_failed_block.query("SELECT 1/0");
    check(&in_failed_block.fatal(messages));
    assert_backend_is_safe(stage);
    let mut in_batch = stage.client("acme");
    in_batch.send(&run("INSERT INTO notes VALUES ('never')").flush());
    in_batch.expect("12C");
    check(&in_batch.fatal(messages));
    assert_backend_is_safe(stage);
}

#[test]
fn a_length_that_no_message_has_ends_the_session() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for length in [0, 3, -1, i32::MIN] {
            let expected = format!("invalid message length: message 'Q' says that it is {length} bytes long");
            ends_every_session(&stage, &of_length(b'Q', length, b""), |error| {
                assert_violation(error, &expected);
            });
        }
    });
}

#[test]
fn a_length_over_the_limit_ends_the_session_before_the_message_comes() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        // What is read whole may be 64 MB long, what streams as long as PostgreSQL takes it.
        let (whole, streams) = ((67_108_864, "limits.query_bytes"), (1_073_741_823, "limits.message_bytes"));
        for (tag, (limit, setting)) in [(b'Q', whole), (b'P', whole), (b'B', streams), (b'd', streams)] {
            for length in [i32::MAX, limit] {
                ends_every_session(&stage, &of_length(tag, length, b""), |error| {
                    let expected = format!(
                        "message of {} bytes is over the limit of {limit} bytes",
                        i64::from(length) + 1
                    );
                    assert_eq!((error.code(), error.message()), ("54000", &*expected));
                    assert!(error.hint().contains(setting), "{error}");
                });
            }
        }
    });
}

#[test]
fn a_message_of_unknown_type_ends_the_session() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for tag in [b'z', 0, 0xff, b'R', b'Z', b'T'] {
            let expected = format!("invalid frontend message type {tag}");
            ends_every_session(&stage, &Frontend::new().message(tag, b"whatever"), |error| {
                assert_violation(error, &expected);
            });
            let direct = Wire::open(server.port(), "acme", "", "postgres")
                .fatal(&Frontend::new().message(tag, b"whatever"));
            assert_violation(&direct, &expected);
        }
    });
}

#[test]
fn a_password_in_the_middle_of_a_session_ends_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        ends_every_session(&stage, &Frontend::new().password("secret"), |error| {
            assert_violation(error, "invalid frontend message type 112");
        });
    });
}

#[test]
fn a_second_startup_in_a_session_ends_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let parameters = [("user", "acme"), ("database", "postgres")];
        for packet in [
            Frontend::new().startup(0x0003_0000, &parameters),
            Frontend::new().ssl_request(),
            Frontend::new().cancel(1, b"1234"),
        ] {
            ends_every_session(&stage, &packet, |error| {
                assert_violation(error, "invalid frontend message type 0");
            });
        }
    });
}

#[test]
fn strings_without_an_end_and_fields_that_do_not_fit_end_the_session() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let malformed: [(u8, &[u8]); 20] = [
            (b'Q', b""),
            (b'Q', b"SELECT 1"),
            (b'P', b""),
            (b'P', b"name"),
            (b'P', b"\0SELECT 1"),
            (b'P', b"\0SELECT 1\0"),
            (b'P', b"\0SELECT 1\0\0\x01"),
            (b'P', b"\0SELECT 1\0\xff\xff"),
            (b'P', b"\0SELECT 1\0\0\0more"),
            (b'B', b""),
            (b'B', b"portal"),
            (b'B', b"\0statement"),
            (b'D', b""),
            (b'D', b"S"),
            (b'D', b"Xname\0"),
            (b'C', b"Pname"),
            (b'C', b"Xname\0"),
            (b'E', b"portal"),
            (b'E', b"\0\0\0"),
            (b'F', b"\0\0"),
        ];
        for (tag, body) in malformed {
            ends_every_session(&stage, &Frontend::new().message(tag, body), |error| {
                assert_eq!(error.code(), "08P01", "{} {body:?}: {error}", char::from(tag));
                assert!(error.message().starts_with("invalid message format"), "{error}");
            });
        }
    });
}

#[test]
fn a_query_with_a_zero_byte_inside_is_one_string_and_no_second_statement() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let error =
            stage.client("acme").fatal(&Frontend::new().message(b'Q', b"SELECT 1\0; DROP TABLE notes\0"));
        assert_eq!(error.code(), "08P01", "{error}");
        assert_backend_is_safe(&stage);
    });
}

#[test]
fn what_only_the_server_can_judge_gets_the_servers_own_error() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let parse = || Frontend::new().parse("", "SELECT $1::text", &[]);
        let bodies: [&[u8]; 10] = [
            b"\0\0",
            b"\0\0\0\0",
            b"\0\0\0\0\0\0",                             // no value where one is needed
            b"\0\0\0\0\0\x02\0\0\0\x01a\0\0\0\x01b\0\0", // one value too many
            b"\0\0\0\x02\0\0\0\0\0\x01\0\0\0\x01a\0\0",  // two formats for one value
            b"\0\0\0\x01\0\x07\0\x01\0\0\0\x01a\0\0",    // a format that there is not
            b"\0\0\0\0\0\x01\xff\xff\xff\xfea\0\0",      // a length of -2
            b"\0\0\0\0\0\x01\x7f\xff\xff\xffa\0\0",      // a length beyond the message
            b"\0\0\0\0\0\x01\0\0\0\x01a\0\x02\0\0\0\0",  // two result formats for one column
            b"\0\0\0\0\0\x01\0\0\0\x01a\0\0more",
        ];
        for body in bodies {
            let batch = parse().message(b'B', body).execute("", 0).sync();
            let answers = stage.like_direct(&batch.query("SELECT org()"), 2);
            assert_ne!(error_code(&answers), "", "{body:?}: {answers:?}");
            assert_eq!(values(&answers), [ACME], "the session goes on");
            assert_backend_is_safe(&stage);
        }
    });
}

#[test]
fn function_calls_that_do_not_fit_get_the_servers_own_error() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let oid = 1598_u32.to_be_bytes(); // random()
        let bodies: [&[u8]; 5] = [
            b"",
            b"\0\0",
            b"\0\0\0\x02\0\0\0\x01a\0\0\0\x01b\0\0",
            b"\0\0\0\x01\xff\xff\xff\xfe\0\0",
            b"\0\0\0\0\0\0more",
        ];
        for body in bodies {
            let call = Frontend::new().message(b'F', &[&oid, body].concat());
            let answers = stage.like_direct(&call.query("SELECT org()"), 2);
            assert_ne!(error_code(&answers), "", "{body:?}: {answers:?}");
            assert_eq!(values(&answers), [ACME], "the session goes on");
            assert_backend_is_safe(&stage);
        }
    });
}

#[test]
fn sync_and_flush_with_something_inside_leave_the_session_in_step() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for tag in [b'S', b'H'] {
            let batch = run("SELECT org()").message(tag, b"more");
            let batch = if tag == b'H' { batch.sync() } else { batch };
            stage.like_direct(&batch.query("SELECT org()"), 2);
            assert_backend_is_safe(&stage);
        }
    });
}

#[test]
fn a_refused_message_takes_the_place_of_the_messages_behind_it() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let behind = Frontend::new().message(b'z', b"").query("INSERT INTO notes VALUES ('never')");
        let error = stage.client("acme").fatal(&behind);
        assert_violation(&error, "invalid frontend message type 122");
        assert_backend_is_safe(&stage);
    });
}

#[test]
fn other_messages_in_the_middle_of_a_copy_end_it_and_leave_no_rows() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        for messages in [
            Frontend::new().query("INSERT INTO notes VALUES ('never')"),
            Frontend::new().parse("", "SELECT 1", &[]),
            Frontend::new().message(b'z', b""),
            of_length(b'd', 3, b""),
            of_length(b'd', i32::MAX, b""),
        ] {
            let mut acme = stage.client("acme");
            acme.send(&Frontend::new().query("COPY notes FROM STDIN"));
            acme.expect("G");
            acme.send(&Frontend::new().copy_data(b"never\tx\n"));
            let error = acme.fatal(&messages);
            assert!(["08P01", "54000"].contains(&error.code()), "{error}");
            assert_backend_is_safe(&stage);
        }
    });
}

#[test]
fn copy_messages_outside_of_a_copy_are_ignored_as_the_server_does() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let stray = Frontend::new().copy_data(b"x").copy_done().copy_fail("no").message(b'd', b"");
        stage.like_direct(&Frontend::new().raw(stray.bytes()).query("SELECT org()"), 1);
        stage.like_direct(&run("SELECT org()").raw(stray.bytes()).sync().query("SELECT org()"), 2);
        assert_backend_is_safe(&stage);
    });
}

#[test]
fn a_message_that_stops_half_way_never_reaches_the_next_client() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let insert = "INSERT INTO notes VALUES ('never')";
        let long = "x".repeat(200_000);
        let bind = Frontend::new()
            .parse("", "INSERT INTO notes VALUES ($1)", &[])
            .bind("", "", &[Some(&long)])
            .execute("", 0)
            .sync();
        let copy = Frontend::new().query("COPY notes FROM STDIN").copy_data(long.as_bytes()).copy_done();
        for messages in [Frontend::new().query(insert), run(insert).sync(), bind, copy] {
            let bytes = messages.bytes();
            for end in [1, 4, 5, 9, bytes.len() / 2, bytes.len() - 6] {
                let mut acme = stage.client("acme");
                acme.query("BEGIN");
                acme.send_bytes(&bytes[..end]);
                drop(acme);
                assert_backend_is_safe(&stage);
            }
        }
    });
}

#[test]
fn what_stands_in_front_of_a_terminate_still_runs() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let insert = "INSERT INTO notes SELECT 'kept' FROM pg_sleep(0.2)";
        for (number, messages) in [Frontend::new().query(insert), run(insert).sync()].into_iter().enumerate()
        {
            for wire in [&mut stage.direct("acme"), &mut stage.client("acme")] {
                wire.send(&Frontend::new().raw(messages.bytes()).terminate());
                let answers = wire.ended();
                assert!(answers.last().is_some_and(|last| last.tag == b'Z'), "{number}: {answers:?}");
            }
        }
        assert_eq!(server.psql("SELECT count(*) FROM notes WHERE name = 'kept'"), "4");
    });
}

/// As PQsendQuery and PQfinish do it: nobody reads the answers.
#[test]
fn what_stands_in_front_of_a_terminate_still_runs_when_the_client_has_hung_up() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let insert = Frontend::new().query("INSERT INTO notes SELECT 'kept' FROM pg_sleep(0.2)");
        for count in 1..=3 {
            let messages = (0..count).fold(Frontend::new(), |all, _| all.raw(insert.bytes()));
            stage.client("acme").send(&messages.terminate());
        }
        let kept = "SELECT count(*) FROM notes WHERE name = 'kept'";
        until("every row is there", || (server.psql(kept) == "6").then_some(()));
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
    });
}

#[test]
fn a_terminate_in_a_block_rolls_back() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.query("BEGIN; INSERT INTO notes VALUES ('never')");
        acme.send(&Frontend::new().terminate());
        assert_eq!(acme.ended(), []);
        assert_backend_is_safe(&stage);
    });
}

#[test]
fn a_row_that_is_under_way_is_not_filled_up_with_an_error() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let mut acme = stage.client("acme");
        acme.send(&Frontend::new().query("SELECT repeat('x', 30000000)"));
        acme.expect("T");
        let begun = acme.receive_bytes(1_000_000);
        assert!(begun.ends_with(b"xxxx"));
        acme.send(&Frontend::new().message(b'z', b""));
        let rest = acme.rest();
        let of_the_row = &rest[..rest.len().min(30_000_000 + 11 - begun.len())];
        let foreign = of_the_row
            .iter()
            .position(|byte| *byte != b'x')
            .map(|at| of_the_row[at..].escape_ascii().to_string());
        assert_eq!(foreign, None, "inside of the row");
        assert_eq!(value(&stage.client("globex").query("SELECT org()")).as_deref(), Some(GLOBEX));
    });
}
