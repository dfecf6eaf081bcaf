//! Keys of sealed contexts: another one takes over while everything runs, and a reload switches seals on and off.

use pgwarden_tests::reload::{self, OK, reload};
use pgwarden_tests::seal::{self, KEY, NEXT_KEY, Seen};
use pgwarden_tests::tenants::{Tenants, error_code, run, values};
use pgwarden_tests::{Frontend, Server, Wire, for_each_version, until};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

const OWN: &str = "SELECT name FROM sealed";

/// How a key is called: the beginning of its SHA-256, which stands in each of its seals.
fn id(server: &Server, key: &str) -> String {
    server.psql(&format!("SELECT left(encode(sha256(decode('{key}', 'hex')), 'hex'), 8)"))
}

/// Reads in every way until it is told to stop; counts, and returns what was not right.
fn keep_reading(mut client: Wire, name: &str, count: &AtomicUsize, stop: &AtomicBool) -> Vec<String> {
    let mut wrong = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        for messages in [
            Frontend::new().query(OWN),
            run(OWN).sync(),
            Frontend::new().query("BEGIN; SELECT name FROM sealed; COMMIT"),
        ] {
            client.send(&messages);
            let replies = client.until_ready();
            if !error_code(&replies).is_empty() || values(&replies) != [format!("of {name}")] {
                wrong.push(format!("{replies:?}"));
            }
        }
        count.fetch_add(1, Ordering::Relaxed);
    }
    wrong
}

#[test]
fn a_key_is_exchanged_under_load_and_no_statement_fails() {
    for_each_version(async |server| {
        let stage = seal::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", "3"));
        let (stop, counts) = (AtomicBool::new(false), [const { AtomicUsize::new(0) }; 4]);
        let everybody_reads_on = || {
            let before: Vec<usize> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            until("everybody has read again", || {
                let mut both = counts.iter().zip(&before);
                both.all(|(count, before)| count.load(Ordering::Relaxed) > before + 5).then_some(())
            });
        };
        let wrong = std::thread::scope(|scope| {
            let readers: Vec<_> = ["acme", "globex", "acme", "globex"]
                .into_iter()
                .zip(&counts)
                .map(|(name, count)| (stage.client(name), name, count))
                .map(|(client, name, count)| scope.spawn(|| keep_reading(client, name, count, &stop)))
                .collect();
            everybody_reads_on();
            // Insert, use, wait for what began with the old one, retire.
            seal::add_key(server, NEXT_KEY);
            reload::write(&stage.pgwarden, "seal.key", NEXT_KEY);
            reload(&stage.pgwarden, OK);
            everybody_reads_on();
            let old = id(server, KEY);
            server.psql(&format!("DELETE FROM pgwarden.seal_key WHERE id = '{old}'"));
            everybody_reads_on();
            stop.store(true, Ordering::Relaxed);
            readers.into_iter().flat_map(|reader| reader.join().expect("it reads")).collect::<Vec<_>>()
        });
        assert!(wrong.is_empty(), "{} went wrong, first {}", wrong.len(), wrong[0]);
        let seen = Seen::by(&mut stage.client("acme"));
        assert_eq!(seen.seal[1..9], id(server, NEXT_KEY));
    });
}

#[test]
fn sessions_that_go_on_take_the_new_key() {
    for_each_version(async |server| {
        let stage = seal::start(server);
        let mut acme = stage.client("acme");
        assert_eq!(Seen::by(&mut acme).seal[1..9], id(server, KEY));
        reload::write(&stage.pgwarden, "seal.key", NEXT_KEY);
        reload(&stage.pgwarden, OK);
        assert_eq!(Seen::by(&mut acme).seal[1..9], id(server, NEXT_KEY));
        // What is no key changes nothing.
        reload::write(&stage.pgwarden, "seal.key", "no key");
        reload(&stage.pgwarden, reload::FAILED);
        assert_eq!(Seen::by(&mut acme).seal[1..9], id(server, NEXT_KEY));
    });
}

#[test]
fn with_another_list_of_variables_sessions_that_go_on_keep_their_key() {
    for_each_version(async |server| {
        seal::load(server);
        let upstream = reload::upstream(server);
        let sealed = |name: &str| format!("{}\ncontext.seal.key = \"file:{{dir}}/{name}\"", reload::TRUST);
        let told = reload::told(&upstream, &sealed("one")).file("one", KEY).file("two", NEXT_KEY);
        let stage = Tenants { server, pgwarden: told.start() };
        for (key, context) in [
            (KEY, "app.current_org_id=tenant:uuid"),
            (NEXT_KEY, "app.current_org_id=tenant:uuid, app.region=literal:eu"),
        ] {
            server.psql(&format!("DELETE FROM pgwarden.seal_key WHERE id = '{}'", id(server, key)));
            let builder = Tenants::builder("postgres://h").env("PGWARDEN_CONTEXT", context);
            seal::add_key_of(server, seal::with_key(builder, key));
        }
        // As policies have it: the guard lets no client name a variable that pgwarden sets.
        server.psql("CREATE FUNCTION region() RETURNS text RETURN pgwarden.verified_setting('app.region')");
        let mut before = stage.client("acme");
        assert_eq!(values(&before.query(OWN)), ["of acme"]);
        let file = stage.pgwarden.directory().join("pgwarden.toml");
        reload::rewrite(&stage.pgwarden, &upstream, &sealed("two"));
        let text = std::fs::read_to_string(&file).expect("a file can be read");
        let text = text.replace(
            "app.current_org_id=tenant:uuid",
            "app.current_org_id=tenant:uuid, app.region=literal:eu",
        );
        std::fs::write(&file, text).expect("a file can be written");
        reload(&stage.pgwarden, OK);
        let mut after = stage.client("globex");
        assert_eq!(values(&after.query("SELECT region()")), ["eu"]);
        assert_eq!(values(&after.query(OWN)), ["of globex"]);
        assert_eq!(values(&before.query(OWN)), ["of acme"]);
    });
}

#[test]
fn a_reload_switches_seals_on_for_whom_comes_after_it() {
    for_each_version(async |server| {
        seal::load(server);
        let upstream = reload::upstream(server);
        let pgwarden = reload::told(&upstream, reload::TRUST).file("seal.key", NEXT_KEY).start();
        let stage = Tenants { server, pgwarden };
        let known = seal::with_key(
            Tenants::builder("postgres://h").env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid"),
            NEXT_KEY,
        );
        seal::add_key_of(server, known);
        let mut before = stage.client("acme");
        assert_eq!(error_code(&before.query(OWN)), "42501");
        let sealed = format!("{}\ncontext.seal.key = \"file:{{dir}}/seal.key\"", reload::TRUST);
        reload::rewrite(&stage.pgwarden, &upstream, &sealed);
        reload(&stage.pgwarden, OK);
        let mut after = stage.client("acme");
        assert_eq!(values(&after.query(OWN)), ["of acme"]);
        assert_eq!(error_code(&before.query(OWN)), "42501");
        assert_eq!(values(&after.query(OWN)), ["of acme"]);
        reload::rewrite(&stage.pgwarden, &upstream, reload::TRUST);
        reload(&stage.pgwarden, OK);
        assert_eq!(error_code(&stage.client("acme").query(OWN)), "42501");
        assert_eq!(values(&after.query(OWN)), ["of acme"]);
    });
}
