//! PgBouncer in transaction mode between pgwarden and PostgreSQL: the context is in every statement, whichever of
//! PgBouncer's connections it meets, and on none of them at session level afterwards.
//!
//! What is refused there, and what is left alone, is in `pooler_limits`; drivers are in `pooler_drivers`.

#[path = "pooler/stage.rs"]
mod stage;

use std::collections::BTreeSet;

use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX, Tenants, error_code, run, value, values};
use pgwarden_tests::wire::tags;
use pgwarden_tests::{Frontend, Message, Wire, for_each_version, until};
use stage::Behind;

const ORG: &str = "SELECT org()";
const SLEEP: &str = "SELECT pg_sleep(600)";

/// The two tenants' clients, with what each has to see.
struct Pair([(Wire, &'static str); 2]);

impl Pair {
    #[track_caller]
    fn of(behind: &Behind<'_>) -> Pair {
        Pair([(behind.client("acme"), ACME), (behind.client("globex"), GLOBEX)])
    }

    /// Both send the same, one after the other; every value that comes back has to be the client's own organisation.
    #[track_caller]
    fn ask(&mut self, messages: &Frontend, ready: usize) {
        for (wire, org) in &mut self.0 {
            let answers = converse(wire, messages, ready);
            assert_own(&answers, org);
        }
    }

    /// The same where the other client sends before the first one's answer is read.
    #[track_caller]
    fn ask_at_once(&mut self, messages: &Frontend, ready: usize) {
        self.0.iter_mut().for_each(|(wire, _)| wire.send(messages));
        for (wire, org) in &mut self.0 {
            let answers: Vec<_> = (0..ready).flat_map(|_| wire.until_ready()).collect();
            assert_own(&answers, org);
        }
    }
}

#[track_caller]
fn converse(wire: &mut Wire, messages: &Frontend, ready: usize) -> Vec<Message> {
    wire.send(messages);
    (0..ready).flat_map(|_| wire.until_ready()).collect()
}

#[track_caller]
fn assert_own(answers: &[Message], org: &str) {
    assert_eq!(error_code(answers), "", "{answers:?}");
    let seen = values(answers);
    assert!(!seen.is_empty() && seen.iter().all(|value| value == org), "{seen:?}, not {org}");
}

/// Ways to ask for the organisation, with the number of ReadyForQuery that answer them. Statement `s` is known.
fn ways() -> Vec<(Frontend, usize)> {
    let ask = || Frontend::new();
    let named = || ask().bind("", "s", &[]).execute("", 0);
    vec![
        (ask().query(ORG), 1),
        (ask().query("SELECT org(); SELECT org()"), 1),
        (ask().query("SELECT org(); COMMIT; SELECT org()"), 1),
        (ask().query("BEGIN; SELECT org(); COMMIT; SELECT org()"), 1),
        (ask().query("BEGIN; SELECT org(); ROLLBACK AND CHAIN; SELECT org(); COMMIT"), 1),
        (ask().query("BEGIN").query(ORG).query("COMMIT; SELECT org()"), 3),
        (
            ask().query("BEGIN").query("SAVEPOINT s").query(ORG).query("ROLLBACK TO s; SELECT org(); COMMIT"),
            4,
        ),
        (run(ORG).sync(), 1),
        (run(ORG).raw(run(ORG).bytes()).sync(), 1),
        (run(ORG).sync().raw(run(ORG).sync().bytes()), 2),
        (run(ORG).flush().raw(run(ORG).bytes()).sync(), 1),
        (
            run("BEGIN").raw(run(ORG).bytes()).sync().raw(run(ORG).bytes()).raw(run("COMMIT").bytes()).sync(),
            2,
        ),
        (ask().parse("", ORG, &[]).describe_statement("").bind("p", "", &[]).execute("p", 0).sync(), 1),
        (named().sync(), 1),
        (named().raw(named().bytes()).sync().raw(named().bytes()).sync(), 2),
        (ask().describe_statement("s").raw(named().bytes()).sync(), 1),
        (run(ORG).raw(named().bytes()).raw(run(ORG).bytes()).sync(), 1),
        (run("BEGIN").sync().raw(named().bytes()).sync().raw(run("ROLLBACK").sync().bytes()), 3),
        (ask().query(ORG).raw(named().sync().bytes()).query(ORG), 3),
    ]
}

fn every_way(servers: usize) {
    for_each_version(async |server| {
        let behind = Behind::start(server, servers);
        let mut pair = Pair::of(&behind);
        for (wire, _) in &mut pair.0 {
            assert_eq!(tags(&converse(wire, &Frontend::new().parse("s", ORG, &[]).sync(), 1)), "1Z");
        }
        for (messages, ready) in ways() {
            pair.ask(&messages, ready);
            pair.ask_at_once(&messages, ready);
        }
        behind.assert_nothing_left("all of them");
    });
}

#[test]
fn on_one_connection_every_statement_has_its_own_context_whatever_way_it_is_sent() {
    every_way(1);
}

#[test]
fn on_two_connections_every_statement_has_its_own_context_whatever_way_it_is_sent() {
    every_way(2);
}

#[test]
fn transactions_of_one_client_meet_both_connections() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut pair = Pair::of(&behind);
        let mut met = [(); 2].map(|()| BTreeSet::new());
        for _ in 0..8 {
            for ((wire, org), met) in pair.0.iter_mut().zip(&mut met) {
                let row = wire.rows("SELECT org(), pg_backend_pid()").swap_remove(0);
                assert_eq!(row[0].as_deref(), Some(*org));
                met.insert(row[1].clone());
                // An odd number of transactions, so that the clients change places.
                wire.rows(ORG);
            }
            assert_eq!(pair.0[0].0.rows(ORG), [[Some(ACME.to_owned())]]);
        }
        assert_eq!(met.map(|met| met.len()), [2, 2], "what these tests are about");
    });
}

#[test]
fn it_looks_like_a_direct_connection() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 1);
        for (messages, ready) in ways() {
            let messages = Frontend::new().parse("s", ORG, &[]).sync().raw(messages.bytes());
            behind.tenants.like_direct(&messages, ready + 1);
        }
        behind.tenants.queries_like_direct(&[
            "TABLE items",
            "INSERT INTO items VALUES ('one'), ('two') RETURNING *",
            "SELECT nowhere FROM items",
            "SELECT 1; SELECT 1/0; SELECT 2",
            "SELEC 1",
            "",
            ";",
            "INSERT INTO items VALUES ('not mine', 'other')",
            "BEGIN; INSERT INTO notes VALUES ('a'); SAVEPOINT s; SELECT 1/0",
            "ROLLBACK TO s",
            "SELECT org(), count(*) FROM notes",
            "COMMIT",
            "EXPLAIN (COSTS OFF) SELECT * FROM notes",
        ]);
        behind.assert_nothing_left("all of them");
    });
}

/// A transaction that loses its context to a savepoint, fails, is mended, and is followed by another.
const STEPS: [&str; 13] = [
    "BEGIN",
    "SAVEPOINT a",
    "INSERT INTO items VALUES ('lost')",
    "ROLLBACK TO a",
    "INSERT INTO items VALUES ('kept')",
    "SAVEPOINT b",
    "SELECT 1/0",
    "ROLLBACK TO b",
    "INSERT INTO notes VALUES ('kept')",
    "RELEASE a",
    "COMMIT AND CHAIN",
    "INSERT INTO notes VALUES ('chained')",
    "COMMIT",
];

#[track_caller]
fn take_step(wire: &mut Wire, org: &str, step: &str, messages: &Frontend) {
    let answers = converse(wire, messages, 1);
    if step == "SELECT 1/0" {
        assert_eq!(error_code(&answers), "22012", "{answers:?}");
        return;
    }
    assert_eq!(error_code(&answers), "", "{step}: {answers:?}");
    if !step.starts_with("COMMIT") {
        assert_own(&wire.query(ORG), org);
    }
}

#[test]
fn open_transactions_with_savepoints_keep_their_contexts_beside_each_other() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut pair = Pair::of(&behind);
        let ways: [fn(&str) -> Frontend; 2] = [|sql| Frontend::new().query(sql), |sql| run(sql).sync()];
        for (way, step) in ways.iter().flat_map(|way| STEPS.map(|step| (way, step))) {
            for (wire, org) in &mut pair.0 {
                take_step(wire, org, step, &way(step));
            }
        }
        let count =
            |table: &str| server.psql(&format!("SELECT count(*), org FROM {table} GROUP BY 2 ORDER BY 2"));
        // One of each was there before.
        assert_eq!(count("items"), format!("3|{ACME}\n3|{GLOBEX}"));
        assert_eq!(count("notes"), format!("4|{ACME}\n4|{GLOBEX}"));
        assert_eq!(server.psql("SELECT DISTINCT writer FROM items ORDER BY 1"), format!("{ANN}\n{BOB}"));
        behind.assert_nothing_left("the transactions");
    });
}

#[test]
fn an_error_leaves_the_context_of_nobody_behind() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 1);
        let mut pair = Pair::of(&behind);
        for (sql, code) in [
            ("SELECT 1/0", "22012"),
            ("SELEC 1", "42601"),
            ("SELECT * FROM nowhere", "42P01"),
            ("INSERT INTO items VALUES ('not mine', 'other')", "42501"),
            ("SELECT org(); SELECT 1/0", "22012"),
            ("BEGIN; SELECT org(); SELECT 1/0", "22012"),
            ("SET app.current_org_id = 'other'", "42501"),
            ("SELECT set_config('app.current_org_id', 'other', false)", "42501"),
        ] {
            let extended = Some(run(sql).sync()).filter(|_| !sql.contains(';'));
            for messages in [Some(Frontend::new().query(sql)), extended].into_iter().flatten() {
                assert_failing(&behind, &mut pair, &messages, code);
            }
        }
    });
}

/// Both fail, one after the other; what each runs next is its own.
#[track_caller]
fn assert_failing(behind: &Behind<'_>, pair: &mut Pair, messages: &Frontend, code: &str) {
    for turn in 0..2 {
        let (wire, _) = &mut pair.0[turn];
        let answers = converse(wire, messages, 1);
        assert_eq!(error_code(&answers), code, "{answers:?}");
        wire.query("ROLLBACK");
        behind.assert_nothing_left(code);
        pair.ask(&Frontend::new().query(ORG), 1);
        pair.ask(&run(ORG).sync(), 1);
    }
}

#[test]
fn a_value_that_a_function_left_on_a_connection_shows_through_to_nobody() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 1);
        let mut pair = Pair::of(&behind);
        let mut nobody = behind.client("nobody");
        behind.outsider().query(&format!("SELECT poison('{GLOBEX}')"));
        for (messages, ready) in [(Frontend::new().query(ORG), 1), (run(ORG).sync(), 1)] {
            assert_eq!(value(&converse(&mut nobody, &messages, ready)).as_deref(), Some(""));
            pair.ask(&messages, ready);
        }
    });
}

#[test]
fn discarding_everything_leaves_the_context_and_forgets_named_statements() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut pair = Pair::of(&behind);
        for sql in ["DISCARD ALL", "DEALLOCATE ALL", "RESET ALL", "DISCARD PLANS", "CLOSE ALL"] {
            for messages in [Frontend::new().query(sql), run(sql).sync()] {
                pair.0.iter_mut().for_each(|(wire, org)| discard(wire, org, sql, &messages));
                pair.ask(&Frontend::new().query(ORG), 1);
                pair.ask(&run(ORG).sync(), 1);
            }
            behind.assert_nothing_left(sql);
        }
    });
}

#[track_caller]
fn discard(wire: &mut Wire, org: &str, sql: &str, messages: &Frontend) {
    converse(wire, &Frontend::new().close_statement("s").parse("s", ORG, &[]).sync(), 1);
    assert_eq!(error_code(&converse(wire, messages, 1)), "", "{sql}");
    let answers = converse(wire, &Frontend::new().bind("", "s", &[]).execute("", 0).sync(), 1);
    if matches!(sql, "DISCARD ALL" | "DEALLOCATE ALL") {
        assert_eq!(error_code(&answers), "26000", "{sql}: the statement is gone");
    } else {
        assert_own(&answers, org);
    }
}

/// COPY of the client's own rows to it, and a row from it, as a simple query or not.
fn copies(extended: bool) -> [Frontend; 2] {
    let [to, from] = ["COPY (SELECT name FROM items) TO STDOUT", "COPY notes (name) FROM STDIN"];
    let rows = |messages: Frontend| messages.copy_data(b"copied\n").copy_done();
    if extended {
        // The server takes no notice of a Sync that comes before the end of the data.
        [run(to).sync(), rows(run(from)).sync()]
    } else {
        [Frontend::new().query(to), rows(Frontend::new().query(from))]
    }
}

#[test]
fn copy_has_the_context_both_ways() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut pair = Pair::of(&behind);
        for extended in [false, true] {
            let [to, from] = copies(extended);
            for ((wire, _), name) in pair.0.iter_mut().zip(["of acme\n", "of globex\n"]) {
                let answers = converse(wire, &to, 1);
                let data: Vec<_> = answers.iter().filter(|message| message.tag == b'd').collect();
                assert_eq!((data.len(), data[0].body.as_slice()), (1, name.as_bytes()), "{answers:?}");
                let answers = converse(wire, &from, 1);
                assert_eq!(error_code(&answers), "", "{answers:?}");
                let failing = Frontend::new().query("COPY notes (name) FROM STDIN").copy_fail("enough");
                assert_eq!(error_code(&converse(wire, &failing, 1)), "57014");
            }
            pair.ask(&Frontend::new().query(ORG), 1);
        }
        let rows = server.psql("SELECT count(*), name, org FROM notes GROUP BY 2, 3 ORDER BY 3");
        assert_eq!(rows, format!("2|copied|{ACME}\n2|copied|{GLOBEX}"));
        behind.assert_nothing_left("COPY");
    });
}

#[track_caller]
fn asleep(stage: &Tenants<'_>, count: &str) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    until("so many sleep", || (stage.server.psql(sql) == count).then_some(()));
}

#[test]
fn a_cancel_reaches_the_statement_of_its_own_client_alone() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 2);
        let mut pair = Pair::of(&behind);
        for messages in [Frontend::new().query(SLEEP), run(SLEEP).sync()] {
            let [(acme, _), (globex, _)] = &mut pair.0;
            acme.send(&messages);
            globex.send(&messages);
            asleep(&behind.tenants, "2");
            acme.cancel();
            assert_eq!(error_code(&acme.until_ready()), "57014");
            asleep(&behind.tenants, "1");
            assert_eq!(globex.receive_at_once(), None, "the other's goes on");
            assert_own(&acme.query(ORG), ACME);
            globex.cancel();
            let answers = globex.until_ready();
            assert_eq!(error_code(&answers), "57014", "{answers:?}");
            pair.ask(&Frontend::new().query(ORG), 1);
            pair.ask(&run(ORG).sync(), 1);
            behind.assert_nothing_left("a cancel");
        }
    });
}

#[test]
fn a_batch_whose_end_comes_late_keeps_its_connection_to_itself() {
    for_each_version(async |server| {
        let behind = Behind::start(server, 1);
        let (mut acme, mut outsider) = (behind.client("acme"), behind.outsider());
        for turn in 0..4 {
            // PgBouncer gives a connection to the next client when it sees ReadyForQuery and knows of no further Sync.
            acme.send(&run(ORG).sync().raw(run(ORG).bytes()));
            assert_own(&acme.until_ready(), ACME);
            outsider.send(&Frontend::new().query("SELECT coalesce(org(), '')"));
            acme.send(&Frontend::new().sync());
            let answers = acme.until_ready();
            assert_eq!(tags(&answers), "12DCZ", "turn {turn}: {answers:?}");
            assert_own(&answers, ACME);
            let answers = outsider.until_ready();
            assert_eq!(
                (tags(&answers).as_str(), values(&answers)),
                ("TDCZ", vec![String::new()]),
                "turn {turn}"
            );
        }
    });
}
