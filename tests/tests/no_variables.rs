//! pgwarden without any context variable: nothing is added to what the client says, and nothing is left out.

use pgwarden_tests::tenants::run;
use pgwarden_tests::{Frontend, Pgwarden, Server, Wire, for_each_version};

/// One conversation through pgwarden and with the server itself; the replies have to be the same.
#[track_caller]
fn assert_like_direct(server: &Server, pgwarden: &Pgwarden, messages: &Frontend, ready: usize) {
    let converse = |port| {
        let mut wire = Wire::open(port, "postgres", "", "postgres");
        wire.send(messages);
        (0..ready).flat_map(|_| wire.until_ready()).collect::<Vec<_>>()
    };
    let (found, expected) = (converse(pgwarden.port()), converse(server.port()));
    assert_eq!(found, expected, "{messages:?}: found on the left, a direct connection's on the right");
}

#[test]
fn strings_with_transaction_control_are_answered_like_the_servers() {
    for_each_version(async |server| {
        for pooling in ["transaction", "session"] {
            let upstream = format!("{}?sslmode=disable", server.url());
            let builder = Pgwarden::builder().upstream(&upstream).env("PGWARDEN_AUTH", "trust");
            let pgwarden = builder.env("PGWARDEN_POOL_MODE", pooling).start();
            for sql in [
                "SELECT 1",
                "SELECT 1; SELECT 2",
                "BEGIN; SELECT 1",
                "BEGIN; SELECT 1; COMMIT",
                "BEGIN; COMMIT; SELECT 1",
                "BEGIN; SELECT 1; COMMIT AND CHAIN; SELECT 2; ROLLBACK",
                "SAVEPOINT a; SELECT 1",
                "BEGIN; SAVEPOINT a; SELECT 1; ROLLBACK TO a; SELECT 2; COMMIT",
                "SELECT 1; COMMIT; SELECT 1 / 0; SELECT 3",
                "BEGIN; SELECT 1 / 0; SELECT 3",
                "BEGIN ISOLATION LEVEL SERIALIZABLE; SELECT 1; ROLLBACK; SELECT 2",
                "SET TRANSACTION READ ONLY; SELECT 1",
                "RESET ALL; SELECT 1",
                "DISCARD ALL",
                "CHECKPOINT",
                "",
                ";;",
            ] {
                assert_like_direct(server, &pgwarden, &Frontend::new().query(sql), 1);
            }
            let pipelined = run("BEGIN").sync().raw(run("SELECT 1").sync().bytes()).query("COMMIT; SELECT 2");
            assert_like_direct(server, &pgwarden, &pipelined, 3);
            assert_eq!(pgwarden.metric("pgwarden_refusals_total"), Some(0.0), "{pooling}");
        }
    });
}
