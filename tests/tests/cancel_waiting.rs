//! CancelRequest of a client that waits for a backend: it ends the statement that waits, and nothing is lost when the
//! backend comes at the same moment.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::{Frontend, Wire, for_each_version, until};

#[test]
fn a_client_that_waits_for_a_backend_can_be_cancelled() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.query("BEGIN");
        acme.query("SELECT 1");
        for messages in [Frontend::new().query("SELECT org()"), run("SELECT org()").sync()] {
            globex.send(&messages);
            let waiting = || stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0);
            until("it waits", || waiting().then_some(()));
            globex.cancel();
            globex.set_patience(std::time::Duration::from_secs(5));
            assert_eq!(error_code(&globex.until_ready()), "57014");
        }
        acme.query("COMMIT");
        assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX]);
    });
}

#[test]
fn a_cancel_while_waiting_ends_one_statement_and_the_next_one_waits_again() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        acme.query("BEGIN");
        acme.query("SELECT 1");
        globex.send(&Frontend::new().query("SELECT 'first'").query("SELECT 'second', org()"));
        until("it waits", || (stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0)).then_some(()));
        globex.cancel();
        assert_eq!(error_code(&globex.until_ready()), "57014");
        acme.query("COMMIT");
        assert_eq!(values(&globex.until_ready()), ["second"]);
    });
}

/// Over and over: the backend becomes free at the moment at which the one that waits for it is cancelled.
#[test]
fn a_cancel_that_meets_the_backend_it_waited_for_loses_neither() {
    for_each_version(async |server| {
        let stage = Tenants::start(server);
        let (mut acme, mut globex) = (stage.client("acme"), stage.client("globex"));
        let (key, port) = (globex.key.clone(), stage.pgwarden.port());
        for round in 0..100 {
            acme.query("BEGIN");
            acme.query("SELECT 1");
            globex.send(&run("SELECT org()").sync());
            if round % 2 == 0 {
                let waiting = || stage.pgwarden.metric("pgwarden_waiting_clients") == Some(1.0);
                until("it waits", || waiting().then_some(()));
            }
            let cancelling = std::thread::spawn({
                let secret = key.1.clone();
                move || {
                    let mut wire = Wire::connect(port);
                    wire.send(&Frontend::new().cancel(key.0, &secret));
                    assert_eq!(wire.until_closed(), [], "a CancelRequest gets no answer");
                }
            });
            assert_eq!(acme.query("COMMIT")[0].command(), "COMMIT", "round {round}");
            let answer = globex.until_ready();
            match error_code(&answer).as_str() {
                "" => assert_eq!(values(&answer), [GLOBEX], "round {round}"),
                other => assert_eq!(other, "57014", "round {round}"),
            }
            cancelling.join().expect("it gets no answer");
            assert_eq!(values(&acme.query("SELECT org()")), [ACME], "round {round}");
            assert_eq!(values(&globex.query("SELECT org()")), [GLOBEX], "round {round}");
        }
        let backends =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND backend_type = 'client backend'";
        assert_eq!(server.psql(backends), "1");
    });
}
