//! Rules that random programs do not reach, switched off one at a time: the check that stands for each says so.
//!
//! The others are in `isolation.rs`, where the programs themselves have to notice.

use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, values};
use pgwarden_tests::{Frontend, Server, for_each_version, until};

const ASLEEP: &str = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";

/// A stage that keeps every rule, and one that does not keep `rule`.
fn with_and_without<'a>(server: &'a Server, rule: &str) -> [Tenants<'a>; 2] {
    Tenants::load(server);
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
    let builder = || Tenants::builder(&upstream);
    [builder().start(), builder().env("PGWARDEN_TEST_FAULT", rule).start()]
        .map(|pgwarden| Tenants { server, pgwarden })
}

/// Whether a client that guesses reads rows of another tenant.
fn reads_what_is_anothers(stage: &Tenants<'_>) -> bool {
    let mut acme = stage.client("acme");
    acme.query("BEGIN");
    // Not alone: behind a statement that does nothing else, pgwarden sets the context again.
    acme.query(&format!("SELECT set_config('app.current_org_id', '{GLOBEX}', true), 1"));
    values(&acme.query("SELECT name FROM items")).contains(&"of globex".to_owned())
}

#[test]
fn that_a_refusal_is_not_kept_is_noticed() {
    for_each_version(async |server| {
        let [kept, broken] = with_and_without(server, "fail-open");
        assert!(!reads_what_is_anothers(&kept));
        assert!(reads_what_is_anothers(&broken));
    });
}

/// Whether a client's late cancel ends a statement of another client on the same backend.
fn cancels_what_is_anothers(stage: &Tenants<'_>) -> bool {
    let mut acme = stage.client("acme");
    assert_eq!(values(&acme.query("SELECT org()")), [ACME]);
    let mut globex = stage.client("globex");
    globex.send(&Frontend::new().query("SELECT pg_sleep(0.5)"));
    until("it runs", || (stage.server.psql(ASLEEP) == "1").then_some(()));
    acme.cancel();
    error_code(&globex.until_ready()) == "57014"
}

#[test]
fn that_a_cancel_hits_another_client_is_noticed() {
    for_each_version(async |server| {
        let [kept, broken] = with_and_without(server, "stray-cancel");
        assert!(!cancels_what_is_anothers(&kept));
        // The statement may end before the cancel comes; not every time.
        until("it is hit", || cancels_what_is_anothers(&broken).then_some(()));
    });
}
