//! Signed tokens together with look-ups: what the token leaves out the database says, and what the token says of a
//! membership the database has to confirm.

use pgwarden_tests::identities::{self, ACME, ANN, ANNS, GLOBEX, SAM, asked, client, org, org_with, switch};
use pgwarden_tests::tenants::{error_code, values};
use pgwarden_tests::tokens::{Algorithm, Issuer, SECRET, json, token};
use pgwarden_tests::{Pgwarden, Server, Wire, for_each_version, until};

const HOUR: &str = "ttl = \"1h\"\ndenied_ttl = \"1h\"\nunnotified_ttl = \"1h\"";

/// A pgwarden that takes signed tokens, at login or within a session, beside those that the database knows.
fn start(server: &Server, method: &str) -> Pgwarden {
    identities::load(server);
    let configuration = identities::configuration(HOUR);
    let configuration =
        configuration.replace("[context]\n", "[context]\nuser_claim = \"sub\"\ntenant_claim = \"org\"\n");
    let pgwarden = identities::builder(server, &configuration)
        .env("PGWARDEN_AUTH", method)
        .env("PGWARDEN_JWT_KEY", "file:{dir}/key")
        .file("key", SECRET)
        .start();
    identities::until_listening(&pgwarden);
    pgwarden
}

fn log_in(pgwarden: &Pgwarden, token: &str) -> Result<Wire, String> {
    let mut wire = Wire::connect(pgwarden.port());
    let login = wire.try_log_in(token, &[("user", "anybody"), ("database", "postgres")]);
    login.map(|_| wire).map_err(|error| error.fields().code().to_owned())
}

#[test]
fn a_token_that_names_only_its_user_stands_for_the_active_organisation() {
    for_each_version(async |server| {
        let pgwarden = start(server, "jwt");
        let mut wire = log_in(&pgwarden, &token(&json!({"sub": SAM}))).expect("a good token");
        assert_eq!(org(&mut wire), GLOBEX);
        switch(server, SAM, ACME);
        until("the session follows", || (org(&mut wire) == ACME).then_some(()));
        let role = wire.query("SELECT current_setting('app.role')");
        assert_eq!(values(&role), ["developer"]);
    });
}

#[test]
fn a_tenant_that_a_token_names_has_to_be_one_of_its_user() {
    for_each_version(async |server| {
        let pgwarden = start(server, "jwt");
        let of = |user: &str, tenant: &str| log_in(&pgwarden, &token(&json!({"sub": user, "org": tenant})));
        assert_eq!(of(ANN, GLOBEX).err().as_deref(), Some("42501"));
        let mut sam = of(SAM, ACME).expect("a member, whatever the active organisation is");
        assert_eq!(org(&mut sam), ACME);
        server.psql(&format!(
            "DELETE FROM platform.organization_members WHERE user_id = '{SAM}' AND organization_id = '{ACME}'"
        ));
        until("the session loses it", || (error_code(&sam.query("SELECT 1")) == "42501").then_some(()));
        assert_eq!(of(SAM, ACME).err().as_deref(), Some("42501"));
    });
}

#[test]
fn a_user_that_is_none_in_the_database_stands_for_nothing() {
    for_each_version(async |server| {
        let pgwarden = start(server, "jwt");
        let stranger = "e0000000-0000-4000-8000-0000000000a1";
        let mut wire = log_in(&pgwarden, &token(&json!({"sub": stranger}))).expect("a good token");
        assert_eq!(error_code(&wire.query("SELECT count(*) FROM platform.projects")), "42501");
        let mut nobody = log_in(&pgwarden, &token(&json!({"sub": "a\u{0}b"}))).expect("a good token");
        assert_eq!(error_code(&nobody.query("SELECT count(*) FROM platform.projects")), "42501");
        for user in ["no uuid", "', true); --"] {
            assert_eq!(
                log_in(&pgwarden, &token(&json!({"sub": user}))).err().as_deref(),
                Some("28000"),
                "{user:?}"
            );
        }
    });
}

#[test]
fn a_signed_token_and_one_that_the_database_knows_are_told_apart() {
    for_each_version(async |server| {
        let pgwarden = start(server, "trust");
        let mut wire = client(&pgwarden, "anybody");
        assert_eq!(org_with(&mut wire, ANNS), ACME);
        assert_eq!(asked(server), 1);
        assert_eq!(org_with(&mut wire, &token(&json!({"sub": SAM}))), GLOBEX);
        let forged = Issuer::of_secret(Algorithm::HS256, "another secret of more than thirty-two bytes");
        let forged = forged.sign(&json!({"sub": SAM, "exp": 4_000_000_000_u64}));
        assert_eq!(error_code(&identities::answer_with(&mut wire, &forged)), "28000");
        assert_eq!(asked(server), 1, "what looks signed is no opaque token");
        switch(server, SAM, ACME);
        let signed = token(&json!({"sub": SAM}));
        until("signed tokens follow as well", || (org_with(&mut wire, &signed) == ACME).then_some(()));
    });
}

/// What the configuration fixes needs no confirmation by the database.
#[test]
fn a_tenant_of_the_configuration_is_not_looked_up() {
    for_each_version(async |server| {
        let pgwarden = start(server, "trust");
        server.psql("TRUNCATE platform.organization_members");
        server.psql("ALTER ROLE pgwarden_lookup NOLOGIN");
        let mut acme = client(&pgwarden, "acme");
        assert_eq!(org(&mut acme), ACME);
    });
}
