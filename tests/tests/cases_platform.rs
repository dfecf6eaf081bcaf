//! The example `deploy/examples/platform`, as its README says: its SQL, its configuration and its application, which has
//! one pool of node-postgres. Session tokens stand for users, users for the organisation in which they work.

use std::process::Output;
use std::thread;

use pgwarden_tests::identities::{ACME, GLOBEX, SAM, SAMS};
use pgwarden_tests::tokens::{Value, json};
use pgwarden_tests::{Answer, Application, Pgwarden, Server, examples, for_each_version, psql, until};

const OWNER: &str = "acme-owner-session";
const MEMBER: &str = "acme-member-session";
const GLOBEX_OWNER: &str = "globex-owner-session";
const EXPIRED: &str = "globex-member-session";

const ACMES: [&str; 3] = ["acme-blog", "acme-lab", "acme-shop"];
const GLOBEXES: [&str; 2] = ["globex-data", "globex-portal"];

/// The platform with its policies, two pgwardens before it, and an application behind each.
struct Platform<'a> {
    server: &'a Server,
    pgwardens: [Pgwarden; 2],
    applications: [Application; 2],
}

impl<'a> Platform<'a> {
    #[track_caller]
    fn start(server: &'a Server) -> Platform<'a> {
        server.psql("CREATE DATABASE platform");
        let url = server.url_for("postgres", "", "platform");
        for file in ["01-schema", "02-roles", "03-active-organisation", "05-data", "04-restrictive-policies"]
        {
            examples::run(&url, &format!("platform/{file}.sql"));
        }
        assert!(said(&examples::run(&url, "platform/06-check.sql")).contains("isolation holds"));
        examples::run(&url, "platform/app/lookup.sql");
        examples::run(&url, "../sql/invalidation.sql");
        server.psql(
            "ALTER ROLE app SET log_statement = 'all'; ALTER ROLE pgwarden_lookup SET log_statement = 'all'",
        );
        let pgwardens = [pgwarden(server), pgwarden(server)];
        let applications = [&pgwardens[0], &pgwardens[1]].map(|pgwarden| {
            let url = pgwarden.url("app", "app-secret", "platform");
            Application::start("platform/app", "server.mjs", &[("DATABASE_URL", &url), ("POOL_SIZE", "2")])
        });
        Platform { server, pgwardens, applications }
    }

    /// The first application.
    fn app(&self) -> &Application {
        &self.applications[0]
    }

    /// What a migration or job runs through the service lane.
    fn job(&self, reason: &str, sql: &str) -> Output {
        let url = self.pgwardens[0].url("jobs", "jobs-secret", "platform");
        psql(&format!("{url}?application_name={reason}"), &["-c", sql])
    }

    /// What a job changes.
    #[track_caller]
    fn change(&self, sql: &str) {
        let output = self.job("job:%20test", sql);
        assert!(output.status.success(), "{}", said(&output));
    }

    /// Waits until both applications answer like this.
    #[track_caller]
    fn until_both(&self, what: &str, answers: impl Fn(&Application) -> bool) {
        for application in &self.applications {
            until(what, || answers(application).then_some(()));
        }
    }
}

#[track_caller]
fn pgwarden(server: &Server) -> Pgwarden {
    let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "platform"));
    let pgwarden = Pgwarden::builder()
        .config(&examples::text("platform/app/pgwarden.toml"))
        .upstream(&upstream)
        .file("users.txt", "\"app\" \"app-secret\"\n\"jobs\" \"jobs-secret\"\n")
        .env("APP_PASSWORD", "of the app")
        .env("LOOKUP_PASSWORD", "of the look-ups")
        .env("JOBS_PASSWORD", "of the jobs")
        .env("PGWARDEN_POOL_SIZE", "2")
        .start();
    let listening = || pgwarden.metric("pgwarden_identity_listening") == Some(1.0);
    until("changes are heard of", || listening().then_some(()));
    pgwarden
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The references of the projects in an answer.
#[track_caller]
fn refs(answer: &Answer) -> Vec<String> {
    let projects = answer.body.as_array().unwrap_or_else(|| panic!("no list: {answer:?}"));
    projects.iter().map(|project| project["ref"].as_str().unwrap_or_default().to_owned()).collect()
}

#[track_caller]
fn switch(application: &Application, token: &str, organisation: &str) -> Answer {
    application.request("POST", "/organization/switch", Some(token), &json!({"organization": organisation}))
}

#[test]
fn everybody_sees_the_projects_of_their_organisation_and_nobody_any_without_a_session() {
    for_each_version(async |server| {
        let platform = Platform::start(server);
        for app in &platform.applications {
            assert_eq!(refs(&app.get("/projects", OWNER)), ACMES);
            assert_eq!(refs(&app.get("/projects", MEMBER)), ACMES);
            assert_eq!(refs(&app.get("/projects", GLOBEX_OWNER)), GLOBEXES);
            assert_eq!(app.request("GET", "/projects", None, &Value::Null).status, 403);
            for token in ["unknown", EXPIRED, "it's */ -- odd%", "a', pgwarden_token='b"] {
                assert_eq!(app.get("/projects", token).status, 401, "{token}");
            }
            assert_eq!(app.request("GET", "/health", None, &Value::Null).body, json!({"up": true}));
        }
        let log = server.log();
        let tokens = [OWNER, MEMBER, GLOBEX_OWNER, "pgwarden_token"];
        assert!(tokens.iter().all(|token| !log.contains(token)), "a token is in the server's log");
    });
}

#[test]
fn owners_change_what_members_only_see_and_nobody_reaches_across() {
    for_each_version(async |server| {
        let platform = Platform::start(server);
        let app = platform.app();
        let rename = |token, name: &str| {
            app.request("PATCH", "/organization", Some(token), &json!({"name": name})).status
        };
        assert_eq!((rename(OWNER, "Acme & Co"), rename(MEMBER, "Mine")), (200, 403));
        let names = server_names(&platform);
        assert_eq!(names, "Acme & Co,Globex");
        let retitle = |token, reference: &str| {
            app.request("PATCH", "/projects", Some(token), &json!({"ref": reference, "name": "Renamed"}))
                .status
        };
        assert_eq!(retitle(OWNER, "acme-shop"), 200);
        assert_eq!((retitle(MEMBER, "acme-shop"), retitle(OWNER, "globex-data")), (404, 404));
        let create = |token, reference: &str| {
            let project = json!({"name": "New", "slug": reference, "ref": reference});
            app.request("POST", "/projects", Some(token), &project).status
        };
        assert_eq!((create(OWNER, "acme-new"), create(MEMBER, "acme-other")), (200, 403));
        assert_eq!(create(GLOBEX_OWNER, "acme-new"), 409, "taken, though it cannot be seen");
        assert_eq!(refs(&app.get("/projects", GLOBEX_OWNER)), GLOBEXES);
        assert_eq!(refs(&app.get("/projects", OWNER)).len(), 4);
    });
}

#[test]
fn who_belongs_to_two_organisations_works_in_one_at_a_time_with_the_role_of_each() {
    for_each_version(async |server| {
        let platform = Platform::start(server);
        let me = |app: &Application| app.get("/me", SAMS).body;
        let in_globex = json!({"username": "shared", "organization": "globex", "role": "admin"});
        let in_acme = json!({"username": "shared", "organization": "acme", "role": "developer"});
        assert_eq!(me(platform.app()), in_globex);
        assert_eq!(switch(platform.app(), SAMS, ACME).status, 200);
        platform.until_both("the switch has reached every pgwarden", |app| me(app) == in_acme);
        for app in &platform.applications {
            assert_eq!(refs(&app.get("/projects", SAMS)), ACMES);
            let renamed = app.request("PATCH", "/organization", Some(SAMS), &json!({"name": "Mine"}));
            assert_eq!(renamed.status, 403, "a developer is no admin");
        }
        assert_eq!(switch(&platform.applications[1], SAMS, GLOBEX).status, 200);
        platform.until_both("and back", |app| refs(&app.get("/projects", SAMS)) == GLOBEXES);
        assert_eq!(switch(platform.app(), OWNER, GLOBEX).status, 403, "not a member");
        assert_eq!(refs(&platform.app().get("/projects", OWNER)), ACMES);
    });
}

#[test]
fn a_membership_that_is_revoked_and_a_session_that_ends_count_from_the_next_transaction() {
    for_each_version(async |server| {
        let platform = Platform::start(server);
        for app in &platform.applications {
            assert_eq!(refs(&app.get("/projects", SAMS)), GLOBEXES);
            assert_eq!(refs(&app.get("/projects", OWNER)), ACMES);
            assert_eq!(refs(&app.get("/projects", MEMBER)), ACMES);
        }
        let of_sam = format!("user_id = '{SAM}' AND organization_id = '{GLOBEX}'");
        platform.change(&format!("DELETE FROM platform.organization_members WHERE {of_sam}"));
        platform.until_both("the membership is over", |app| app.get("/projects", SAMS).status == 403);
        let hash = |token: &str| format!("token_hash = encode(sha256('{token}'), 'hex')");
        let ended = format!("UPDATE platform.user_sessions SET expires_at = now() WHERE {}", hash(OWNER));
        platform.change(&ended);
        platform.until_both("the session has expired", |app| app.get("/projects", OWNER).status == 401);
        platform.change(&format!("DELETE FROM platform.user_sessions WHERE {}", hash(MEMBER)));
        platform.until_both("the session is deleted", |app| app.get("/projects", MEMBER).status == 401);
        platform
            .change("UPDATE platform.users SET banned_until = 'infinity' WHERE username = 'globex-owner'");
        platform.until_both("the user is banned", |app| app.get("/projects", GLOBEX_OWNER).status == 401);
    });
}

#[test]
fn jobs_see_every_organisation_and_only_with_a_reason() {
    for_each_version(async |server| {
        let platform = Platform::start(server);
        let count = "SELECT count(*) FROM platform.projects";
        assert_eq!(said(&platform.job("job:%20invoices", count)).trim(), "5");
        assert!(said(&platform.job("curious", count)).contains("application_name"), "no reason, no service");
        let direct = psql(&platform.pgwardens[0].url("app", "app-secret", "platform"), &["-c", count]);
        assert!(said(&direct).contains("no tenant context"), "{}", said(&direct));
    });
}

#[test]
fn requests_of_many_at_once_never_see_each_others_projects() {
    for_each_version(async |server| {
        let platform = Platform::start(server);
        let expected = [(OWNER, &ACMES[..]), (GLOBEX_OWNER, &GLOBEXES[..]), (MEMBER, &ACMES[..])];
        thread::scope(|scope| {
            for (number, (token, projects)) in expected.iter().cycle().take(9).enumerate() {
                let app = &platform.applications[number % 2];
                scope.spawn(move || (0..20).for_each(|_| sees_only(app, token, projects)));
            }
        });
    });
}

#[track_caller]
fn sees_only(app: &Application, token: &str, projects: &[&str]) {
    assert_eq!(refs(&app.get("/projects", token)), projects);
    assert_eq!(app.get("/projects", "unknown").status, 401);
}

#[track_caller]
fn server_names(platform: &Platform<'_>) -> String {
    let url = platform.server.url_for("postgres", "", "platform");
    let sql = "SELECT string_agg(name, ',' ORDER BY name) FROM platform.organizations";
    said(&psql(&url, &["-c", sql])).trim().to_owned()
}
