//! Look-ups are few: one for many who ask the same, none for what is known, and no more is remembered than is allowed.

use pgwarden_tests::identities::{
    self, ACME, ANNS, DENIED, GLOBEX, GRANTED, SAM, SAMS, answer_with, asked, client, org, org_with, switch,
};
use pgwarden_tests::tenants::{error_code, values};
use pgwarden_tests::{Frontend, Pgwarden, Server, Signal, Wire, for_each_version, until};

const LOOKED_UP: &str = "pgwarden_identity_requests_total{answer=\"looked_up\"}";
const REMEMBERED: &str = "pgwarden_identity_requests_total{answer=\"remembered\"}";
/// As many who ask at once, more than there are backends.
const CROWD: usize = 50;

fn stage(server: &Server, lookup: &str) -> (Pgwarden, Wire) {
    identities::load(server);
    let pgwarden = identities::start(server, lookup);
    let wire = client(&pgwarden, "anybody");
    (pgwarden, wire)
}

#[test]
fn one_query_answers_all_who_ask_at_once() {
    for_each_version(async |server| {
        let (pgwarden, _) = stage(server, "ttl = \"1h\"\ntimeout = \"20s\"");
        let mut crowd: Vec<Wire> = (0..CROWD).map(|_| client(&pgwarden, "anybody")).collect();
        let mut superuser = server.connect().await;
        let lock = superuser.transaction().await.expect("a transaction");
        lock.batch_execute("LOCK TABLE platform.user_sessions").await.expect("nobody has it");
        let text = format!("SELECT current_setting('app.current_org_id') /*pgwarden_token='{SAMS}'*/");
        for wire in &mut crowd {
            wire.send(&Frontend::new().query(&text));
        }
        let everybody = f64::from(u8::try_from(CROWD).expect("a few"));
        until("everybody waits", || (pgwarden.metric(LOOKED_UP) == Some(everybody)).then_some(()));
        lock.commit().await.expect("it can be released");
        for wire in &mut crowd {
            assert_eq!(values(&wire.until_ready()), [GLOBEX]);
        }
        assert_eq!(asked(server), 1);
        assert_eq!(pgwarden.metric(GRANTED), Some(1.0));
    });
}

#[test]
fn who_waits_for_a_look_up_keeps_no_backend_from_others() {
    for_each_version(async |server| {
        identities::load(server);
        let configuration = identities::configuration("ttl = \"1h\"\ntimeout = \"20s\"");
        let pgwarden = identities::builder(server, &configuration).env("PGWARDEN_POOL_SIZE", "1").start();
        identities::until_listening(&pgwarden);
        let (mut asker, mut other) = (client(&pgwarden, "anybody"), client(&pgwarden, "acme"));
        let mut superuser = server.connect().await;
        let lock = superuser.transaction().await.expect("a transaction");
        lock.batch_execute("LOCK TABLE platform.user_sessions").await.expect("nobody has it");
        let text = format!("SELECT current_setting('app.current_org_id') /*pgwarden_token='{SAMS}'*/");
        asker.send(&Frontend::new().query(&text));
        until("it waits", || (pgwarden.metric(LOOKED_UP) == Some(1.0)).then_some(()));
        assert_eq!(org(&mut other), ACME, "the only backend is free");
        lock.commit().await.expect("it can be released");
        assert_eq!(values(&asker.until_ready()), [GLOBEX]);
    });
}

#[test]
fn what_is_known_is_not_asked_again() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = stage(server, "ttl = \"1h\"");
        for _ in 0..20 {
            assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        }
        assert_eq!((asked(server), pgwarden.metric(LOOKED_UP)), (1, Some(1.0)));
        assert!(pgwarden.metric(REMEMBERED) >= Some(19.0));
    });
}

#[test]
fn a_transaction_costs_no_look_up_for_each_of_its_statements() {
    for_each_version(async |server| {
        let (pgwarden, _) = stage(server, "ttl = \"1h\"");
        let mut sam = client(&pgwarden, "sam");
        let before = pgwarden.metric(REMEMBERED);
        for _ in 0..20 {
            assert_eq!(org(&mut sam), GLOBEX);
        }
        assert_eq!(pgwarden.metric(REMEMBERED), before, "a grant that stands is not even looked for");
    });
}

#[test]
fn what_holds_for_a_time_is_asked_again_behind_it() {
    for_each_version(async |server| {
        let (_pgwarden, mut wire) = stage(server, "ttl = \"1s\"");
        server.psql("DROP TRIGGER pgwarden_changes ON platform.users");
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        switch(server, SAM, ACME);
        until("it is asked again", || (org_with(&mut wire, SAMS) == ACME).then_some(()));
    });
}

#[test]
fn what_is_remembered_first_makes_room_and_no_session_is_worse_off() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = stage(server, "ttl = \"1h\"\nentries = 1");
        let mut holder = client(&pgwarden, "anybody");
        holder.query(&format!("SET pgwarden.token = '{SAMS}'"));
        assert_eq!(org(&mut holder), GLOBEX);
        let mut count = asked(server);
        for token in [ANNS, SAMS, ANNS] {
            assert_eq!(error_code(&answer_with(&mut wire, token)), "");
            count += 1;
            assert_eq!(asked(server), count, "there is room for one");
        }
        switch(server, SAM, ACME);
        until("who holds what was forgotten follows changes, too", || {
            (org(&mut holder) == ACME).then_some(())
        });
    });
}

#[test]
fn tokens_that_are_made_up_drive_nobody_out() {
    for_each_version(async |server| {
        let (pgwarden, mut wire) = stage(server, "ttl = \"1h\"\nentries = 2");
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        for number in 0..20 {
            assert_eq!(error_code(&answer_with(&mut wire, &format!("guess-{number}"))), "28000");
        }
        assert_eq!(org_with(&mut wire, SAMS), GLOBEX);
        assert_eq!((asked(server), pgwarden.metric(DENIED)), (1, Some(20.0)));
    });
}

/// The number of connections that hear of changes.
fn listeners(server: &Server) -> String {
    server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgwarden notifications'")
}

#[test]
fn sessions_from_before_a_reload_follow_changes_on_the_same_connection() {
    for_each_version(async |server| {
        let (pgwarden, mut before) = stage(server, "ttl = \"1h\"");
        let mut login = client(&pgwarden, "sam");
        assert_eq!((org_with(&mut before, SAMS), org(&mut login)), (GLOBEX.to_owned(), GLOBEX.to_owned()));
        pgwarden.signal(Signal::HUP);
        until("it is reloaded", || {
            (pgwarden.metric("pgwarden_reloads_total{outcome=\"ok\"}") == Some(1.0)).then_some(())
        });
        let mut after = client(&pgwarden, "anybody");
        assert_eq!(org_with(&mut after, SAMS), GLOBEX);
        assert_eq!(listeners(server), "1");
        switch(server, SAM, ACME);
        for wire in [&mut before, &mut after] {
            until("it follows", || (org_with(wire, SAMS) == ACME).then_some(()));
        }
        until("the login follows", || (org(&mut login) == ACME).then_some(()));
    });
}
