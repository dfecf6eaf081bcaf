//! Services: a login of their own on the server, which nobody else gets to, for clients that act for no tenant.

use pgwarden_tests::certificates::Authority;
use pgwarden_tests::lane::{self, MIGRATIONS, enter, enter_with, migrator};
use pgwarden_tests::reload::{self, TRUST};
use pgwarden_tests::tenants::{ACME, Tenants, error_code, run, value, values};
use pgwarden_tests::tokens::{Algorithm, Issuer, Value, json, seconds_from_now};
use pgwarden_tests::wire::Fields;
use pgwarden_tests::{Frontend, Pgwarden, Server, Wire, for_each_version, until, versions};

/// The items that a client sees.
#[track_caller]
fn items(wire: &mut Wire) -> Vec<String> {
    values(&wire.query("SELECT name FROM items ORDER BY 1"))
}

/// A service with these lines more.
fn with(lines: &str) -> String {
    format!("{MIGRATIONS}{lines}\n")
}

#[track_caller]
fn refused(stage: &Tenants<'_>, user: &str, reason: &str) -> Fields {
    enter(&stage.pgwarden, user, reason).err().unwrap_or_else(|| panic!("{user} got in"))
}

#[test]
fn a_service_sees_everything_and_tenants_still_see_their_own() {
    for_each_version(async |server| {
        let stage = lane::start(server, MIGRATIONS);
        let mut acme = stage.client("acme");
        assert_eq!(items(&mut acme), ["of acme"]);
        let mut service = migrator(&stage);
        assert_eq!(value(&service.query("SELECT current_user")).as_deref(), Some("owner"));
        assert_eq!(items(&mut service), ["of acme", "of globex"]);
        for variable in ["SHOW app.current_org_id", "SELECT current_setting('app.current_org_id')"] {
            assert_eq!(value(&service.query(variable)).as_deref(), Some(""), "{variable}");
        }
        service.query("INSERT INTO notes (name, org) VALUES ('of the service', 'x')");
        assert_eq!(items(&mut acme), ["of acme"]);
        assert_eq!(value(&acme.query("SELECT current_user")).as_deref(), Some("app"));
    });
}

#[test]
fn state_of_a_session_stays_with_a_service_though_tenants_share_backends() {
    for_each_version(async |server| {
        let stage = lane::start(server, MIGRATIONS);
        let (mut service, mut acme) = (migrator(&stage), stage.client("acme"));
        service.query("SET search_path = pg_temp, public; CREATE TEMP TABLE kept (x int)");
        service.query("SELECT pg_advisory_lock(7)");
        let process = value(&service.query("SELECT pg_backend_pid()"));
        assert_eq!(items(&mut acme), ["of acme"]);
        assert_eq!(error_code(&service.query("INSERT INTO kept VALUES (1)")), "");
        assert_eq!(value(&service.query("SHOW search_path")).as_deref(), Some("pg_temp, public"));
        assert_eq!(value(&service.query("SELECT pg_backend_pid()")), process);
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
        assert_eq!(server.psql(held), "1");
        drop(service);
        until("the lock is gone with the session", || (server.psql(held) == "0").then_some(()));
    });
}

#[test]
fn a_service_may_set_the_variables_and_the_role_as_on_a_direct_connection() {
    for_each_version(async |server| {
        let stage = lane::start(server, MIGRATIONS);
        server.psql("GRANT tenants TO owner");
        let mut service = migrator(&stage);
        service.query("BEGIN");
        service.query(&format!("SET LOCAL app.current_org_id = '{ACME}'"));
        service.query("SET LOCAL ROLE tenants");
        assert_eq!(items(&mut service), ["of acme"]);
        service.query("COMMIT");
        assert_eq!(value(&service.query("SHOW app.current_org_id")).as_deref(), Some(""));
        assert_eq!(items(&mut service), ["of acme", "of globex"]);
    });
}

#[test]
fn sessions_of_a_service_can_share_backends_among_themselves_and_find_empty_variables() {
    for_each_version(async |server| {
        let lane = MIGRATIONS.replace("\"session\"", "\"transaction\"");
        let stage = lane::start(server, &lane);
        let (mut first, mut second, mut acme) = (migrator(&stage), migrator(&stage), stage.client("acme"));
        let process = |wire: &mut Wire| value(&wire.query("SELECT pg_backend_pid()"));
        let shared = process(&mut first);
        assert_eq!(process(&mut second), shared);
        assert_ne!(process(&mut acme), shared);
        first.query(&format!("SELECT poison('{ACME}')"));
        assert_eq!(values(&second.query("SELECT org()")), [""]);
        assert_eq!(items(&mut second), ["of acme", "of globex"]);
        assert_eq!(values(&acme.query("SELECT current_user")), ["app"]);
    });
}

/// Every way that a client might take to a role of the server.
#[test]
fn nobody_else_gets_to_the_role_of_a_service() {
    for_each_version(async |server| {
        let lane = MIGRATIONS.replace("\"session\"", "\"transaction\"");
        let stage = lane::start(server, &lane);
        // Its backend is idle, and so is the place of those who ask for one.
        assert_eq!(values(&migrator(&stage).query("SELECT current_user")), ["owner"]);
        for user in ["acme", "owner", "Migrator", "migrator ", "migrations", "service.migrations"] {
            let mut wire = stage.client(user);
            assert_eq!(values(&wire.query("SELECT current_user || session_user")), ["appapp"], "{user}");
            for sql in ["SET ROLE owner", "SET SESSION AUTHORIZATION owner", "SET LOCAL role = 'owner'"] {
                assert_eq!(error_code(&wire.query(sql)), "42501", "{user}: {sql}");
                let extended = run(sql).sync();
                wire.send(&extended);
                assert_eq!(error_code(&wire.until_ready()), "42501", "{user}: {sql}");
            }
            for sql in [
                "SELECT set_config('role', 'owner', false)",
                "DO $$ BEGIN EXECUTE 'SET ROLE owner'; END $$",
                "CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql SET role = 'owner' AS 'SELECT 1'",
            ] {
                assert_eq!(error_code(&wire.query(sql)), "42501", "{user}: {sql}");
            }
            assert_eq!(values(&wire.query("SELECT current_user")), ["app"], "{user}");
        }
        for (name, text) in [
            ("options", "-c role=owner"),
            ("options", "--role=owner"),
            ("options", "-c session_authorization=owner"),
            ("role", "owner"),
            ("session_authorization", "owner"),
        ] {
            let parameters = [("user", "acme"), ("database", "postgres"), (name, text)];
            let error = enter_with(&stage.pgwarden, &parameters).expect_err("it is refused");
            assert_eq!(error.code(), "42501", "{name}={text}");
        }
        assert_eq!(server.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'owner'"), "1");
    });
}

#[test]
fn where_clients_log_in_under_their_own_names_the_role_of_a_service_is_not_for_them() {
    for_each_version(async |server| {
        lane::load(server);
        let own = reload::upstream(server).replace("app@", "");
        let pgwarden = reload::told(&own, &format!("{TRUST}\n{MIGRATIONS}")).start();
        let error = enter(&pgwarden, "owner", "").expect_err("it is refused");
        assert_eq!((error.code(), error.message()), ("28000", "role \"owner\" belongs to a service"));
        let user = |user: &str| values(&enter(&pgwarden, user, "").unwrap().query("SELECT current_user"));
        assert_eq!((user("acme"), user("migrator")), (vec!["acme".to_owned()], vec!["owner".to_owned()]));
    });
}

#[test]
fn a_login_that_is_left_to_the_server_makes_nobody_a_service() {
    for_each_version(async |server| {
        lane::load(server);
        let more = format!(
            "pool.mode = \"session\"\n[[auth.rules]]\naddress = \"192.0.2.1\"\nmethod = \"trust\"\n\
             [[auth.rules]]\nmethod = \"passthrough\"\n{MIGRATIONS}"
        );
        let pgwarden = reload::told(&reload::upstream(server), &more).start();
        for (user, message) in [
            ("migrator", "user \"migrator\" is for a service"),
            ("owner", "role \"owner\" belongs to a service"),
        ] {
            let error = enter(&pgwarden, user, "").err().unwrap_or_else(|| panic!("{user} got in"));
            assert_eq!((error.code(), error.message()), ("28000", message));
        }
        assert_eq!(values(&enter(&pgwarden, "acme", "").unwrap().query("SELECT current_user")), ["acme"]);
    });
}

#[test]
fn a_session_that_does_not_say_what_for_is_refused() {
    for_each_version(async |server| {
        let stage = lane::start(server, &with("reason = 'OPS-\\d+.*'"));
        for reason in ["", "psql", "see OPS-1"] {
            let error = refused(&stage, "migrator", reason);
            assert_eq!(error.code(), "28000");
            assert_eq!(error.message(), "service \"migrations\" has to say what for");
            assert_eq!(error.detail(), "The application_name has to match OPS-\\d+.*.");
            assert!(error.hint().contains("PGAPPNAME"), "{error}");
        }
        assert_eq!(values(&migrator(&stage).query("SHOW application_name")), ["OPS-1"]);
        let options =
            [("user", "migrator"), ("database", "postgres"), ("options", "-c application_name=OPS-2")];
        assert!(enter_with(&stage.pgwarden, &options).is_ok());
        let outcome = "pgwarden_logins_total{outcome=\"refused_service\"}";
        assert_eq!(stage.pgwarden.metric(outcome), Some(3.0));
    });
}

#[test]
fn a_service_may_come_from_its_addresses_alone() {
    for_each_version(async |server| {
        let stage = lane::start(server, &with("addresses = [\"192.0.2.0/24\", \"unix\"]"));
        let error = refused(&stage, "migrator", "");
        assert_eq!(
            (error.code(), error.message()),
            ("28000", "service \"migrations\" may not come from 127.0.0.1")
        );
        lane::reload(&stage, &with("addresses = \"127.0.0.0/8\""));
        migrator(&stage);
    });
}

#[test]
fn a_service_has_so_many_sessions_at_most() {
    for_each_version(async |server| {
        let stage = lane::start(server, &with("max_sessions = 2"));
        let (first, _second) = (migrator(&stage), migrator(&stage));
        let error = refused(&stage, "migrator", "OPS-1");
        assert_eq!((error.code(), error.message()), ("53300", "too many sessions of service \"migrations\""));
        drop(first);
        until("there is a place again", || enter(&stage.pgwarden, "migrator", "OPS-1").ok());
    });
}

#[test]
fn a_token_with_the_claim_is_a_service_and_a_name_is_none() {
    for_each_version(async |server| {
        lane::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let lanes = "context.tenant_claim = \"org\"\nauth.method = \"jwt\"\nauth.jwt.key = \"file:{dir}/key\"\n\
                     [service.migrations]\nclaim = \"app_metadata.service=migrations\"\nupstream_user = \"owner\"\n\
                     [service.named]\nuser = \"named\"\nclaim = \"service=named\"\nupstream_user = \"owner\"\n";
        let builder = reload::told(&reload::upstream(server), lanes).file("key", issuer.public());
        let pgwarden = builder.start();
        let enter = |user: &str, claims: Value| {
            let mut wire = Wire::connect(pgwarden.port());
            let token = issuer.sign(&claims);
            let login = wire.try_log_in(&token, &[("user", user), ("database", "postgres")]);
            login.map(|_| wire).map_err(|error| error.fields())
        };
        let role = |wire: Result<Wire, Fields>| values(&wire.unwrap().query("SELECT current_user"));
        let exp = seconds_from_now(600);
        let claims = json!({"exp": exp, "org": ACME, "app_metadata": {"service": "migrations"}});
        assert_eq!(role(enter("anybody", claims)), ["owner"]);
        assert_eq!(role(enter("migrator", json!({"exp": exp, "org": ACME}))), ["app"]);
        let elsewhere = json!({"exp": exp, "org": ACME, "user_metadata": {"service": "migrations"}});
        assert_eq!(role(enter("migrations", elsewhere)), ["app"]);
        assert_eq!(role(enter("named", json!({"exp": exp, "service": "named"}))), ["owner"]);
        let error = enter("named", json!({"exp": exp, "org": ACME})).expect_err("it is refused");
        assert_eq!((error.code(), error.message()), ("28000", "user \"named\" is for a service"));
        let both = json!({"exp": exp, "service": "named", "app_metadata": {"service": "migrations"}});
        let error = enter("named", both).expect_err("it is refused");
        assert_eq!((error.code(), error.message()), ("28000", "user \"named\" is more than one service"));
    });
}

#[test]
fn what_a_message_of_a_service_answers_is_what_the_server_answers() {
    for_each_version(async |server| {
        let stage = lane::start(server, MIGRATIONS);
        let converse = |wire: &mut Wire| {
            let mut found = Vec::new();
            for messages in [
                Frontend::new().query("BEGIN; CREATE TABLE t (x int); INSERT INTO t VALUES (1); COMMIT"),
                run("SELECT * FROM t").raw(run("DO 'BEGIN END'").bytes()).sync(),
                Frontend::new().query("SELECT 1/0"),
                run("VACUUM t").sync(),
                Frontend::new().query("DROP TABLE t"),
            ] {
                wire.send(&messages);
                found.extend(wire.until_ready());
            }
            found
        };
        let direct = converse(&mut Wire::open(server.port(), "owner", "", "postgres"));
        assert_eq!(converse(&mut migrator(&stage)), direct);
    });
}

#[test]
fn a_service_has_a_secret_of_its_own_on_the_server() {
    for version in versions() {
        let server = Server::builder(version).access("host all owner all scram-sha-256").start();
        lane::load(&server);
        let password = |password: &str| server.psql(&format!("ALTER ROLE owner PASSWORD '{password}'"));
        password("first");
        let lanes = with("upstream_password = \"file:{dir}/secret\"");
        let pgwarden = lane::told(&server, &lanes).file("secret", "first\n").start();
        let stage = Tenants { server: &server, pgwarden };
        assert_eq!(values(&migrator(&stage).query("SELECT current_user")), ["owner"]);
        password("second");
        assert_eq!(refused(&stage, "migrator", "OPS-1").code(), "57P03", "the server does not let it in");
        reload::write(&stage.pgwarden, "secret", "second");
        lane::reload(&stage, &lanes);
        assert_eq!(values(&migrator(&stage).query("SELECT current_user")), ["owner"]);
        assert_eq!(values(&stage.client("acme").query("SELECT current_user")), ["app"]);
    }
}

/// A pgwarden that logs in by TLS certificates, as the tests of those do it.
#[test]
fn a_certificate_with_the_name_is_a_service() {
    for_each_version(async |server: &Server| {
        lane::load(server);
        let authority = Authority::create();
        let lanes = format!(
            "{TRUST}\n[service.migrations]\ncertificate = \"deploy.example\"\nupstream_user = \"owner\"\n"
        );
        let pgwarden: Pgwarden = reload::told(&reload::upstream(server), &lanes)
            .tls("allow", &authority.server())
            .client_authority(authority.certificate())
            .start();
        let role = |name: &str| {
            let mut wire = Wire::connect(pgwarden.port());
            wire.request_tls(&authority.client(Some(&authority.user(name)), &[]));
            wire.log_in("anybody", "", "postgres");
            values(&wire.query("SELECT current_user"))
        };
        assert_eq!(role("deploy.example"), ["owner"]);
        assert_eq!(role("web.example"), ["app"]);
        assert_eq!(
            values(
                &Wire::open(pgwarden.port(), "deploy.example", "", "postgres").query("SELECT current_user")
            ),
            ["app"]
        );
    });
}
