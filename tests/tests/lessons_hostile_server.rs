//! The server is untrusted input, too: replies that are out of step, lengths that are absurd and fields that are
//! missing cost a connection, never another client's rows, and never pgwarden.

#[path = "lessons/scripted.rs"]
mod scripted;

use std::io;
use std::sync::{Mutex, mpsc};

use pgwarden_tests::tenants::values;
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Message, Pgwarden, Wire, until};
use scripted::{Peer, Scripted, authentication, complete, data, description, greeting, message, ready, row};

/// A server that answers a query that says `hostile` with `reply`. What comes over that connection afterwards is
/// another client's; all others are good.
fn once(reply: Vec<u8>) -> Scripted {
    Scripted::start(move |peer| {
        peer.let_in()?;
        peer.serve_until("hostile", "good")?;
        peer.send(&reply)?;
        peer.serve_until("never", "another's")
    })
}

fn client(pgwarden: &Pgwarden) -> Wire {
    Wire::open(pgwarden.port(), "somebody", "", "postgres")
}

/// That the process lives, has not panicked, and serves the next client from another connection.
#[track_caller]
fn assert_goes_on(what: &str, pgwarden: &Pgwarden) {
    assert_eq!(values(&client(pgwarden).query("SELECT 1")), ["good"], "{what}");
    assert!(!pgwarden.stderr().contains("panic"), "{what}: {}", pgwarden.stderr());
}

/// The last message, which has to be pgwarden's FATAL.
#[track_caller]
fn assert_ends_with_08006(what: &str, answers: &[Message]) {
    let last = answers.last().unwrap_or_else(|| panic!("{what}: closed without a word"));
    assert_eq!(last.tag, b'E', "{what}: {answers:?}");
    assert_eq!((last.fields().severity(), last.fields().code()), ("FATAL", "08006"), "{what}: {answers:?}");
}

#[test]
fn replies_that_are_out_of_step_end_the_session_and_the_backend() {
    let stray = |tag: u8| [message(tag, b""), row("late")].concat();
    for (what, reply) in [
        ("a second ReadyForQuery", [row("mine"), ready()].concat()),
        ("a second answer", [row("mine"), row("another's")].concat()),
        ("ParseComplete for a query", stray(b'1')),
        ("BindComplete for a query", stray(b'2')),
        ("CloseComplete for a query", stray(b'3')),
        ("NoData for a query", stray(b'n')),
        ("PortalSuspended for a query", stray(b's')),
        ("BackendKeyData for a query", [message(b'K', &[0; 8]), row("late")].concat()),
        ("AuthenticationOk for a query", [authentication(0, b""), row("late")].concat()),
        ("FunctionCallResponse for a query", [message(b'V', &[0, 0, 0, 0]), row("late")].concat()),
        ("an unknown message", [message(b'?', b"x"), row("late")].concat()),
        ("a status that is none", [complete(), message(b'Z', b"X")].concat()),
        ("a status of two bytes", [complete(), message(b'Z', b"II")].concat()),
        ("no status", [complete(), message(b'Z', b"")].concat()),
        ("ParameterStatus without an end", [message(b'S', b"TimeZone"), row("late")].concat()),
        ("a length of three", b"C\0\0\0\x03".to_vec()),
        ("a negative length", b"D\xff\xff\xff\xff".to_vec()),
    ] {
        let server = once(reply);
        let pgwarden = server.pgwarden("").start();
        let mut victim = client(&pgwarden);
        victim.send(&Frontend::new().query("SELECT hostile"));
        let answers = victim.until_closed();
        assert_ends_with_08006(what, &answers);
        assert!(!values(&answers).contains(&"another's".to_owned()), "{what}: {answers:?}");
        assert_goes_on(what, &pgwarden);
        assert_eq!(pgwarden.metric("pgwarden_desyncs_total"), Some(1.0), "{what}");
    }
}

#[test]
fn what_comes_while_nothing_is_owed_reaches_nobody() {
    for (what, unasked) in [
        ("a row", data("another's")),
        ("a whole answer", row("another's")),
        ("ReadyForQuery", ready()),
        ("an error", message(b'E', b"SFATAL\0VFATAL\0C57P01\0Mgoodbye\0\0")),
        ("half a header", b"D\0".to_vec()),
        ("a setting", message(b'S', b"TimeZone\0Mars\0")),
        ("a notification", message(b'A', b"\0\0\0\x07news\0another's\0")),
    ] {
        // What nobody asked for comes when the test says so, which is when the backend is idle.
        let (say, said) = mpsc::channel();
        let said = Mutex::new(said);
        let server = Scripted::start(move |peer| {
            peer.let_in()?;
            peer.serve_until("hostile", "good")?;
            peer.send(&row("mine"))?;
            let _ = said.lock().expect("nobody panics with it").recv();
            peer.send(&unasked)?;
            peer.serve_until("never", "another's")
        });
        let pgwarden = server.pgwarden("").start();
        let mut first = client(&pgwarden);
        assert_eq!(values(&first.query("SELECT hostile")), ["mine"], "{what}");
        say.send(()).expect("the server waits for it");
        let lost = "pgwarden_backends_closed_total{reason=\"lost\"}";
        until("the backend is given up", || (pgwarden.metric(lost) == Some(1.0)).then_some(()));
        for answers in [client(&pgwarden).query("SELECT 2"), first.query("SELECT 3")] {
            assert_eq!(
                (tags(&answers).as_str(), values(&answers)),
                ("TDCZ", vec!["good".to_owned()]),
                "{what}"
            );
        }
    }
}

#[test]
fn a_message_that_comes_in_two_parts_around_the_end_of_a_transaction_is_the_clients_alone() {
    let notice = message(b'N', b"SNOTICE\0VNOTICE\0C00000\0Mby the way\0\0");
    let setting = message(b'S', b"DateStyle\0ISO, DMY\0");
    for (unasked, at) in [(&notice, 1), (&notice, 3), (&notice, 9), (&setting, 2), (&setting, 9)] {
        let (say, said) = mpsc::channel();
        let said = Mutex::new(said);
        let (begun, rest) = (unasked[..at].to_vec(), unasked[at..].to_vec());
        let server = Scripted::start(move |peer| {
            peer.let_in()?;
            peer.serve_until("two parts", "good")?;
            peer.send(&[row("mine"), begun.clone()].concat())?;
            let _ = said.lock().expect("nobody panics with it").recv();
            peer.send(&rest)?;
            peer.serve_until("never", "good")
        });
        let pgwarden = server.pgwarden("").start();
        let (mut first, mut second) = (client(&pgwarden), client(&pgwarden));
        let what = format!("{} in parts of {at} and more bytes", char::from(unasked[0]));
        assert_eq!(values(&first.query("SELECT 'two parts'")), ["mine"], "{what}");
        second.send(&Frontend::new().query("SELECT 2"));
        say.send(()).expect("the server waits for it");
        let answers = second.until_ready();
        assert_eq!((tags(&answers).as_str(), values(&answers)), ("TDCZ", vec!["good".to_owned()]), "{what}");
        assert_eq!(values(&first.query("SELECT 3")), ["good"], "{what}");
        assert_eq!(pgwarden.metric("pgwarden_desyncs_total"), Some(0.0), "{what}");
    }
}

#[test]
fn an_error_needs_no_sqlstate_and_no_other_field() {
    for body in [
        b"SERROR\0Mboom\0\0".as_slice(),
        b"\0",
        b"",
        b"Mboom",
        b"C4\0\0",
        b"C\0M\0\0",
        b"\xff\xfe\xfd\0\0\0\0",
        b"VERROR\0C42501\0Mboom\0P-1\0\0",
        b"VERROR\0C42601\0Mboom\0P99999999999999999999\0\0",
    ] {
        let server = once([message(b'E', body), ready()].concat());
        let pgwarden = server.pgwarden("").start();
        let mut somebody = client(&pgwarden);
        let answers = somebody.query("SELECT hostile");
        assert_eq!((answers[0].tag, answers[0].body.as_slice(), tags(&answers).as_str()), (b'E', body, "EZ"));
        assert_eq!(values(&somebody.query("SELECT 2")), ["another's"], "the session goes on: {body:?}");
        assert!(!pgwarden.stderr().contains("panic"), "{}", pgwarden.stderr());
    }
}

#[test]
fn an_error_without_fields_refuses_a_login_as_any_other() {
    for body in [b"SFATAL\0Mboom\0\0".as_slice(), b"\0", b"", b"C\xff\xff\xff\xff\xff\0\0"] {
        let server = Scripted::start(move |peer| {
            peer.first_packet()?;
            peer.send(&message(b'E', body))
        });
        assert_login_fails(&format!("{body:?}"), &server.pgwarden("").start());
    }
}

/// That a login ends with the one message that tells nothing about the server.
#[track_caller]
fn assert_login_fails(what: &str, pgwarden: &Pgwarden) {
    let refused = Wire::connect(pgwarden.port())
        .try_log_in("", &[("user", "somebody"), ("database", "postgres")])
        .expect_err("the server lets nobody in");
    assert_eq!(
        (refused.fields().severity(), refused.fields().code()),
        ("FATAL", "57P03"),
        "{what}: {refused:?}"
    );
    assert!(!pgwarden.stderr().contains("panic"), "{what}: {}", pgwarden.stderr());
    assert_eq!(pgwarden.metric("pgwarden_backends"), Some(0.0), "{what}: no place is taken");
}

#[test]
fn a_login_of_absurd_messages_fails() {
    let enormous = |tag: u8| [&[tag], i32::MAX.to_be_bytes().as_slice()].concat();
    for (what, answer) in [
        ("no request", message(b'R', b"")),
        ("a request of two bytes", message(b'R', &[0, 0])),
        ("an unknown request", authentication(99, b"")),
        ("md5 with a salt of two bytes", authentication(5, &[1, 2])),
        ("GSSAPI", authentication(7, b"")),
        ("no SASL mechanism", authentication(10, b"\0")),
        ("an unknown SASL mechanism", authentication(10, b"SCRAM-SHA-999\0\0")),
        ("SASL without a beginning", authentication(11, b"r=x,s=eA==,i=4096")),
        ("SASL at its end at once", authentication(12, b"v=eA==")),
        ("a row", data("x")),
        ("an enormous request", enormous(b'R')),
        ("an enormous error", enormous(b'E')),
        ("a length of three", b"R\0\0\0\x03".to_vec()),
        ("a negative length", b"R\xff\xff\xff\xff".to_vec()),
        ("a key of two bytes", [authentication(0, b""), message(b'K', &[0, 1]), ready()].concat()),
        ("a broken setting", [authentication(0, b""), message(b'S', b"x"), ready()].concat()),
        ("an enormous setting", [authentication(0, b""), enormous(b'S')].concat()),
        ("a goodbye", Vec::new()),
        ("half a message", b"R\0\0".to_vec()),
    ] {
        let server = Scripted::start(move |peer| {
            peer.first_packet()?;
            peer.send(&answer)
        });
        assert_login_fails(what, &server.pgwarden("secret").start());
    }
}

/// A server that begins SCRAM and answers the client's nonce with what `first` makes of it.
fn scram(first: impl Fn(&str) -> String + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |peer| {
        let nonce = begin_scram(peer)?;
        peer.send(&authentication(11, first(&nonce).as_bytes()))?;
        peer.receive()?;
        // Whoever comes so far is let in unproven.
        peer.send(&[authentication(0, b""), greeting()].concat())?;
        peer.wait_for_the_end()
    })
}

fn begin_scram(peer: &mut Peer) -> io::Result<String> {
    peer.first_packet()?;
    peer.send(&authentication(10, b"SCRAM-SHA-256\0\0"))?;
    let initial = String::from_utf8_lossy(&peer.receive()?.body).into_owned();
    Ok(initial.rsplit_once("r=").map_or_else(String::new, |(_, nonce)| nonce.to_owned()))
}

/// The processor time that a process has used, in clock ticks of 10 ms.
fn ticks(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    let numbers = stat.rsplit_once(')').expect("the name is in parentheses").1.split_whitespace();
    numbers.skip(11).take(2).filter_map(|number| number.parse::<u64>().ok()).sum()
}

#[test]
fn a_scram_challenge_that_is_too_long_or_too_dear_is_refused() {
    type First = fn(&str) -> String;
    let challenges: [(&str, First); 8] = [
        ("a nonce of 2 kB", |nonce| format!("r={nonce}{},s=c2FsdHNhbHQ=,i=4096", "a".repeat(2_000))),
        ("a nonce of 60 kB", |nonce| format!("r={nonce}{},s=c2FsdHNhbHQ=,i=4096", "a".repeat(60_000))),
        ("a nonce of its own", |_| "r=abcdefghijklmnopqrstuvwxyz,s=c2FsdHNhbHQ=,i=4096".to_owned()),
        ("the client's nonce alone", |nonce| format!("r={nonce},s=c2FsdHNhbHQ=,i=4096")),
        ("two thousand million iterations", |nonce| format!("r={nonce}x,s=c2FsdHNhbHQ=,i=2147483647")),
        ("more iterations than fit", |nonce| format!("r={nonce}x,s=c2FsdHNhbHQ=,i=99999999999999999999")),
        ("no iterations", |nonce| format!("r={nonce}x,s=c2FsdHNhbHQ=,i=0")),
        ("nothing", |_| String::new()),
    ];
    for (what, first) in challenges {
        let pgwarden = scram(first).pgwarden("secret").start();
        let before = ticks(pgwarden.process_id());
        assert_login_fails(what, &pgwarden);
        let used = ticks(pgwarden.process_id()) - before;
        assert!(used < 300, "{what}: {used} ticks of processor time");
    }
}

#[test]
fn a_server_that_does_not_prove_that_it_knows_the_password_is_not_trusted() {
    let challenge = |nonce: &str| format!("r={nonce}x,s=c2FsdHNhbHQ=,i=4096");
    assert_login_fails("no proof", &scram(challenge).pgwarden("secret").start());
    let wrong = Scripted::start(move |peer| {
        let nonce = begin_scram(peer)?;
        peer.send(&authentication(11, challenge(&nonce).as_bytes()))?;
        peer.receive()?;
        let signature = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        peer.send(&[authentication(12, signature), authentication(0, b""), greeting()].concat())?;
        peer.wait_for_the_end()
    });
    assert_login_fails("a wrong proof", &wrong.pgwarden("secret").start());
}

#[test]
fn what_the_server_sends_in_clear_behind_its_answer_to_ssl_request_is_never_read_as_encrypted() {
    let server = Scripted::start(|peer| {
        peer.first_packet()?;
        // A whole login in clear text, behind the S that begins TLS.
        peer.send(&[b"S".to_vec(), authentication(0, b""), greeting(), row("forged")].concat())?;
        peer.wait_for_the_end()
    });
    for mode in ["require", "prefer"] {
        let url = pgwarden_tests::client::url(server.port(), "app", "", "postgres");
        let pgwarden = server.pgwarden("").upstream(&format!("{url}?sslmode={mode}")).start();
        assert_login_fails(mode, &pgwarden);
    }
}

#[test]
fn a_server_that_promises_an_enormous_error_and_stops_costs_no_memory_and_no_session_but_one() {
    let begun = [b"E".as_slice(), &(i32::MAX - 7).to_be_bytes(), b"SERROR\0"].concat();
    let server = once([description(), begun].concat());
    let pgwarden = server.pgwarden("").start();
    let mut victim = client(&pgwarden);
    victim.send(&Frontend::new().query("SELECT hostile"));
    assert_ends_with_08006("over the limit", &victim.until_closed());
    assert_goes_on("over the limit", &pgwarden);
}

#[test]
fn a_server_that_hangs_up_at_any_stage_ends_one_session_and_spins_no_core() {
    for (what, said) in [
        ("before its answer", Vec::new()),
        ("in a header", b"T\0".to_vec()),
        ("in a row", [description(), data("a long value")[..9].to_vec()].concat()),
        ("before ReadyForQuery", [description(), data("x"), complete()].concat()),
        ("in ReadyForQuery", [description(), data("x"), complete(), b"Z\0\0".to_vec()].concat()),
        ("in a block", [complete(), message(b'Z', b"T")].concat()),
        ("when it is idle", row("mine")),
    ] {
        let server = Scripted::start(move |peer| {
            peer.let_in()?;
            peer.serve_until("hostile", "good")?;
            peer.send(&said)
        });
        let pgwarden = server.pgwarden("").start();
        let before = ticks(pgwarden.process_id());
        let mut victim = client(&pgwarden);
        victim.send(&Frontend::new().query("SELECT hostile"));
        if what == "when it is idle" {
            assert_eq!(tags(&victim.until_ready()), "TDCZ", "{what}");
            // Who takes the backend in the moment in which the server hangs up shares its fate.
            until("it is seen", || (pgwarden.metric("pgwarden_backends") == Some(0.0)).then_some(()));
        }
        assert_goes_on(what, &pgwarden);
        if what == "when it is idle" {
            assert_eq!(values(&victim.query("SELECT 1")), ["good"], "{what}");
        } else {
            victim.until_closed();
        }
        let used = ticks(pgwarden.process_id()) - before;
        assert!(used < 50, "{what}: {used} ticks of processor time");
    }
}
