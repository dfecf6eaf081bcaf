//! SIGHUP: what was changed in the configuration and its files holds for whoever logs in next, nobody is disconnected,
//! and a mistake changes nothing.

use std::fs;

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::reload::{
    FAILED, OK, TRUST, client, log_in, org, reload, rewrite, told, upstream as url, write,
};
use pgwarden_tests::tenants::{ACME, GLOBEX, Tenants, error_code, values};
use pgwarden_tests::tokens::{Algorithm, Issuer, Value, json, seconds_from_now};
use pgwarden_tests::{Frontend, Signal, Wire, for_each_version, until};

const WITH_USERS: &str = "auth.method = \"scram-sha-256\"\nauth.users_file = \"{dir}/users.txt\"";

#[test]
fn a_new_password_holds_for_the_next_login_and_sessions_go_on() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), WITH_USERS).file("users.txt", "\"acme\" \"old\"\n").start();
        let mut before = client(&pgwarden, "acme", "old");
        write(&pgwarden, "users.txt", "\"acme\" \"new\"\n\"globex\" \"secret\"\n");
        assert_eq!(log_in(&pgwarden, "acme", "new").map(drop).expect_err("not yet").code(), "28P01");
        reload(&pgwarden, OK);
        assert_eq!(log_in(&pgwarden, "acme", "old").map(drop).expect_err("no longer").code(), "28P01");
        assert_eq!(org(&mut client(&pgwarden, "acme", "new")), [ACME]);
        assert_eq!(org(&mut client(&pgwarden, "globex", "secret")), [GLOBEX]);
        assert_eq!(org(&mut before), [ACME]);
    });
}

#[test]
fn a_mistake_is_logged_and_leaves_everything_as_it_was() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), WITH_USERS).file("users.txt", "\"acme\" \"old\"\n").start();
        let mut before = client(&pgwarden, "acme", "old");
        write(&pgwarden, "users.txt", "\"acme\" \"new\"\nno user\n");
        reload(&pgwarden, FAILED);
        pgwarden.until_logged("users.txt: line 2: ", 0);
        write(&pgwarden, "users.txt", "\"acme\" \"new\"\n");
        rewrite(&pgwarden, &url(server), "pool.sise = 3\npool.reassert = \"never\"");
        reload(&pgwarden, FAILED);
        pgwarden.until_logged("pool.sise: unknown key, did you mean pool.size?", 0);
        let log = pgwarden.until_logged("nothing was reloaded", 1);
        assert!(log.contains("pool.reassert: \\\"never\\\""), "each mistake is named: {log}");
        fs::remove_file(pgwarden.directory().join("pgwarden.toml")).expect("it is there");
        reload(&pgwarden, FAILED);
        pgwarden.until_logged("cannot read pgwarden.toml", 0);
        assert_eq!(org(&mut before), [ACME]);
        assert_eq!(org(&mut client(&pgwarden, "acme", "old")), [ACME]);
        assert_eq!(pgwarden.metric(OK), Some(0.0));
    });
}

#[test]
fn what_cannot_change_is_named_and_the_rest_comes_into_force() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), &format!("workers = 2\n{TRUST}")).start();
        let more = format!(
            "workers = 3\n{TRUST}\npool.mode = \"session\"\nlog.level = \"warn\"\nlimits.max_clients = 2"
        );
        rewrite(&pgwarden, &url(server), &more);
        let file = pgwarden.directory().join("pgwarden.toml");
        let text = fs::read_to_string(&file).expect("it is there");
        let moved = text.replace(&format!("127.0.0.1:{}\"\nmode", pgwarden.port()), "127.0.0.1:1\"\nmode");
        fs::write(&file, moved.replace(&pgwarden.admin_port().to_string(), "2")).expect("a file");
        reload(&pgwarden, OK);
        let log = pgwarden.until_logged("the configuration was reloaded", 0);
        for (key, old, new) in [
            ("listen", format!("127.0.0.1:{}", pgwarden.port()), "127.0.0.1:1"),
            ("workers", "2".to_owned(), "3"),
            ("pool.mode", "transaction".to_owned(), "session"),
            ("admin.listen", format!("127.0.0.1:{}", pgwarden.admin_port()), "127.0.0.1:2"),
            ("log.level", "info".to_owned(), "warn"),
        ] {
            let line = format!("ignored until a restart key=\"{key}\" old=\"{old}\" new=\"{new}\"");
            assert!(log.contains(&line), "{line} is not in {log}");
        }
        let _two = [client(&pgwarden, "acme", ""), client(&pgwarden, "acme", "")];
        assert_eq!(log_in(&pgwarden, "acme", "").map(drop).expect_err("two at most").code(), "53300");
    });
}

#[test]
fn trust_comes_into_force_on_no_socket_that_others_reach() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), WITH_USERS).file("users.txt", "\"acme\" \"old\"\n");
        let pgwarden = pgwarden.env("PGWARDEN_LISTEN", "*:{port}").argument("--tls-mode=disable").start();
        rewrite(&pgwarden, &url(server), TRUST);
        reload(&pgwarden, FAILED);
        pgwarden.until_logged("trust lets everybody in who reaches *:", 0);
        assert_eq!(log_in(&pgwarden, "acme", "x").map(drop).expect_err("still by password").code(), "28P01");
    });
}

#[test]
fn a_new_certificate_is_shown_to_the_next_client_and_a_new_authority_checks_it() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (old, new) = (Authority::create(), Authority::create());
        let tls = "tls.mode = \"require\"\ntls.cert = \"{dir}/server.crt\"\ntls.key = \"{dir}/server.key\"\n\
                   tls.client_ca = \"{dir}/clients.crt\"\nauth.method = \"cert\"";
        let pgwarden = told(&url(server), tls)
            .file("server.crt", &old.server().certificate)
            .file("server.key", &old.server().key)
            .file("clients.crt", old.certificate());
        // Each call issues another key, so both come from one identity.
        let shown = old.server();
        let pgwarden = pgwarden.file("server.crt", &shown.certificate).file("server.key", &shown.key).start();
        let connect = |server: &Authority, user: &Authority| {
            let mut wire = Wire::connect(pgwarden.port());
            wire.send(&Frontend::new().ssl_request());
            wire.receive_bytes(1);
            let user = user.user("acme");
            wire.start_tls(&server.client(Some(&user), &[])).map_err(|error| error.to_string())?;
            wire.startup(&[("user", "acme"), ("database", "postgres")]);
            match wire.try_receive() {
                Ok(Some(message)) if message.tag == b'R' => {
                    wire.until_ready();
                    Ok(wire)
                }
                other => Err(format!("{other:?}")),
            }
        };
        let mut before = connect(&old, &old).expect("the first certificates fit");
        let shown = new.server();
        write(&pgwarden, "server.crt", &shown.certificate);
        write(&pgwarden, "server.key", &shown.key);
        write(&pgwarden, "clients.crt", new.certificate());
        reload(&pgwarden, OK);
        assert!(connect(&old, &new).is_err(), "the server shows another certificate");
        assert!(connect(&new, &old).is_err(), "clients of the old authority are refused");
        assert_eq!(org(&mut connect(&new, &new).expect("the new certificates fit")), [ACME]);
        assert_eq!(org(&mut before), [ACME]);
        write(&pgwarden, "server.key", &old.server().key);
        reload(&pgwarden, FAILED);
        assert_eq!(org(&mut connect(&new, &new).expect("certificates and keys come together")), [ACME]);
    });
}

#[test]
fn keys_for_tokens_are_read_at_once() {
    for_each_version(async |server| {
        Tenants::load(server);
        let (old, new) = (Issuer::new(Algorithm::ES256), Issuer::new(Algorithm::ES256));
        let token = |issuer: &Issuer| issuer.sign(&json!({"org": ACME, "exp": seconds_from_now(3600)}));
        let more = "auth.method = \"jwt\"\nauth.jwt.key = \"file:{dir}/key.pem\"\nauth.jwt.refresh = \"1d\"\n\
                    context.tenant_claim = \"org\"";
        let pgwarden = told(&url(server), more).file("key.pem", old.public()).start();
        let mut before = client(&pgwarden, "anybody", &token(&old));
        write(&pgwarden, "key.pem", new.public());
        reload(&pgwarden, OK);
        assert_eq!(org(&mut client(&pgwarden, "anybody", &token(&new))), [ACME]);
        assert_eq!(log_in(&pgwarden, "anybody", &token(&old)).map(drop).expect_err("gone").code(), "28000");
        assert_eq!(org(&mut before), [ACME]);
        write(&pgwarden, "key.pem", "no key");
        reload(&pgwarden, FAILED);
        assert_eq!(org(&mut client(&pgwarden, "anybody", &token(&new))), [ACME]);
    });
}

#[test]
fn the_admin_listener_asks_for_the_new_token() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), TRUST).file("token", "secret").start();
        assert_eq!(pgwarden.admin("/metrics").0, 200);
        rewrite(&pgwarden, &url(server), &format!("{TRUST}\nadmin.token = \"file:{{dir}}/token\""));
        pgwarden.signal(Signal::HUP);
        until("it asks for the token", || (pgwarden.admin("/metrics").0 == 401).then_some(()));
        assert_eq!(pgwarden.admin("/healthz").0, 200);
        rewrite(&pgwarden, &url(server), TRUST);
        pgwarden.signal(Signal::HUP);
        until("it asks no longer", || (pgwarden.admin("/metrics").0 == 200).then_some(()));
    });
}

#[test]
fn nothing_is_reloaded_on_the_way_out() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), TRUST).start();
        let mut busy = client(&pgwarden, "acme", "");
        busy.query("BEGIN");
        busy.query("SELECT 1");
        pgwarden.signal(Signal::TERM);
        pgwarden.until_logged("draining: ", 0);
        pgwarden.signal(Signal::HUP);
        pgwarden.until_logged("nothing is reloaded any more", 0);
        assert_eq!(pgwarden.metric(OK), Some(0.0));
        assert_eq!(busy.query("COMMIT")[0].command(), "COMMIT");
        assert_eq!(pgwarden.wait_exit().code(), Some(0));
    });
}

#[test]
fn modes_and_tenants_change_for_the_next_login_alone() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), TRUST).start();
        let mut before = client(&pgwarden, "stranger", "");
        assert_eq!(error_code(&before.query("SELECT name FROM items")), "42501");
        rewrite(&pgwarden, &url(server), &format!("{TRUST}\ncontext.default_tenant = \"{GLOBEX}\""));
        reload(&pgwarden, OK);
        let mut after = client(&pgwarden, "stranger", "");
        assert_eq!(values(&after.query("SELECT name FROM items")), ["of globex"]);
        assert_eq!(error_code(&before.query("SELECT name FROM items")), "42501");
    });
}

#[test]
fn the_status_shows_how_the_last_reload_ended() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), TRUST).start();
        let last = || {
            let report: Value = serde_json::from_str(&pgwarden.admin("/status").1).expect("JSON");
            report["last_reload"].clone()
        };
        assert_eq!(last(), Value::Null);
        for (line, outcome, shown) in [("", OK, "ok"), ("pool.size = 0", FAILED, "failed"), ("", OK, "ok")] {
            rewrite(&pgwarden, &url(server), &format!("{TRUST}\n{line}"));
            reload(&pgwarden, outcome);
            assert_eq!(last()["outcome"], shown);
            assert!(last()["seconds_ago"].is_u64(), "{}", last());
        }
        until("time passes", || (last()["seconds_ago"].as_u64() > Some(0)).then_some(()));
    });
}

#[test]
fn the_status_is_that_of_the_configuration_in_force() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), TRUST).start();
        let _before = client(&pgwarden, "acme", "");
        rewrite(&pgwarden, &url(server), &format!("{TRUST}\nlimits.max_clients = 7"));
        reload(&pgwarden, OK);
        let _after = client(&pgwarden, "globex", "");
        // A client that was let in is logging in until its session has begun.
        until("both are idle", || {
            let report: Value = serde_json::from_str(&pgwarden.admin("/status").1).expect("JSON");
            let clients = &report["clients"];
            (clients["limit"] == json!(7) && clients["idle"] == json!(2)).then_some(())
        });
    });
}

#[test]
fn other_rules_and_limits_hold_for_the_next_login() {
    for_each_version(async |server| {
        Tenants::load(server);
        let pgwarden = told(&url(server), TRUST).start();
        let (mut acme, _globex) = (client(&pgwarden, "acme", ""), client(&pgwarden, "globex", ""));
        let rules = "auth.rules = [{ user = \"globex\", method = \"reject\" }, { method = \"trust\" }]";
        rewrite(&pgwarden, &url(server), &format!("{rules}\nlimits.max_clients_per_user = 1"));
        reload(&pgwarden, OK);
        assert_eq!(log_in(&pgwarden, "globex", "").map(drop).expect_err("by a rule").code(), "28000");
        // Who came before the limit is not counted under a name: it was not asked for.
        let _one = client(&pgwarden, "acme", "");
        assert_eq!(log_in(&pgwarden, "acme", "").map(drop).expect_err("one at most").code(), "53300");
        assert_eq!(org(&mut acme), [ACME]);
    });
}

#[test]
fn who_has_failed_is_known_behind_a_reload_and_other_delays_hold() {
    for_each_version(async |server| {
        Tenants::load(server);
        let limits = |failures: u32| {
            format!("{WITH_USERS}\nlimits.login_failures = {failures}\nlimits.login_delay = \"10ms\"")
        };
        let pgwarden = told(&url(server), &limits(100)).file("users.txt", "\"acme\" \"old\"\n").start();
        let fail = || log_in(&pgwarden, "acme", "wrong").map(drop).expect_err("wrong").code().to_owned();
        let delayed = || pgwarden.metric("pgwarden_delayed_logins_total");
        assert_eq!([fail(), fail(), fail()], ["28P01"; 3]);
        assert_eq!(delayed(), Some(0.0));
        rewrite(&pgwarden, &url(server), &limits(2));
        reload(&pgwarden, OK);
        assert_eq!(fail(), "28P01");
        assert_eq!(delayed(), Some(1.0));
    });
}
