//! The applications: one pool each, many organisations, and the role that the token says.

use std::thread;

use crate::stage::{ask, load_migrated, pgwarden, said, token};
use pgwarden_tests::tokens::{Algorithm, Issuer, Value, json, seconds_from_now};
use pgwarden_tests::{Answer, Application, Pgwarden, Server, for_each_version, psql, tokens};

const ANN: &str = "a0000000-0000-4000-8000-0000000000a1";

/// The migrated database, a pgwarden, and both applications.
struct Calls {
    // Dropped in this order.
    applications: [Application; 2],
    pgwarden: Pgwarden,
    /// The superuser's.
    url: String,
    acme: String,
    globex: String,
}

impl Calls {
    #[track_caller]
    fn start(server: &Server) -> Calls {
        let url = load_migrated(server);
        server.psql("ALTER ROLE authenticator SET log_statement = 'all'");
        let pgwarden = pgwarden(server);
        let database = pgwarden.url("app", "app-secret", "calls");
        let settings = [("DATABASE_URL", database.as_str()), ("POOL_SIZE", "2")];
        let applications = [("calls/node", "server.mjs"), ("calls/python", "server.py")]
            .map(|(folder, file)| Application::start(folder, file, &settings));
        let [acme, globex] = ["ann@acme.example", "gus@globex.example"].map(|email| token(&url, email));
        Calls { applications, pgwarden, url, acme, globex }
    }

    /// The organisation of a name.
    #[track_caller]
    fn organisation(&self, name: &str) -> String {
        ask(&self.url, &format!("SELECT id FROM organizations WHERE name = '{name}'"))
    }
}

/// Claims of a good token of [`ANN`], with more.
fn claims(organisation: &str, more: &Value) -> Value {
    let mut claims = json!({"sub": ANN, "role": "authenticated", "app_metadata": {"org_id": organisation}});
    for (name, value) in more.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims
}

#[track_caller]
fn count(answer: &Answer) -> usize {
    answer.body.as_array().unwrap_or_else(|| panic!("no list: {answer:?}")).len()
}

#[test]
fn a_transaction_has_the_claims_of_its_token_and_runs_as_its_role() {
    for_each_version(async |server| {
        let calls = Calls::start(server);
        let acme = calls.organisation("acme.example");
        for app in &calls.applications {
            let expected = json!({"role": "authenticated", "user": ANN, "organization": acme});
            assert_eq!(app.get("/whoami", &calls.acme).body, expected);
            let nobody = app.request("GET", "/whoami", None, &Value::Null);
            assert_eq!(nobody.body, json!({"role": "anon", "user": null, "organization": null}));
            assert_eq!(app.get("/whoami", &calls.acme).body, expected);
        }
    });
}

#[test]
fn each_organisation_has_its_own_calls_and_reaches_no_others() {
    for_each_version(async |server| {
        let calls = Calls::start(server);
        for (round, app) in calls.applications.iter().enumerate() {
            assert_eq!(count(&app.get("/calls", &calls.acme)), 100 + round);
            assert_eq!(count(&app.get("/calls", &calls.globex)), 50);
            assert_eq!(app.request("GET", "/calls", None, &Value::Null).status, 403);
            let made = app.request("POST", "/calls", Some(&calls.acme), &json!({"phone": "+1 555 0199"}));
            assert_eq!((made.status, &made.body["status"]), (200, &json!("open")), "{made:?}");
            let close = |token: &String| {
                let change = json!({"id": made.body["id"], "status": "closed"});
                app.request("PATCH", "/calls", Some(token), &change).status
            };
            assert_eq!((close(&calls.globex), close(&calls.acme)), (404, 200));
            let whose = format!("SELECT user_id, org_id FROM calls WHERE id = {}", made.body["id"]);
            let expected = format!("{ANN}|{}", calls.organisation("acme.example"));
            assert_eq!(ask(&calls.url, &whose), expected);
        }
        let log = server.log();
        assert!(!log.contains(&calls.acme) && !log.contains(&calls.globex), "a token is in the server's log");
    });
}

#[test]
fn what_users_write_themselves_says_nothing() {
    for_each_version(async |server| {
        let calls = Calls::start(server);
        let (acme, globex) = (calls.organisation("acme.example"), calls.organisation("globex.example"));
        let written = json!({"user_metadata": {"org_id": globex}, "org_id": globex});
        let trick = tokens::token(&claims(&acme, &written));
        let alone = tokens::token(&json!({"sub": ANN, "user_metadata": {"org_id": globex}}));
        for app in &calls.applications {
            assert_eq!(app.get("/whoami", &trick).body["organization"], json!(acme));
            assert_eq!(app.get("/whoami", &alone).status, 401, "no organisation, no context");
        }
    });
}

#[test]
fn tokens_that_are_not_good_are_refused() {
    for_each_version(async |server| {
        let calls = Calls::start(server);
        let acme = calls.organisation("acme.example");
        let with = |more: Value| tokens::token(&claims(&acme, &more));
        let forged = Issuer::of_secret(Algorithm::HS256, "another secret, just as long as the right one");
        let lasting = claims(&acme, &json!({"exp": seconds_from_now(3600)}));
        for app in &calls.applications {
            for bad in [
                forged.sign(&lasting),
                with(json!({"exp": seconds_from_now(-3600)})),
                with(json!({"role": "service_role"})),
                with(json!({"role": "authenticator"})),
                with(json!({"sub": "no uuid"})),
                "no token".to_owned(),
            ] {
                assert_eq!(app.get("/whoami", &bad).status, 401, "{bad}");
                assert_eq!(app.get("/calls", &calls.globex).status, 200, "the connection goes on");
            }
        }
    });
}

#[test]
fn jobs_run_as_the_service_role_and_see_every_organisation() {
    for_each_version(async |server| {
        let calls = Calls::start(server);
        let url = calls.pgwarden.url("jobs", "jobs-secret", "calls");
        let output = psql(&url, &["-c", "SELECT current_user, count(*) FROM calls"]);
        assert_eq!(said(&output).trim(), "service_role|200");
        let other = psql(&calls.pgwarden.url("app", "app-secret", "calls"), &["-c", "SET ROLE service_role"]);
        assert!(said(&other).contains("permission denied to change the role"), "{}", said(&other));
    });
}

#[test]
fn requests_of_two_organisations_at_once_never_meet() {
    for_each_version(async |server| {
        let calls = Calls::start(server);
        let expected = [(&calls.acme, 100), (&calls.globex, 50)];
        thread::scope(|scope| {
            for (number, (token, own)) in expected.iter().cycle().take(8).enumerate() {
                let app = &calls.applications[number / 2 % 2];
                scope.spawn(move || (0..20).for_each(|_| has_only(app, token, *own)));
            }
        });
    });
}

#[track_caller]
fn has_only(app: &Application, token: &str, calls: usize) {
    assert_eq!(count(&app.get("/calls", token)), calls);
    assert_eq!(app.request("GET", "/whoami", None, &Value::Null).body["role"], json!("anon"));
}
