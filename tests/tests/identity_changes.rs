//! What changes in the database reaches the next transaction, on every pgwarden: the active organisation, memberships
//! and sessions. What is remembered would hold for an hour here, so that only what is told can bring it about.

use std::time::{Duration, Instant};

use pgwarden_tests::identities::{
    self, ACME, ANN, ANNS, DENIED, GLOBEX, NOBODY, SAM, SAMS, answer_with, asked, client, org, org_with,
    switch,
};
use pgwarden_tests::tenants::{error_code, values};
use pgwarden_tests::{Frontend, Pgwarden, Server, Wire, connect, for_each_version, until};

/// Changes of users that were told.
const TOLD_USER: &str = "pgwarden_identity_changes_total{kind=\"user\"}";
/// Changes of anything that were told.
const TOLD_ALL: &str = "pgwarden_identity_changes_total{kind=\"all\"}";
/// Sessions that had to wait for a look-up.
const LOOKED_UP: &str = "pgwarden_identity_requests_total{answer=\"looked_up\"}";

const HOUR: &str = "ttl = \"1h\"\ndenied_ttl = \"1h\"\nunnotified_ttl = \"1h\"\ntimeout = \"20s\"";

/// Two of them before the platform, and a client of each.
fn stage(server: &Server) -> [(Pgwarden, Wire); 2] {
    identities::load(server);
    [(), ()].map(|()| {
        let pgwarden = identities::start(server, HOUR);
        let wire = client(&pgwarden, "anybody");
        (pgwarden, wire)
    })
}

fn one(server: &Server) -> (Pgwarden, Wire) {
    let [one, _] = stage(server);
    one
}

/// Asks until a transaction with this token acts for the organisation.
#[track_caller]
fn until_org(wire: &mut Wire, token: &str, tenant: &str) {
    until(&format!("{token} acts for {tenant}"), || (org_with(wire, token) == tenant).then_some(()));
}

/// Asks until a transaction with this token is answered with this SQLSTATE; none is success.
#[track_caller]
fn until_code(wire: &mut Wire, token: &str, code: &str) {
    until(&format!("{token} is answered with {code:?}"), || {
        (error_code(&answer_with(wire, token)) == code).then_some(())
    });
}

#[test]
fn a_session_token_stands_for_the_active_organisation_of_its_user() {
    for_each_version(async |server| {
        let (_pgwarden, mut wire) = one(server);
        assert_eq!(org_with(&mut wire, ANNS), ACME);
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        assert_eq!(org(&mut wire), "", "a token counts for its own transaction");
        let slugs = "SELECT slug FROM platform.projects ORDER BY slug";
        assert_eq!(values(&wire.query(&format!("{slugs} /*pgwarden_token='{SAMS}'*/"))), ["data", "portal"]);
        let mut role = |token: &str| {
            let text = format!("SELECT current_setting('app.role') /*pgwarden_token='{token}'*/");
            values(&wire.query(&text))
        };
        assert_eq!([role(ANNS), role(SAMS)], [["owner"], ["admin"]], "a column of the membership");
        assert_eq!(asked(server), 2, "each token was looked up once");
    });
}

#[test]
fn who_works_nowhere_has_no_context() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = one(server);
        let answer = answer_with(&mut wire, "nowhere-session");
        assert_eq!(error_code(&answer), "42501");
        let who = "SELECT current_setting('app.current_user_id') /*pgwarden_token='nowhere-session'*/";
        assert_eq!(values(&wire.query(who)), [NOBODY], "but it is known who that is");
        let mut nobody = client(&pgwarden, "nobody");
        assert_eq!(error_code(&nobody.query("SELECT count(*) FROM platform.projects")), "42501");
        server.psql(&format!(
            "INSERT INTO platform.organization_members (organization_id, user_id) VALUES ('{ACME}', '{NOBODY}')"
        ));
        switch(server, NOBODY, ACME);
        until_org(&mut wire, "nowhere-session", ACME);
        until("the login follows", || (org(&mut nobody) == ACME).then_some(()));
    });
}

#[test]
fn another_active_organisation_counts_from_the_next_transaction_on_every_pgwarden() {
    for_each_version(async |server| {
        let mut stages = stage(server);
        let mut logins = stages.each_ref().map(|(pgwarden, _)| client(pgwarden, "sam"));
        for tenant in [GLOBEX, ACME, GLOBEX] {
            switch(server, SAM, tenant);
            for (_, wire) in &mut stages {
                until_org(wire, SAMS, tenant);
                assert_eq!(org_with(wire, ANNS), ACME);
            }
            for login in &mut logins {
                until("the login follows", || (org(login) == tenant).then_some(()));
            }
        }
    });
}

#[test]
fn a_transaction_that_runs_stays_whose_it_is() {
    for_each_version(async |server| {
        let (pgwarden, mut other) = one(server);
        let mut wire = client(&pgwarden, "sam");
        wire.query("BEGIN");
        assert_eq!(org(&mut wire), GLOBEX);
        switch(server, SAM, ACME);
        until_org(&mut other, SAMS, ACME);
        assert_eq!(org(&mut wire), GLOBEX);
        wire.query("COMMIT");
        until("the next one follows", || (org(&mut wire) == ACME).then_some(()));
    });
}

#[test]
fn a_membership_that_is_revoked_or_granted_counts_from_the_next_transaction() {
    for_each_version(async |server| {
        let mut stages = stage(server);
        let of_sam = format!("organization_id = '{GLOBEX}' AND user_id = '{SAM}'");
        for (_, wire) in &mut stages {
            assert_eq!(error_code(&answer_with(wire, SAMS)), "");
        }
        server.psql(&format!("DELETE FROM platform.organization_members WHERE {of_sam}"));
        for (_, wire) in &mut stages {
            until_code(wire, SAMS, "42501");
        }
        server.psql(&format!(
            "INSERT INTO platform.organization_members (organization_id, user_id) VALUES ('{GLOBEX}', '{SAM}')"
        ));
        for (_, wire) in &mut stages {
            until_code(wire, SAMS, "");
        }
    });
}

#[test]
fn what_an_application_says_of_itself_is_checked_and_follows_as_well() {
    for_each_version(async |server| {
        identities::load(server);
        let configuration = identities::configuration(HOUR);
        let configuration = format!("{configuration}[context.claim]\nusers = [\"app\"]\n");
        let pgwarden = identities::builder(server, &configuration).start();
        identities::until_listening(&pgwarden);
        let mut app = client(&pgwarden, "app");
        let mut act_for = |user: &str, tenant: &str| {
            app.query("BEGIN");
            app.query(&format!("SET LOCAL app.current_user_id = '{user}'"));
            let said = error_code(&app.query(&format!("SET LOCAL app.current_org_id = '{tenant}'")));
            let seen = app.query("SELECT count(*) FROM platform.projects");
            app.query("ROLLBACK");
            if said.is_empty() { values(&seen).join(",") } else { said }
        };
        assert_eq!([act_for(SAM, GLOBEX), act_for(SAM, ACME), act_for(ANN, GLOBEX)], ["2", "3", "42501"]);
        server.psql(&format!(
            "DELETE FROM platform.organization_members WHERE user_id = '{SAM}' AND organization_id = '{ACME}'"
        ));
        until("it follows", || (act_for(SAM, ACME) == "42501").then_some(()));
        assert_eq!(act_for(SAM, GLOBEX), "2");
    });
}

#[test]
fn a_session_that_is_ended_extended_or_begun_counts_from_the_next_transaction() {
    for_each_version(async |server| {
        let mut stages = stage(server);
        let hash = |token: &str| format!("encode(sha256('{token}'), 'hex')");
        let set_end = |end: &str| {
            let ann = hash(ANNS);
            server.psql(&format!(
                "UPDATE platform.user_sessions SET expires_at = {end} WHERE token_hash = {ann}"
            ));
        };
        let mut all = |token: &str, code: &str| {
            for (_, wire) in &mut stages {
                until_code(wire, token, code);
            }
        };
        all(ANNS, "");
        set_end("now() - interval '1 second'");
        all(ANNS, "28000");
        set_end("'infinity'");
        all(ANNS, "");
        server.psql(&format!("DELETE FROM platform.user_sessions WHERE token_hash = {}", hash(ANNS)));
        all(ANNS, "28000");
        server.psql(&format!(
            "INSERT INTO platform.user_sessions (user_id, token_hash, expires_at) \
             VALUES ('{ANN}', {}, now() + interval '1 hour')",
            hash(ANNS)
        ));
        all(ANNS, "");
        server.psql("TRUNCATE platform.user_sessions");
        all(ANNS, "28000");
    });
}

#[test]
fn a_session_ends_by_itself_when_its_time_is_over() {
    for_each_version(async |server| {
        let (_pgwarden, mut wire) = one(server);
        server.psql("UPDATE platform.user_sessions SET expires_at = now() + interval '3 seconds'");
        until_code(&mut wire, ANNS, "");
        let refused = until("the session is over", || {
            let answer = answer_with(&mut wire, ANNS);
            (error_code(&answer) == "28000").then_some(answer)
        });
        let error = refused.iter().find(|message| message.tag == b'E').expect("an error");
        assert!(error.fields().message().contains("expired"), "{}", error.fields());
    });
}

/// The look-up has read the old organisation when the switch is told, and ends behind it.
#[track_caller]
fn overtake(server: &Server, pgwarden: &Pgwarden, user: &str, sql: &str) {
    let (mut first, mut second) = (client(pgwarden, user), client(pgwarden, user));
    let count = |metric: &str| pgwarden.metric(metric).expect("it is counted");
    let all = count(TOLD_ALL);
    switch(server, SAM, GLOBEX);
    server.psql("NOTIFY pgwarden, 'all'");
    until("everything is forgotten", || (count(TOLD_ALL) > all).then_some(()));
    let (users, waiting) = (count(TOLD_USER), count(LOOKED_UP));
    let lock = ["-c", "SELECT pg_advisory_lock(7)", "-c", "SELECT pg_sleep(600)"];
    let locked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
    let url = server.url();
    std::thread::scope(|scope| {
        scope.spawn(|| pgwarden_tests::psql(&url, &lock));
        until("it is locked", || (server.psql(locked) == "1").then_some(()));
        first.send(&Frontend::new().query(sql));
        until("the look-up waits for the lock", || {
            let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
            (server.psql(waits) == "1").then_some(())
        });
        switch(server, SAM, ACME);
        until("the change is told", || (count(TOLD_USER) > users).then_some(()));
        second.send(&Frontend::new().query(sql));
        until("both wait", || (count(LOOKED_UP) == waiting + 2.0).then_some(()));
        server.terminate("query LIKE 'SELECT pg_sleep%'");
    });
    assert_eq!(values(&first.until_ready()), [GLOBEX], "it began before the change");
    assert_eq!(values(&second.until_ready()), [ACME], "it came behind it");
    assert_eq!(values(&first.query(sql)), [ACME], "its next transaction does as well");
}

#[test]
fn what_a_change_overtakes_is_looked_up_again() {
    for_each_version(async |server| {
        identities::load(server);
        let membership = "SELECT m.role FROM platform.organization_members m \
             WHERE m.user_id = $1 AND m.organization_id = $2 AND pg_catalog.pg_advisory_xact_lock_shared(7) IS NOT NULL";
        let configuration = identities::configuration_with_membership(HOUR, membership);
        let pgwarden = identities::builder(server, &configuration).start();
        identities::until_listening(&pgwarden);
        let sql = "SELECT current_setting('app.current_org_id')";
        overtake(server, &pgwarden, "sam", sql);
        overtake(server, &pgwarden, "anybody", &format!("{sql} /*pgwarden_token='{SAMS}'*/"));
    });
}

#[test]
fn denials_are_remembered_until_something_changes() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = one(server);
        for _ in 0..5 {
            assert_eq!(error_code(&answer_with(&mut wire, "made-up")), "28000");
        }
        assert_eq!(pgwarden.metric(DENIED), Some(1.0));
    });
}

/// How long it takes from a commit to the first transaction that follows; `PGWARDEN_TEST_CASES` says how often.
#[test]
fn the_time_from_a_commit_to_the_next_context_is_measured() {
    let cases = std::env::var("PGWARDEN_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(50);
    for_each_version(async |server| {
        let mut stages = stage(server);
        let superuser = connect(&server.url()).await;
        let mut times = Vec::new();
        for case in 0..cases {
            let tenant = [ACME, GLOBEX][case % 2];
            let change = format!("SELECT platform.set_user_active_org('{SAM}', '{tenant}')");
            superuser.batch_execute(&change).await.expect("it can be switched");
            let committed = Instant::now();
            for (_, wire) in &mut stages {
                while org_with(wire, SAMS) != tenant {
                    assert!(committed.elapsed() < Duration::from_secs(20), "the switch is never followed");
                }
            }
            times.push(committed.elapsed());
        }
        times.sort();
        let at = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
        let (median, late, last) = (at(50), at(99), at(100));
        println!("from commit to context, on two: median {median:?}, p99 {late:?}, max {last:?}");
    });
}
