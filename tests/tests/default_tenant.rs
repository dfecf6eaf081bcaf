//! The default tenant: whom jobs act for that have none, in `enforce`.

use pgwarden_tests::lane::{self, MIGRATIONS, enter_with, migrator};
use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX, Tenants, error_code, run, values};
use pgwarden_tests::tokens::{Algorithm, Issuer, Value, json, seconds_from_now};
use pgwarden_tests::{Wire, for_each_version, reload};

/// Who has no tenant acts for `globex`.
fn stage(server: &pgwarden_tests::Server) -> Tenants<'_> {
    Tenants::start_with(server, |builder| {
        builder.config(&format!("[context]\ndefault_tenant = \"{GLOBEX}\"\ndefault_user = \"{BOB}\"\n"))
    })
}

#[test]
fn a_job_without_a_tenant_reads_and_writes_as_the_default_one() {
    for_each_version(async |server| {
        let stage = stage(server);
        let (mut job, mut acme) = (stage.client("nightly"), stage.client("acme"));
        for _ in 0..3 {
            assert_eq!(values(&job.query("SELECT name FROM items")), ["of globex"]);
            assert_eq!(values(&acme.query("SELECT name FROM items")), ["of acme"]);
            job.send(&run("SELECT name FROM items").sync());
            assert_eq!(values(&job.until_ready()), ["of globex"]);
        }
        assert_eq!(error_code(&job.query("INSERT INTO items (name) VALUES ('by a job')")), "");
        acme.query("INSERT INTO items (name) VALUES ('by acme')");
        let rows = server.psql("SELECT name, org, writer FROM items WHERE name LIKE 'by %' ORDER BY 1");
        assert_eq!(rows, format!("by a job|{GLOBEX}|{BOB}\nby acme|{ACME}|{ANN}"));
        job.query("BEGIN");
        let wrong = job.query(&format!("INSERT INTO items (name, org) VALUES ('not its own', '{ACME}')"));
        assert_eq!(error_code(&wrong), "42501");
        job.query("ROLLBACK");
        assert_eq!(values(&job.query("SELECT name FROM items ORDER BY 1")), ["by a job", "of globex"]);
    });
}

#[test]
fn the_default_tenant_is_as_well_guarded_as_any() {
    for_each_version(async |server| {
        let stage = stage(server);
        let mut job = stage.client("nightly");
        for sql in [
            format!("SET app.current_org_id = '{ACME}'"),
            format!("SELECT set_config('app.current_org_id', '{ACME}', false)"),
            "SET ROLE acme".to_owned(),
        ] {
            assert_eq!(error_code(&job.query(&sql)), "42501", "{sql}");
        }
        let startup = [("user", "nightly"), ("database", "postgres"), ("app.current_org_id", ACME)];
        assert_eq!(enter_with(&stage.pgwarden, &startup).expect_err("it is refused").code(), "42501");
        assert_eq!(values(&job.query("SELECT name FROM items")), ["of globex"]);
    });
}

#[test]
fn a_token_that_names_no_tenant_is_not_given_the_default_one() {
    for_each_version(async |server| {
        Tenants::load(server);
        let issuer = Issuer::new(Algorithm::HS256);
        let more = format!(
            "context.default_tenant = \"{GLOBEX}\"\ncontext.tenant_claim = \"org\"\nauth.method = \"jwt\"\n\
             auth.jwt.key = \"file:{{dir}}/key\""
        );
        let pgwarden = reload::told(&reload::upstream(server), &more).file("key", issuer.public()).start();
        let items = |claims: Value| {
            let mut wire = Wire::connect(pgwarden.port());
            wire.log_in("anybody", &issuer.sign(&claims), "postgres");
            values(&wire.query("SELECT name FROM items"))
        };
        assert_eq!(items(json!({"exp": seconds_from_now(600), "org": ACME})), ["of acme"]);
        assert_eq!(items(json!({"exp": seconds_from_now(600)})), Vec::<String>::new());
    });
}

#[test]
fn a_service_is_not_given_the_default_tenant() {
    for_each_version(async |server| {
        for pooling in ["session", "transaction"] {
            let lanes = MIGRATIONS.replace("\"session\"", &format!("\"{pooling}\""));
            if pooling == "session" {
                lane::load(server);
            }
            let more = format!("context.default_tenant = \"{GLOBEX}\"\n{lanes}");
            let stage = Tenants { server, pgwarden: lane::told(server, &more).start() };
            let mut service = migrator(&stage);
            assert_eq!(values(&service.query("SELECT org()")), [""], "{pooling}");
            assert_eq!(values(&service.query("SELECT name FROM items ORDER BY 1")), ["of acme", "of globex"]);
            assert_eq!(values(&stage.client("nightly").query("SELECT name FROM items")), ["of globex"]);
        }
    });
}
