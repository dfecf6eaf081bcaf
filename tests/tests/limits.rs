//! Limits and timeouts: how many, how long, and who is next.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, values};
use pgwarden_tests::wire::Message;
use pgwarden_tests::{Frontend, PgwardenBuilder, Server, Wire, for_each_version, until};

/// A pgwarden with these lines of configuration.
fn limited<'a>(server: &'a Server, config: &str) -> Tenants<'a> {
    Tenants::start_with(server, |builder: PgwardenBuilder| builder.config(config))
}

/// The last word of a connection that was closed.
fn last_word(wire: &mut Wire) -> (String, String) {
    let last = wire.until_closed().pop().expect("a last word").fields();
    (last.severity().to_owned(), last.code().to_owned())
}

fn fatal(code: &str) -> (String, String) {
    ("FATAL".to_owned(), code.to_owned())
}

#[test]
fn a_user_has_so_many_clients_and_the_others_have_theirs() {
    for_each_version(async |server| {
        let stage = limited(server, "limits.max_clients_per_user = 2");
        let (mut first, _second) = (stage.client("acme"), stage.client("acme"));
        let parameters = [("user", "acme"), ("database", "postgres")];
        let refused = Wire::connect(stage.pgwarden.port()).try_log_in("", &parameters).expect_err("too many");
        let fields = refused.fields();
        assert_eq!((fields.severity(), fields.code()), ("FATAL", "53300"));
        assert_eq!(fields.message(), "too many connections for role \"acme\"");
        assert!(!fields.hint().is_empty());
        assert_eq!(values(&stage.client("globex").query("SELECT org()")), [GLOBEX]);
        assert_eq!(values(&first.query("SELECT org()")), [ACME]);
        drop(first);
        until("there is a place again", || {
            Wire::connect(stage.pgwarden.port()).try_log_in("", &parameters).ok()
        });
    });
}

/// How many backends the login has on the server.
fn backends(server: &Server) -> usize {
    let count = server.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
    count.parse().expect("a number")
}

#[test]
fn all_pools_together_have_so_many_backends_and_each_gets_its_turn() {
    for_each_version(async |server| {
        server.psql("CREATE DATABASE other");
        let stage = Tenants::start_with(server, |builder| {
            builder.env("PGWARDEN_POOL_SIZE", "5").config("upstream.max_backends = 2")
        });
        let client = |database: &str| Wire::open(stage.pgwarden.port(), "acme", "", database);
        // Whoever comes first to a database waits for a backend before it is let in.
        let mut other = client("other");
        let (mut one, mut two) = (client("postgres"), client("postgres"));
        for wire in [&mut one, &mut two] {
            wire.query("BEGIN");
            assert_eq!(error_code(&wire.query("SELECT 1")), "");
        }
        other.send(&Frontend::new().query("SELECT current_database()"));
        until("it waits", || (stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        assert_eq!(backends(server), 2);
        // The backend would be idle now; another pool is due to have one.
        one.query("COMMIT");
        assert_eq!(values(&other.until_ready()), ["other"]);
        assert!(backends(server) <= 2);
        // An idle backend of another pool is closed when one is needed.
        two.query("COMMIT");
        for database in ["postgres", "other", "template1", "postgres", "other"] {
            let mut wire = client(database);
            wire.query("BEGIN");
            assert_eq!(values(&wire.query("SELECT current_database()")), [database]);
            let mut beside = client("postgres");
            assert_eq!(values(&beside.query("SELECT current_database()")), ["postgres"]);
            assert!(backends(server) <= 2);
        }
        let made_room = "pgwarden_backends_closed_total{reason=\"made_room\"}";
        assert!(stage.pgwarden.metric(made_room) > Some(0.0));
    });
}

#[test]
fn who_waits_longer_for_a_backend_is_served_first() {
    for_each_version(async |server| {
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_WORKERS", "1"));
        let mut first = stage.client("acme");
        first.query("BEGIN");
        first.query("SELECT 1");
        server.psql("CREATE TABLE line (at serial, number int); GRANT ALL ON line, line_at_seq TO PUBLIC");
        let mut line: Vec<Wire> = (0..8).map(|_| stage.client("acme")).collect();
        for (number, wire) in line.iter_mut().enumerate() {
            wire.send(&Frontend::new().query(&format!("INSERT INTO line (number) VALUES ({number})")));
            let waiting = Some(number as f64 + 1.0);
            until("it waits", || {
                (stage.pgwarden.metric("pgwarden_waiting_clients") == waiting).then_some(())
            });
        }
        first.query("COMMIT");
        line.iter_mut().for_each(|wire| assert_eq!(error_code(&wire.until_ready()), ""));
        assert_eq!(server.psql("SELECT string_agg(number::text, '' ORDER BY at) FROM line"), "01234567");
    });
}

#[test]
fn a_client_that_is_idle_for_too_long_is_sent_away() {
    for_each_version(async |server| {
        let stage = limited(server, "limits.client_idle_timeout = \"1s\"");
        let (mut quiet, mut unborn) = (stage.client("acme"), stage.client("globex"));
        assert_eq!(values(&quiet.query("SELECT org()")), [ACME]);
        assert_eq!(last_word(&mut unborn), fatal("57P05"));
        assert_eq!(last_word(&mut quiet), fatal("57P05"));
        let mut working = stage.client("acme");
        assert_eq!(error_code(&working.query("SELECT pg_sleep(1.6)")), "", "a statement is not idle");
        let mut in_block = stage.client("globex");
        in_block.query("BEGIN");
        assert_eq!(last_word(&mut working), fatal("57P05"));
        assert_eq!(values(&in_block.query("SELECT org()")), [GLOBEX], "that is another limit");
    });
}

#[test]
fn a_client_that_is_idle_in_a_transaction_for_too_long_is_rolled_back() {
    for_each_version(async |server| {
        let stage = limited(server, "limits.idle_in_transaction_timeout = \"1s\"");
        let mut waits = stage.client("globex");
        let mut acme = stage.client("acme");
        acme.query("BEGIN");
        assert_eq!(error_code(&acme.query("INSERT INTO notes VALUES ('never')")), "");
        assert_eq!(last_word(&mut acme), fatal("25P03"));
        assert_eq!(values(&waits.query("SELECT org()")), [GLOBEX], "outside of one there is no limit");
        assert_eq!(server.psql("SELECT count(*) FROM notes"), "0");
    });
}

#[test]
fn a_statement_that_runs_for_too_long_is_cancelled_and_the_client_goes_on() {
    for_each_version(async |server| {
        let stage = limited(server, "limits.statement_timeout = \"1s\"");
        let mut acme = stage.client("acme");
        for sql in ["SELECT pg_sleep(600)", "BEGIN; SELECT pg_sleep(600)"] {
            assert_eq!(error_code(&acme.query(sql)), "57014", "{sql}");
        }
        assert_eq!(values(&acme.query("ROLLBACK; SELECT org()")), [ACME]);
        // Many short ones are not one long one.
        let many = (0..8).fold(Frontend::new(), |all, _| all.query("SELECT pg_sleep(0.2)"));
        acme.send(&many);
        (0..8).for_each(|_| assert_eq!(error_code(&acme.until_ready()), ""));
    });
}

#[test]
fn a_client_prepares_so_many_statements_by_name() {
    for_each_version(async |server| {
        let stage = limited(server, "limits.prepared_statements = 3");
        let mut acme = stage.client("acme");
        let mut prepare = |name: &str| {
            acme.send(&Frontend::new().parse(name, "SELECT 1", &[]).sync());
            error_code(&acme.until_ready())
        };
        for name in ["", "a", "b", "c", ""] {
            assert_eq!(prepare(name), "", "{name}");
        }
        assert_eq!(prepare("d"), "53400");
        assert_eq!(prepare("a"), "42P05", "that is another mistake");
        acme.send(&Frontend::new().close_statement("b").sync());
        assert_eq!(error_code(&acme.until_ready()), "");
        acme.send(&Frontend::new().parse("d", "SELECT 1", &[]).sync());
        assert_eq!(error_code(&acme.until_ready()), "");
    });
}

fn run_named(wire: &mut Wire, number: usize) -> Vec<Message> {
    wire.send(&Frontend::new().bind("", &format!("s{number}"), &[]).execute("", 0).sync());
    wire.until_ready()
}

#[test]
fn a_backend_prepares_so_many_statements_and_forgets_the_oldest() {
    for_each_version(async |server| {
        let stage = limited(server, "pool.prepared_statements = 2");
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        for wire in [&mut acme, &mut globex] {
            for number in 0..5 {
                let sql = format!("SELECT {number} || org()");
                wire.send(&Frontend::new().parse(&format!("s{number}"), &sql, &[]).sync());
                assert_eq!(error_code(&wire.until_ready()), "");
            }
        }
        for round in 0..4 {
            for number in [0, 1, 2, 3, 4, round] {
                assert_eq!(values(&run_named(&mut acme, number)), [format!("{number}{ACME}")]);
                assert_eq!(values(&run_named(&mut globex, number)), [format!("{number}{GLOBEX}")]);
            }
            // Several in one batch, and a batch that fails in the middle.
            let batch = (0..5)
                .fold(Frontend::new(), |all, number| all.bind("", &format!("s{number}"), &[]).execute("", 0));
            acme.send(&batch.sync());
            assert_eq!(values(&acme.until_ready()).len(), 5);
            let failing = Frontend::new().bind("", "s0", &[]).bind("", "nothing", &[]).bind("", "s4", &[]);
            acme.send(&failing.sync());
            assert_eq!(error_code(&acme.until_ready()), "26000");
        }
        let kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%|| org()'";
        assert_eq!(values(&acme.query(kept)), ["2"]);
    });
}
