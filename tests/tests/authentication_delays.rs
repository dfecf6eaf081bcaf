//! Who guesses passwords is slowed down: by address and by user, right and wrong proofs alike, with the same words as
//! ever; and nothing tells a user that exists from one that does not.

use std::time::{Duration, Instant};

use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Frontend, Message, Pgwarden, PgwardenBuilder, Server, Wire, for_each_version, psql};

const USERS: &str = "\"acme\" \"open sesame\"\n\"globex\" \"open sesame\"\n\"initech\" \"open sesame\"\n";
const METHODS: [&str; 3] = ["password", "md5", "scram-sha-256"];
/// What a failed login costs nobody.
const FREE: usize = 3;

/// A pgwarden with three free failures and these delays behind them.
fn patient(server: &Server, method: &str, first: &str, longest: &str) -> PgwardenBuilder {
    let file = format!("[limits]\nlogin_failures = {FREE}\nlogin_delay_max = \"{longest}\"\n");
    Pgwarden::builder()
        .upstream(&format!("{}?sslmode=disable", server.url()))
        .env("PGWARDEN_LISTEN", "127.0.0.1:{port},{dir}:{port}")
        .env("PGWARDEN_AUTH", method)
        .env("PGWARDEN_LOGIN_DELAY", first)
        .file("users", USERS)
        .env("PGWARDEN_USERS_FILE", "{dir}/users")
        .file("c.toml", &file)
        .argument("--config")
        .argument("{dir}/c.toml")
}

/// What a login is told; nothing when it succeeds.
#[track_caller]
fn log_in(pgwarden: &Pgwarden, user: &str, password: &str) -> Option<Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    wire.set_patience(pgwarden_tests::DEADLINE);
    let login = wire.try_log_in(password, &[("user", user), ("database", "postgres")]);
    login.err().map(|error| error.fields())
}

/// Fails to log in so many times, each with the words of a wrong password.
#[track_caller]
fn fail(pgwarden: &Pgwarden, user: &str, times: usize) {
    for _ in 0..times {
        let error = log_in(pgwarden, user, "wrong").expect_err_code("28P01");
        assert_eq!(error.message(), format!("password authentication failed for user \"{user}\""));
        assert_eq!((error.detail(), error.hint()), ("", ""));
    }
}

trait Refused {
    fn expect_err_code(self, code: &str) -> Fields;
}

impl Refused for Option<Fields> {
    #[track_caller]
    fn expect_err_code(self, code: &str) -> Fields {
        let error = self.expect("the login fails");
        assert_eq!((error.severity(), error.code()), ("FATAL", code), "{error}");
        error
    }
}

#[track_caller]
fn delayed(pgwarden: &Pgwarden) -> f64 {
    pgwarden.metric("pgwarden_delayed_logins_total").expect("the metric is there")
}

#[test]
fn what_fails_too_often_waits_and_reads_the_same() {
    for_each_version(async |server| {
        for method in METHODS {
            let pgwarden = patient(server, method, "150ms", "300ms").start();
            fail(&pgwarden, "acme", FREE);
            assert_eq!(delayed(&pgwarden), 0.0, "{method}");
            fail(&pgwarden, "acme", 1);
            for (waits, least) in [(1.0, 150), (2.0, 300), (3.0, 300)] {
                let before = Instant::now();
                fail(&pgwarden, "acme", 1);
                assert!(before.elapsed() >= Duration::from_millis(least), "{method}: {least}");
                assert_eq!(delayed(&pgwarden), waits, "{method}");
            }
            let before = Instant::now();
            assert_eq!(log_in(&pgwarden, "acme", "open sesame"), None, "{method}");
            assert!(
                before.elapsed() >= Duration::from_millis(300),
                "a right password waits as well: {method}"
            );
        }
    });
}

#[test]
fn a_correct_login_is_a_new_beginning() {
    for_each_version(async |server| {
        let pgwarden = patient(server, "scram-sha-256", "10ms", "20ms").start();
        fail(&pgwarden, "acme", FREE + 1);
        assert_eq!(log_in(&pgwarden, "acme", "open sesame"), None);
        assert_eq!(delayed(&pgwarden), 1.0);
        fail(&pgwarden, "globex", FREE + 1);
        assert_eq!(delayed(&pgwarden), 1.0, "the address counts from the beginning");
        assert_eq!(log_in(&pgwarden, "globex", "open sesame"), None);
        assert_eq!(delayed(&pgwarden), 2.0);
    });
}

/// psql through the unix socket: another address, as far as this is concerned.
#[track_caller]
fn through_socket(pgwarden: &Pgwarden, user: &str) {
    let directory = pgwarden.directory().display();
    let url = format!("postgres://{user}:open%20sesame@/postgres?host={directory}&port={}", pgwarden.port());
    let output = psql(&url, &["-c", "SELECT 1"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_user_is_held_up_from_elsewhere_too_and_an_address_for_other_users() {
    for_each_version(async |server| {
        let pgwarden = patient(server, "scram-sha-256", "10ms", "20ms").start();
        fail(&pgwarden, "acme", FREE + 1);
        through_socket(&pgwarden, "globex");
        assert_eq!(delayed(&pgwarden), 0.0, "another address and another user");
        fail(&pgwarden, "nobody", 1);
        assert_eq!(delayed(&pgwarden), 1.0, "the same address, and a user that does not exist");
        through_socket(&pgwarden, "acme");
        assert_eq!(delayed(&pgwarden), 2.0, "the same user");
    });
}

#[test]
fn who_has_logged_in_from_there_before_does_not_wait_for_a_neighbour() {
    for_each_version(async |server| {
        let pgwarden = patient(server, "scram-sha-256", "1h", "1h").start();
        assert_eq!(log_in(&pgwarden, "acme", "open sesame"), None);
        fail(&pgwarden, "globex", FREE + 1);
        log_in(&pgwarden, "initech", "open sesame").expect_err_code("53300");
        assert_eq!(delayed(&pgwarden), 1.0);
        assert_eq!(log_in(&pgwarden, "acme", "open sesame"), None);
        assert_eq!(delayed(&pgwarden), 1.0);
    });
}

/// Connections that were all asked for a password before the first of them was wrong.
#[test]
fn many_guesses_at_once_are_not_more_than_one_after_the_other() {
    for_each_version(async |server| {
        for method in METHODS {
            let pgwarden = patient(server, method, "1h", "1h").start();
            let mut wires: Vec<Wire> = (0..12).map(|_| Wire::connect(pgwarden.port())).collect();
            for (number, wire) in wires.iter_mut().enumerate() {
                let user = format!("user{number}");
                wire.startup(&[("user", &user), ("database", "postgres")]);
            }
            let asked: Vec<Message> = wires.iter_mut().map(|wire| wire.expect("R").remove(0)).collect();
            let codes: Vec<String> = wires
                .iter_mut()
                .zip(&asked)
                .map(|(wire, request)| {
                    let answers = answer_wrongly(wire, request);
                    answers.last().expect("an error").fields().code().to_owned()
                })
                .collect();
            let (guesses, refused) = codes.split_at(FREE + 1);
            assert!(guesses.iter().all(|code| code == "28P01"), "{method}: {codes:?}");
            assert!(refused.iter().all(|code| code == "53300"), "{method}: {codes:?}");
        }
    });
}

#[test]
fn logins_that_are_left_to_the_server_are_counted_as_well() {
    let version = pgwarden_tests::versions()[0];
    let server = Server::builder(version).access("host all acme 127.0.0.1/32 scram-sha-256").start();
    server.psql("SET password_encryption = 'scram-sha-256'; CREATE ROLE acme LOGIN PASSWORD 'open sesame'");
    let upstream = format!("postgres://127.0.0.1:{}/postgres?sslmode=disable", server.port());
    let pgwarden = patient(&server, "passthrough", "1h", "1h")
        .upstream(&upstream)
        .env("PGWARDEN_POOL_MODE", "session")
        .start();
    fail(&pgwarden, "acme", FREE + 1);
    let asked = server.log().matches("password authentication failed").count();
    let error = log_in(&pgwarden, "acme", "open sesame").expect_err_code("53300");
    assert_eq!(error.message(), "too many failed logins from this address");
    assert_eq!(server.log().matches("password authentication failed").count(), asked);
}

/// Answers the first request wrongly; adds what was read behind it.
#[track_caller]
fn answer_wrongly(wire: &mut Wire, request: &Message) -> Vec<Message> {
    if matches!(request.body[3], 3 | 5) {
        wire.send(&Frontend::new().password("wrong"));
        return wire.until_closed();
    }
    wire.send(&Frontend::new().sasl_initial("SCRAM-SHA-256", b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"));
    let challenge = wire.receive();
    let text = String::from_utf8_lossy(&challenge.body[4..]).into_owned();
    let nonce = text.split(',').next().expect("a nonce").to_owned();
    let proof = format!("c=biws,{nonce},p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    wire.send(&Frontend::new().sasl(proof.as_bytes()));
    [vec![challenge], wire.until_closed()].concat()
}

/// Everything that somebody reads who gives a wrong password, with the parts taken out that are random: nonces, and the
/// salts, which are a user's own.
#[track_caller]
fn conversation(pgwarden: &Pgwarden, user: &str) -> Vec<String> {
    let mut wire = Wire::connect(pgwarden.port());
    wire.startup(&[("user", user), ("database", "postgres")]);
    let request = wire.receive();
    let all = [vec![request.clone()], answer_wrongly(&mut wire, &request)].concat();
    let shape = |message: &Message| {
        let text = String::from_utf8_lossy(&message.body).replace(user, "USER");
        match message.tag {
            b'R' => format!(
                "R {} {}",
                message.body.len(),
                text.rsplit(',').next().filter(|_| text.len() > 40).unwrap_or("")
            ),
            tag => format!("{} {text}", char::from(tag)),
        }
    };
    all.iter().map(shape).collect()
}

#[test]
fn a_user_that_does_not_exist_looks_the_same_before_and_behind_the_delays() {
    for_each_version(async |server| {
        for method in METHODS {
            let pgwarden = patient(server, method, "1ms", "1ms").start();
            let expected = conversation(&pgwarden, "acme");
            assert!(expected.len() > 1 && expected[expected.len() - 1].contains("28P01"), "{expected:?}");
            for round in 0..FREE {
                for user in ["nope", "acme", "none"] {
                    assert_eq!(conversation(&pgwarden, user), expected, "{method}: {user} in round {round}");
                }
            }
            assert!(delayed(&pgwarden) > 0.0);
        }
    });
}

/// The salt and the iteration count that a user is asked with.
#[track_caller]
fn salt(pgwarden: &Pgwarden, user: &str) -> String {
    let mut wire = Wire::connect(pgwarden.port());
    wire.startup(&[("user", user), ("database", "postgres")]);
    wire.expect("R");
    wire.send(&Frontend::new().sasl_initial("SCRAM-SHA-256", b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"));
    let text = String::from_utf8_lossy(&wire.expect("R")[0].body[4..]).into_owned();
    text.split_once(",s=").expect("a salt").1.to_owned()
}

#[test]
fn salts_and_iterations_stay_the_same_however_often_a_login_fails() {
    for_each_version(async |server| {
        let pgwarden = patient(server, "scram-sha-256", "1ms", "1ms").start();
        let users = ["acme", "globex", "stranger", "another"];
        let before = users.map(|user| salt(&pgwarden, user));
        for user in users {
            fail(&pgwarden, user, 3);
        }
        assert_eq!(users.map(|user| salt(&pgwarden, user)), before);
        assert_eq!(log_in(&pgwarden, "acme", "open sesame"), None);
        assert_eq!(users.map(|user| salt(&pgwarden, user)), before);
        assert!(
            before.iter().all(|salt| salt.ends_with(",i=4096") && salt.len() == before[0].len()),
            "{before:?}"
        );
    });
}

#[test]
fn a_longest_delay_that_is_shorter_than_the_first_is_a_mistake() {
    let builder = Pgwarden::builder().upstream("postgres://app@127.0.0.1:1/d").env("PGWARDEN_AUTH", "trust");
    let builder = builder.file("c.toml", "[limits]\nlogin_delay = \"2s\"\nlogin_delay_max = \"1s\"\n");
    let exit = builder.argument("--config").argument("{dir}/c.toml").run(&["config", "check"]);
    assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
    let expected = "c.toml:3:19: limits.login_delay_max: is shorter than limits.login_delay";
    assert!(exit.stderr.contains(expected), "{}", exit.stderr);
}
