//! `pgwarden check` against databases with and without what lets a client past its policies.

use pgwarden_tests::{Exit, Pgwarden, Server, for_each_version};

/// Helpers as applications have them: they set variables for the session, and anybody can become the system.
const PLANTED: &str = "
CREATE SCHEMA platform;
CREATE ROLE platform_owner;
CREATE ROLE operators BYPASSRLS;
CREATE ROLE app LOGIN;
GRANT operators TO app;
GRANT USAGE ON SCHEMA platform TO app;
CREATE FUNCTION platform.set_context(org uuid) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    PERFORM set_config('app.current_org_id', org::text, false);
END $$;
CREATE FUNCTION platform.set_system_user() RETURNS void LANGUAGE sql AS $$
    SELECT set_config('app.current_user_id', '00000000-0000-0000-0000-000000000000', false)
$$;
CREATE FUNCTION platform.in_a_clause() RETURNS int LANGUAGE sql SET app.current_org_id = 'x' AS 'SELECT 1';
CREATE FUNCTION platform.run_sql(query text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN EXECUTE query; END $$;
CREATE FUNCTION platform.current_org_id() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
    AS $$ SELECT current_setting('app.current_org_id', true) $$;
CREATE FUNCTION platform.kept() RETURNS void LANGUAGE sql AS $$ SELECT set_config('app.current_org_id', 'x', true) $$;
REVOKE EXECUTE ON FUNCTION platform.kept() FROM PUBLIC;
CREATE TABLE platform.items (org text);
ALTER TABLE platform.items ENABLE ROW LEVEL SECURITY;
";

/// A database as it should be.
const CLEAN: &str = "
CREATE ROLE app LOGIN;
CREATE TABLE items (org text);
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
CREATE FUNCTION current_org_id() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS $$ SELECT current_setting('app.current_org_id', true) $$;
REVOKE TEMPORARY ON DATABASE postgres FROM PUBLIC;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC;
REVOKE USAGE ON LANGUAGE sql FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION pg_catalog.set_config(text, text, boolean) FROM PUBLIC;
";

fn check(server: &Server, user: &str, arguments: &[&str]) -> Exit {
    let url = server.url_for(user, "", "postgres");
    let settings = ["--setting", "app.current_org_id", "--setting", "app.current_user_id"];
    Pgwarden::builder().run(&[&["check", "--url", url.as_str()], settings.as_slice(), arguments].concat())
}

/// Severity, object and message of each finding.
fn findings(exit: &Exit) -> Vec<(String, String, String)> {
    let found: serde_json::Value =
        serde_json::from_str(&exit.stderr).unwrap_or_else(|error| panic!("{error}: {exit:?}"));
    let text = |one: &serde_json::Value, key: &str| one[key].as_str().expect("a text").to_owned();
    let found = found.as_array().expect("an array").iter();
    found.map(|one| (text(one, "severity"), text(one, "object"), text(one, "message"))).collect()
}

#[track_caller]
fn has(found: &[(String, String, String)], severity: &str, object: &str, message: &str) {
    let is =
        |one: &&(String, String, String)| one.0 == severity && one.1 == object && one.2.contains(message);
    assert!(found.iter().any(|one| is(&one)), "{severity} {object} {message}: {found:#?}");
}

#[test]
fn what_lets_a_client_past_its_policies_is_named() {
    for_each_version(async |server| {
        server.psql(PLANTED);
        let exit = check(server, "app", &["--json"]);
        assert_eq!(exit.status.code(), Some(1), "{exit:?}");
        let found = findings(&exit);
        has(
            &found,
            "serious",
            "platform.set_context(uuid)",
            "changes a variable that pgwarden sets, with its owner's rights",
        );
        has(
            &found,
            "serious",
            "platform.set_system_user()",
            "changes a variable that pgwarden sets: put it into guard.functions",
        );
        has(&found, "serious", "platform.in_a_clause()", "changes a variable");
        has(&found, "serious", "operators", "the login can become it, and it is BYPASSRLS");
        has(&found, "warning", "platform.run_sql(text)", "runs SQL that is put together when it runs");
        has(&found, "warning", "platform.current_org_id()", "finds types in pg_temp first");
        has(&found, "warning", "platform.set_context(uuid)", "its caller's search_path");
        has(&found, "note", "platform.kept()", "the login cannot call it");
        has(&found, "warning", "postgres", "temporary objects");
        has(&found, "warning", "plpgsql", "lets the login write code");
        has(&found, "warning", "pg_catalog.set_config(text, text, boolean)", "changes any setting");
        let readers = found.iter().filter(|one| one.1 == "platform.current_org_id()").count();
        assert_eq!(readers, 1, "reading a variable is no finding: {found:#?}");
    });
}

#[test]
fn a_login_that_policies_do_not_bind_comes_first() {
    for_each_version(async |server| {
        server.psql(PLANTED);
        let found = findings(&check(server, "postgres", &["--json"]));
        assert!(found[0].2.contains("is a superuser and BYPASSRLS and CREATEROLE"), "{:?}", found[0]);
        server.psql("ALTER TABLE platform.items OWNER TO app");
        let found = findings(&check(server, "app", &["--json"]));
        assert_eq!(("platform.items", "serious"), (found[0].1.as_str(), found[0].0.as_str()), "{found:#?}");
        server.psql("ALTER TABLE platform.items FORCE ROW LEVEL SECURITY");
        let found = findings(&check(server, "app", &["--json"]));
        has(&found, "warning", "platform.items", "it can drop the policies");
    });
}

#[test]
fn a_database_as_it_should_be_has_no_finding() {
    for_each_version(async |server| {
        server.psql(CLEAN);
        let exit = check(server, "app", &[]);
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        assert!(exit.stderr.starts_with("0 found, 0 serious"), "{exit:?}");
    });
}

#[test]
fn the_sql_that_it_prints_mends_what_it_finds() {
    for_each_version(async |server| {
        server.psql(PLANTED);
        let sql = check(server, "app", &["--sql"]).stderr;
        server.psql(&sql);
        let exit = check(server, "app", &["--json"]);
        assert_eq!(exit.status.code(), Some(0), "{exit:?}");
        let left: Vec<_> = findings(&exit).into_iter().filter(|one| one.0 != "note").collect();
        // Whether run_sql is one that a caller decides about, nobody but its author can tell.
        let only = ("warning".to_owned(), "platform.run_sql(text)".to_owned(), left[0].2.clone());
        assert_eq!(left, [only]);
    });
}

#[test]
fn functions_that_the_guard_knows_are_noted() {
    for_each_version(async |server| {
        server.psql(PLANTED);
        let url = server.url_for("app", "", "postgres");
        let exit = Pgwarden::builder()
            .upstream(&url)
            .env("PGWARDEN_AUTH", "trust")
            .env("PGWARDEN_MODE", "enforce")
            .env("PGWARDEN_CONTEXT", "app.current_org_id=literal:x")
            .env("PGWARDEN_GUARD_FUNCTIONS", "platform.set_context, platform.in_a_clause")
            .run(&["check", "--json"]);
        let found = findings(&exit);
        has(&found, "note", "platform.set_context(uuid)", "guard.functions has it");
        has(&found, "note", "platform.in_a_clause()", "guard.functions has it");
    });
}

#[test]
fn a_server_that_does_not_answer_is_no_clean_one() {
    let exit = Pgwarden::builder().run(&["check", "--url", "postgres://app@127.0.0.1:1/postgres"]);
    assert_eq!(exit.status.code(), Some(69), "{exit:?}");
    let exit = Pgwarden::builder().run(&["check", "--url", "postgres://127.0.0.1:1/postgres"]);
    assert_eq!(exit.status.code(), Some(64), "{exit:?}");
}
