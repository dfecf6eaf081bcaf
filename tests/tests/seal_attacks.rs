//! Attacks on sealed contexts, by one tenant that can send any SQL: nothing but the seal is in the way here.

use pgwarden_tests::seal::{self, NEXT_KEY, Seen};
use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX, Tenants, error_code, values};
use pgwarden_tests::{Message, Server, Wire, for_each_version, until};

const OWN: &str = "SELECT name FROM sealed";

/// Tries to read `sealed` under another context; the message of the readers, or the rows.
#[track_caller]
fn tries(client: &mut Wire, context: &Seen) -> Result<Vec<String>, String> {
    assert_eq!(error_code(&client.query(&format!("BEGIN; {}", context.set()))), "");
    let replies = client.query(OWN);
    assert_eq!(error_code(&client.query("ROLLBACK")), "");
    match replies.iter().find(|message| message.tag == b'E').map(Message::fields) {
        Some(error) => {
            assert_eq!(error.code(), "42501", "{error}");
            Err(error.message().to_owned())
        }
        None => Ok(values(&replies)),
    }
}

const UNFIT: &str = "the seal does not fit the tenant context";
const UNKNOWN: &str = "the tenant context is sealed with a key that is not known here";
const EXPIRED: &str = "the seal of the tenant context has expired";
const MISSING: &str = "the tenant context is not sealed";

#[track_caller]
fn assert_refused(client: &mut Wire, context: &Seen, message: &str) {
    assert_eq!(tries(client, context), Err(message.to_owned()), "{context:?}");
}

/// Seals do not expire in these tests unless they are about that.
fn start(server: &Server) -> Tenants<'_> {
    seal::start_with(server, |builder| builder.config("context.seal.lifetime = '10min'"))
}

#[test]
fn values_swapped_under_a_valid_seal_are_refused() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut globex = stage.client("globex");
        for (org, user) in [(ACME, BOB), (GLOBEX, ANN), (ACME, ANN), ("", BOB), (GLOBEX, ""), (BOB, GLOBEX)] {
            let mine = Seen::by(&mut globex);
            assert_refused(&mut globex, &mine.with_values(org, user), UNFIT);
        }
        let mine = Seen::by(&mut globex);
        let moved = mine.with_values(&format!("{GLOBEX}{BOB}"), "");
        assert_refused(&mut globex, &moved, UNFIT);
        assert_eq!(tries(&mut globex, &mine), Ok(vec!["of globex".into()]), "its own is its own");
    });
}

#[test]
fn claims_swapped_under_a_valid_seal_are_refused() {
    for_each_version(async |server| {
        seal::load(server);
        let context = "app.current_org_id=tenant:uuid, request.jwt.claims=literal:'{\"role\": \"member\"}'";
        let tell = |builder: pgwarden_tests::PgwardenBuilder| {
            seal::with_key(builder.env("PGWARDEN_CONTEXT", context), NEXT_KEY)
        };
        seal::add_key_of(server, tell(Tenants::builder("postgres://h")));
        let stage = seal::start_before(server, tell);
        let mut acme = stage.client("acme");
        assert_eq!(values(&acme.query("SELECT pgwarden.jwt_claims() ->> 'role'")), ["member"]);
        for claims in ["{\"role\": \"admin\"}", "{\"role\":  \"member\"}", ""] {
            let set = format!("BEGIN; SELECT pretend('request.jwt.claims', '{claims}')");
            assert_eq!(error_code(&acme.query(&set)), "");
            assert_eq!(error_code(&acme.query("SELECT pgwarden.jwt_claims()")), "42501", "{claims}");
            assert_eq!(error_code(&acme.query("ROLLBACK")), "");
        }
    });
}

#[test]
fn a_seal_of_another_backend_is_refused() {
    for_each_version(async |server| {
        let stage = seal::start_with(server, |builder| {
            builder.config("context.seal.lifetime = '10min'").env("PGWARDEN_POOL_SIZE", "2")
        });
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        assert_eq!(error_code(&acme.query("BEGIN")), "");
        let theirs = Seen::by(&mut acme);
        assert_refused(&mut globex, &theirs, UNFIT);
        // The login of pgwarden on a connection of its own, too.
        let mut direct = Wire::open(server.port(), "app", "", "postgres");
        assert_refused(&mut direct, &theirs, UNFIT);
        assert_eq!(values(&acme.query(OWN)), ["of acme"]);
    });
}

#[test]
fn a_seal_of_another_database_is_refused() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut acme = stage.client("acme");
        let theirs = Seen::by(&mut acme);
        // A later process in another database can have the same number; here it is the same key that is known there.
        server.psql("CREATE DATABASE other");
        let other = server.url_for("postgres", "", "other");
        seal::run(server, &other, &seal::printed(pgwarden_tests::Pgwarden::builder(), &["install"]));
        let key = seal::with_key(Tenants::builder("postgres://h"), seal::KEY);
        seal::run(server, &other, &seal::printed(key, &["key"]));
        seal::run(server, &other, seal::PRETEND);
        let mut globex = Wire::open(stage.pgwarden.port(), "globex", "", "other");
        assert_eq!(error_code(&globex.query("SELECT pgwarden.current_org_id()")), "");
        assert_eq!(error_code(&globex.query(&format!("BEGIN; {}", theirs.set()))), "");
        assert_eq!(error_code(&globex.query("SELECT pgwarden.current_org_id()")), "42501");
    });
}

/// A seal for a process of this number whose client was elsewhere, or that began at another time. Only who has the key can
/// make one: this is how the seal of an earlier process would look.
const FORGE: &str = "
CREATE FUNCTION forge(pid int, place bytea, database text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    key pgwarden.seal_key;
    head text;
    name text;
    content bytea := '';
    part bytea;
BEGIN
    SELECT * INTO key FROM pgwarden.seal_key;
    head := '1' || key.id || encode(timestamptz_send(now() + interval '1 minute'), 'hex') || repeat('0', 16);
    FOREACH name IN ARRAY key.variables LOOP
        FOREACH part IN ARRAY ARRAY[convert_to(name, 'UTF8'), convert_to(current_setting(name), 'UTF8')] LOOP
            content := content || int4send(length(part)) || part;
        END LOOP;
    END LOOP;
    part := int4send(length(database)) || convert_to(database, 'UTF8') || int4send(pid);
    part := part || int4send(length(place)) || place || sha256(content);
    part := sha256(key.outer_pad || sha256(key.inner_pad || convert_to(head, 'UTF8') || part));
    RETURN head || encode(part, 'hex');
END $$;
CREATE FUNCTION began() RETURNS bytea LANGUAGE sql SECURITY DEFINER AS $$
    SELECT timestamptz_send(backend_start) FROM pg_stat_activity WHERE pid = pg_backend_pid()
$$;
";

#[test]
fn the_seal_of_an_earlier_process_of_the_same_number_is_refused() {
    for_each_version(async |server| {
        seal::load(server);
        server.psql(FORGE);
        let directory = server.directory().display();
        let sockets = format!("postgres://app@/postgres?host={directory}&port={}", server.port());
        let client_end = "inet_send(inet_client_addr()) || int4send(inet_client_port())";
        let next_end = "inet_send(inet_client_addr()) || int4send(inet_client_port() + 1)";
        let later = "substr(began(), 1, 7) || set_byte('\\x00', 0, (get_byte(began(), 7) + 1) % 256)";
        for (upstream, own, other) in [(None, client_end, next_end), (Some(sockets), "began()", later)] {
            let stage = seal::start_before(server, |builder| match &upstream {
                Some(upstream) => builder.upstream(upstream),
                None => builder,
            });
            let mut globex = stage.client("globex");
            let mut read = |forged: &str| {
                let set = format!("SELECT pretend('app.context_seal', forge({forged}))");
                let replies = globex.query(&format!("BEGIN; {set}; {OWN}"));
                assert_eq!(error_code(&globex.query("ROLLBACK")), "");
                (error_code(&replies), values(&replies).pop())
            };
            let accepted = (String::new(), Some("of globex".to_owned()));
            assert_eq!(read(&format!("pg_backend_pid(), {own}, 'postgres'")), accepted);
            for forged in [
                format!("pg_backend_pid(), {other}, 'postgres'"),
                format!("pg_backend_pid() + 1, {own}, 'postgres'"),
                format!("pg_backend_pid(), {own}, 'postgrex'"),
            ] {
                assert_eq!(read(&forged).0, "42501", "{forged}");
            }
        }
    });
}

#[test]
fn the_seal_of_an_earlier_transaction_is_refused_on_the_same_backend() {
    for_each_version(async |server| {
        let stage = seal::start_with(server, |builder| builder.config("context.seal.lifetime = '1s'"));
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let process = |client: &mut Wire| values(&client.query("SELECT pg_backend_pid()"));
        assert_eq!(process(&mut acme), process(&mut globex), "one backend for both");
        let theirs = Seen::by(&mut acme);
        let then = server.psql("SELECT clock_timestamp() + interval '1100 milliseconds'");
        until("a second has passed", || {
            (server.psql(&format!("SELECT clock_timestamp() > '{then}'")) == "t").then_some(())
        });
        assert_refused(&mut globex, &theirs, EXPIRED);
    });
}

/// SECURITY.md says so: a seal that somebody saw is good for its lifetime, on its backend.
#[test]
fn what_remains_a_seal_can_be_used_again_on_its_own_backend_until_it_expires() {
    for_each_version(async |server| {
        let stage = start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let theirs = Seen::by(&mut acme);
        assert_eq!(tries(&mut globex, &theirs), Ok(vec!["of acme".into()]));
    });
}

#[test]
fn forged_and_truncated_seals_are_refused() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut globex = stage.client("globex");
        let mine = Seen::by(&mut globex);
        let seal = mine.seal.clone();
        let with = |from: usize, digits: &str| {
            let mut seal = seal.clone();
            seal.replace_range(from..from + digits.len(), digits);
            seal
        };
        let last = if seal.ends_with('0') { "1" } else { "0" };
        for (forged, message) in [
            (String::new(), MISSING),
            (seal[..104].to_owned(), UNFIT),
            (seal[..41].to_owned(), UNFIT),
            (seal[..9].to_owned(), UNFIT),
            (seal[..8].to_owned(), UNKNOWN),
            ("1".to_owned(), UNKNOWN),
            (format!("{seal}0"), UNFIT),
            (format!("{seal} "), UNFIT),
            (with(0, "2"), UNKNOWN),
            (with(1, "00000000"), UNKNOWN),
            (with(9, "7fffffffffffffff"), UNFIT),
            (with(25, "ffffffffffffffff"), UNFIT),
            (with(104, last), UNFIT),
            (with(41, &"0".repeat(64)), UNFIT),
            (seal.to_uppercase(), UNFIT),
            ("é".repeat(105), UNKNOWN),
            (with(41, &"é".repeat(32)), UNFIT),
        ] {
            // A key may be called by digits alone.
            if forged != seal {
                let outcome = tries(&mut globex, &mine.with_seal(&forged));
                let unknown = message == UNFIT && outcome == Err(UNKNOWN.to_owned());
                assert!(unknown || outcome == Err(message.to_owned()), "{forged}: {outcome:?}");
            }
        }
        assert_eq!(values(&globex.query(OWN)), ["of globex"]);
    });
}

#[test]
fn a_context_changed_within_the_statement_gives_nothing_away() {
    for_each_version(async |server| {
        let stage = start(server);
        let mut globex = stage.client("globex");
        let change = format!("pretend('app.current_org_id', '{ACME}')");
        for sql in [
            format!("SELECT name FROM sealed, (SELECT {change}) AS changed"),
            format!("WITH changed AS MATERIALIZED (SELECT {change}) SELECT name FROM changed, sealed"),
            format!("SELECT {change}; SELECT name FROM sealed"),
            format!("DO $$ BEGIN PERFORM {change}; PERFORM name FROM sealed; END $$"),
        ] {
            let replies = globex.query(&sql);
            let rows = values(&replies);
            assert!(!rows.contains(&"of acme".to_owned()), "{sql}: {rows:?}");
        }
    });
}
