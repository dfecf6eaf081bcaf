//! Logging in with nothing, a password, md5 or SCRAM: every kind of stored secret that PostgreSQL takes for a method,
//! and one answer for all who may not come in.

use pgwarden_tests::tenants::{ACME, Tenants, values};
use pgwarden_tests::wire::{Fields, PROTOCOL_3_0};
use pgwarden_tests::{Frontend, Message, Pgwarden, Server, Wire, for_each_version};
use postgres_protocol::password;

const PASSWORD: &str = "open sesame";
const METHODS: [&str; 3] = ["password", "md5", "scram-sha-256"];

/// A pgwarden with this method and users file, before a server that has the schema.
#[track_caller]
fn asking(server: &Server, method: &str, users: &str) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = Tenants::builder(&upstream).env("PGWARDEN_AUTH", method).file("users.txt", users);
    builder.env("PGWARDEN_USERS_FILE", "{dir}/users.txt").start()
}

fn line(user: &str, secret: &str) -> String {
    let quoted = |text: &str| text.replace('"', "\"\"");
    format!("\"{}\" \"{}\"\n", quoted(user), quoted(secret))
}

/// The secret in the three forms in which it can be stored.
fn secrets(user: &str, password: &str) -> [String; 3] {
    let (bytes, clear) = (password.as_bytes(), password.to_owned());
    [clear, password::md5(bytes, user), password::scram_sha_256(bytes)]
}

/// Logs in: everything up to ReadyForQuery, or the error, behind which the connection has to end.
#[track_caller]
fn try_log_in(pgwarden: &Pgwarden, user: &str, password: &str) -> Result<(Wire, Vec<Message>), Fields> {
    let mut wire = Wire::connect(pgwarden.port());
    match wire.try_log_in(password, &[("user", user), ("database", "postgres")]) {
        Ok(messages) => Ok((wire, messages)),
        Err(error) => {
            assert_eq!(wire.ended(), [], "nothing comes behind {error:?}");
            Err(error.fields())
        }
    }
}

#[track_caller]
fn assert_logs_in(pgwarden: &Pgwarden, user: &str, password: &str, what: &str) {
    let (mut wire, _) =
        try_log_in(pgwarden, user, password).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(values(&wire.query("SELECT 1")), ["1"], "{what}");
}

/// The kind of each authentication request: 0 is Ok, 3 password, 5 md5, 10 to 12 SASL.
fn requests(messages: &[Message]) -> Vec<u8> {
    messages.iter().filter(|message| message.tag == b'R').map(|message| message.body[3]).collect()
}

#[test]
fn trust_asks_nothing() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut wire, messages) = try_log_in(&stage.pgwarden, "acme", "").expect("trusted");
        assert_eq!(requests(&messages), [0]);
        assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
    });
}

#[test]
fn trust_is_not_offered_to_other_machines_unless_that_is_wanted() {
    let upstream = "postgres://app@127.0.0.1:1/postgres";
    let open = || Tenants::builder(upstream).env("PGWARDEN_LISTEN", "0.0.0.0:{port}");
    let exit = open().try_start().expect_err("it does not start");
    assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
    assert!(exit.stderr.contains("auth.trust_remote"), "{}", exit.stderr);
    let wanted = "[auth]\ntrust_remote = true\n";
    open().config(wanted).start();
}

#[test]
fn a_stored_secret_of_any_kind_checks_a_password() {
    for_each_version(async |server| {
        Tenants::load(server);
        for secret in secrets("acme", PASSWORD) {
            let pgwarden = asking(server, "password", &line("acme", &secret));
            let (mut wire, messages) = try_log_in(&pgwarden, "acme", PASSWORD).expect("the right password");
            assert_eq!(requests(&messages), [3, 0]);
            assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
            for wrong in ["Open sesame", "open sesame ", "x", &secrets("acme", PASSWORD)[1]] {
                assert_eq!(try_log_in(&pgwarden, "acme", wrong).expect_err(wrong).code(), "28P01");
            }
        }
    });
}

#[test]
fn clear_text_and_hashes_answer_md5() {
    for_each_version(async |server| {
        Tenants::load(server);
        for secret in &secrets("acme", PASSWORD)[..2] {
            let pgwarden = asking(server, "md5", &line("acme", secret));
            let (mut wire, messages) = try_log_in(&pgwarden, "acme", PASSWORD).expect("the right password");
            assert_eq!(requests(&messages), [5, 0]);
            assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
            assert_eq!(try_log_in(&pgwarden, "acme", "wrong").expect_err("wrong").code(), "28P01");
        }
    });
}

/// `md5` in pg_hba.conf: "if the password is encrypted for SCRAM, then SCRAM is chosen automatically".
#[test]
fn a_user_with_a_scram_verifier_logs_in_by_scram_where_md5_is_configured() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = asking(server, "md5", &line("acme", &secrets("acme", PASSWORD)[2]));
        let (mut wire, messages) = try_log_in(&pgwarden, "acme", PASSWORD).expect("the right password");
        assert_eq!(requests(&messages), [10, 11, 12, 0]);
        assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
        assert_eq!(try_log_in(&pgwarden, "acme", "wrong").expect_err("wrong").code(), "28P01");
    });
}

#[test]
fn clear_text_and_verifiers_answer_scram_and_a_hash_never_does() {
    for_each_version(async |server| {
        Tenants::load(server);
        let [clear, hash, verifier] = secrets("acme", PASSWORD);
        for secret in [clear, verifier] {
            let pgwarden = asking(server, "scram-sha-256", &line("acme", &secret));
            let (mut wire, messages) = try_log_in(&pgwarden, "acme", PASSWORD).expect("the right password");
            assert_eq!(requests(&messages), [10, 11, 12, 0]);
            assert_eq!(values(&wire.query("SELECT org()")), [ACME]);
            assert_eq!(try_log_in(&pgwarden, "acme", "wrong").expect_err("wrong").code(), "28P01");
        }
        let pgwarden = asking(server, "scram-sha-256", &line("acme", &hash));
        for given in [PASSWORD, hash.as_str()] {
            assert_eq!(try_log_in(&pgwarden, "acme", given).expect_err("no verifier").code(), "28P01");
        }
    });
}

#[test]
fn secrets_copied_from_a_servers_catalog_work() {
    for_each_version(async |server| {
        Tenants::load(server);
        for (encryption, methods) in
            [("md5", &["password", "md5"]), ("scram-sha-256", &["password", "scram-sha-256"])]
        {
            let secret = server.psql(&format!(
                "SET client_min_messages = error; SET password_encryption = '{encryption}';
                 ALTER ROLE acme PASSWORD 'pässwörd'; SELECT rolpassword FROM pg_authid WHERE rolname = 'acme'"
            ));
            for method in methods {
                let pgwarden = asking(server, method, &line("acme", &secret));
                assert_logs_in(&pgwarden, "acme", "pässwörd", &format!("{encryption} by {method}"));
            }
        }
    });
}

#[test]
fn names_and_passwords_may_hold_any_character() {
    for_each_version(async |server| {
        Tenants::load(server);
        let names = ["Ärger \"quoted\"", "semi;colon", "a b", "'; DROP TABLE items; --", "#hash"];
        let passwords = ["pässwörd", "\u{2168}", "with \"quotes\"", "md5", " space ", "\\back"];
        let pairs = || names.iter().flat_map(|name| passwords.iter().map(move |password| (*name, *password)));
        for method in METHODS {
            let numbered = |(number, (name, password))| line(&format!("{name}{number}"), password);
            let users: String = pairs().enumerate().map(numbered).collect();
            let pgwarden = asking(server, method, &users);
            for (number, (name, password)) in pairs().enumerate() {
                let name = format!("{name}{number}");
                assert_logs_in(&pgwarden, &name, password, &format!("{method}: {name} {password}"));
                assert!(try_log_in(&pgwarden, &name, "another").is_err(), "{method}: {name}");
            }
        }
    });
}

#[test]
fn a_wrong_password_an_unknown_user_and_one_without_a_password_read_the_same() {
    for_each_version(async |server| {
        Tenants::load(server);
        let users = [line("acme", PASSWORD), line("globex", "")].concat();
        for method in METHODS {
            let pgwarden = asking(server, method, &users);
            for (user, given) in
                [("acme", "wrong"), ("globex", "wrong"), ("stranger", "wrong"), ("stranger", PASSWORD)]
            {
                let error = try_log_in(&pgwarden, user, given).expect_err("no login");
                let expected = format!("password authentication failed for user \"{user}\"");
                let found = (error.severity(), error.code(), error.message(), error.detail(), error.hint());
                assert_eq!(found, ("FATAL", "28P01", &*expected, "", ""), "{method}");
            }
            let log = pgwarden.until_logged("login refused", 3);
            assert!(!log.contains("wrong") && !log.contains(PASSWORD), "{log}");
            let refused = pgwarden.metric("pgwarden_logins_total{outcome=\"refused_authentication\"}");
            assert_eq!(refused, Some(4.0), "{method}");
        }
    });
}

#[test]
fn the_server_itself_would_say_the_same_of_a_wrong_password() {
    let version = pgwarden_tests::versions()[0];
    let server = Server::builder(version).access("host all acme 127.0.0.1/32 scram-sha-256").start();
    Tenants::load(&server);
    server.psql("ALTER ROLE acme PASSWORD 'open sesame'");
    let direct =
        Wire::connect(server.port()).try_log_in("wrong", &[("user", "acme"), ("database", "postgres")]);
    let direct = direct.expect_err("no login").fields();
    let pgwarden = asking(&server, "scram-sha-256", &line("acme", PASSWORD));
    let error = try_log_in(&pgwarden, "acme", "wrong").expect_err("no login");
    let found = |fields: &Fields| {
        (fields.severity().to_owned(), fields.code().to_owned(), fields.message().to_owned())
    };
    assert_eq!(found(&error), found(&direct));
}

#[test]
fn an_empty_password_never_lets_anybody_in() {
    for_each_version(async |server| {
        Tenants::load(server);
        let users = [line("acme", PASSWORD), line("globex", "")].concat();
        for method in METHODS {
            let pgwarden = asking(server, method, &users);
            for user in ["acme", "globex", "stranger"] {
                let error = try_log_in(&pgwarden, user, "").expect_err("no login");
                assert_eq!(error.code(), "28P01", "{method} {user}: {error}");
            }
        }
    });
}

/// Salt and iteration count that somebody is asked with.
#[track_caller]
fn challenge(pgwarden: &Pgwarden, user: &str) -> String {
    let mut wire = Wire::connect(pgwarden.port());
    wire.send(&Frontend::new().startup(PROTOCOL_3_0, &[("user", user), ("database", "postgres")]));
    wire.expect("R");
    wire.send(&Frontend::new().sasl_initial("SCRAM-SHA-256", b"n,,n=,r=rOprNGfwEbeRWgbNEkqO"));
    let body = wire.expect("R").remove(0).body;
    let text = String::from_utf8_lossy(&body[4..]).into_owned();
    text.split_once(",s=").expect("a salt").1.to_owned()
}

#[test]
fn an_unknown_user_is_asked_like_a_known_one_and_with_the_same_salt_each_time() {
    for_each_version(async |server| {
        Tenants::load(server);
        let users = [line("acme", PASSWORD), line("globex", &secrets("globex", PASSWORD)[2])].concat();
        let pgwarden = asking(server, "scram-sha-256", &users);
        let asked = ["acme", "globex", "stranger", "another"].map(|user| challenge(&pgwarden, user));
        let again = ["acme", "globex", "stranger", "another"].map(|user| challenge(&pgwarden, user));
        assert_eq!(asked, again);
        for one in &asked {
            let shape = (one.len(), one.ends_with(",i=4096"));
            assert_eq!(shape, (asked[1].len(), true), "{asked:?}");
            assert_eq!(asked.iter().filter(|other| *other == one).count(), 1, "a salt each: {asked:?}");
        }
    });
}

#[test]
fn md5_salts_differ_from_login_to_login_and_an_old_answer_is_worth_nothing() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = asking(server, "md5", &line("acme", PASSWORD));
        let ask = || {
            let mut wire = Wire::connect(pgwarden.port());
            wire.send(&Frontend::new().startup(PROTOCOL_3_0, &[("user", "acme"), ("database", "postgres")]));
            let salt: [u8; 4] = wire.expect("R")[0].body[4..].try_into().expect("four bytes");
            (wire, salt)
        };
        let ((_, old), (mut wire, salt)) = (ask(), ask());
        assert_ne!(old, salt);
        let answer = postgres_protocol::authentication::md5_hash(b"acme", PASSWORD.as_bytes(), old);
        assert_eq!(wire.fatal(&Frontend::new().password(&answer)).code(), "28P01");
    });
}

#[test]
fn a_users_file_that_cannot_be_used_is_named_without_its_secrets() {
    let start = |users: &str| {
        let builder = Tenants::builder("postgres://app@127.0.0.1:1/postgres").file("users.txt", users);
        let builder = builder.env("PGWARDEN_AUTH", "md5").env("PGWARDEN_USERS_FILE", "{dir}/users.txt");
        builder.try_start().expect_err("it does not start")
    };
    for (users, place) in [
        ("\"acme\" \"sesame\"\n\"acme\" \"sesame\"\n", "line 2"),
        ("# fine\n\"acme\" \"sesame\n", "line 2"),
        ("acme sesame\n", "line 1"),
        ("\"\" \"sesame\"\n", "line 1"),
        ("\"acme\" \"SCRAM-SHA-256$sesame\"\n", "line 1"),
    ] {
        let exit = start(users);
        assert_eq!(exit.status.code(), Some(64), "{users}: {}", exit.stderr);
        assert!(exit.stderr.contains("users.txt") && exit.stderr.contains(place), "{users}: {}", exit.stderr);
        assert!(!exit.stderr.contains("sesame"), "{}", exit.stderr);
    }
}
