//! `pgwarden stage`: pending policies are evaluated for a shadow role, exactly, and the application notices nothing.

use pgwarden_tests::staging::{Staging, probe};
use pgwarden_tests::{Server, Version, for_each_version};

const A: (&str, &str) = ("app.current_org_id", "00000000-0000-4000-8000-00000000000a");
const B: (&str, &str) = ("app.current_org_id", "00000000-0000-4000-8000-00000000000b");

/// Two tables of two tenants, open to all today.
const OPEN: &str = "
CREATE ROLE owner;
CREATE ROLE app LOGIN;
CREATE TABLE items (id int PRIMARY KEY, org_id uuid, note text, owned_by text DEFAULT 'x');
CREATE TABLE parts (id int PRIMARY KEY, item_id int REFERENCES items, note text);
INSERT INTO items SELECT n, ('00000000-0000-4000-8000-00000000000' || CASE n % 2 WHEN 0 THEN 'a' ELSE 'b' END)::uuid, n
    FROM generate_series(1, 10) n;
INSERT INTO parts SELECT n, n, n FROM generate_series(1, 10) n;
ALTER TABLE items OWNER TO owner;
ALTER TABLE parts OWNER TO owner;
ALTER TABLE items ENABLE ROW LEVEL SECURITY;
ALTER TABLE parts ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON items USING (true);
CREATE POLICY everything ON parts USING (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON items, parts TO app;
";

const OWN: &str = "org_id = (SELECT nullif(current_setting('app.current_org_id', true), '')::uuid)";

const PROBES: [&str; 9] = [
    "SELECT id FROM items ORDER BY id",
    "UPDATE items SET note = 'x'",
    "UPDATE items SET org_id = '00000000-0000-4000-8000-00000000000b' WHERE id = 2",
    "DELETE FROM items WHERE id > 8 AND NOT EXISTS (SELECT FROM parts WHERE item_id = items.id)",
    "INSERT INTO items VALUES (20, '00000000-0000-4000-8000-00000000000a') RETURNING id",
    "INSERT INTO items VALUES (20, '00000000-0000-4000-8000-00000000000b')",
    "INSERT INTO items VALUES (1, '00000000-0000-4000-8000-00000000000a') ON CONFLICT (id) DO UPDATE SET note = 'y'",
    "SELECT i.id, p.id FROM items i JOIN parts p ON p.item_id = i.id ORDER BY 1, 2",
    "DELETE FROM parts",
];

/// Stages a migration, and compares what the shadow role of `app` is answered with what `app` is answered once the
/// migration has run on a copy.
async fn compare(server: &Server, schema: &str, migration: &str, arguments: &[&str], app: &str) {
    let staging = Staging::new(server, "staged", &format!("{OPEN}{schema}"));
    let enforced = staging.copy("enforced");
    enforced.sql(migration);
    let before = staging.policies();
    let exit = staging.migrate(migration, arguments);
    assert!(exit.status.success(), "{}", exit.stderr);
    assert_eq!(staging.policies(), before);
    let (shadow, truth) = (staging.connect().await, enforced.connect().await);
    let role = staging.sql(&format!("SELECT role FROM pgwarden.shadow_role WHERE acts_as = '{app}'"));
    for context in [&[A][..], &[B], &[]] {
        for statement in PROBES {
            let found = probe(&shadow, &role, context, statement).await;
            assert_eq!(found, probe(&truth, app, context, statement).await, "{statement} for {context:?}");
        }
    }
    staging.done(&["promote", "--all", "--force", "--reason", "a test"]);
    assert_eq!(staging.policies(), enforced.policies());
    drop((shadow, truth));
    staging.done(&["demote", "--all"]);
    assert_eq!(staging.policies(), before);
}

#[test]
fn a_tenant_column_gets_the_standard_policies() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        let before = staging.policies();
        let said = staging.done(&["stage", "--column", "org_id"]);
        assert!(said.contains("public.items: staged"), "{said}");
        assert_eq!(staging.policies(), before);
        let client = staging.connect().await;
        let all = "SELECT count(*) FROM items";
        assert_eq!(probe(&client, "pgwarden_shadow", &[A], all).await, "5\n1 rows");
        assert_eq!(probe(&client, "pgwarden_shadow", &[], all).await, "0\n1 rows");
        assert_eq!(probe(&client, "app", &[A], all).await, "10\n1 rows");
        assert_eq!(probe(&client, "pgwarden_shadow", &[A], PROBES[5]).await, "42501");
        staging.done(&["promote", "public.items", "--force", "--reason", "a test"]);
        assert_eq!(probe(&client, "app", &[A], all).await, "5\n1 rows");
        assert_eq!(probe(&client, "app", &[], all).await, "0\n1 rows");
        staging.done(&["demote", "public.items"]);
        assert_eq!(staging.policies(), before);
    });
}

#[test]
fn several_permissive_policies_are_one_of_them_and_a_command_without_any_is_refused() {
    for_each_version(async |server| {
        let migration = format!(
            "DROP POLICY everything ON items; DROP POLICY everything ON parts;
             CREATE POLICY own ON items FOR SELECT USING ({OWN});
             CREATE POLICY published ON items FOR SELECT USING (note = '3');
             CREATE POLICY change ON items FOR UPDATE USING ({OWN});
             CREATE POLICY note ON items FOR UPDATE USING (id = 1) WITH CHECK (note = 'x');
             CREATE POLICY new ON items FOR INSERT WITH CHECK ({OWN});
             CREATE POLICY child ON parts USING (item_id IN (SELECT id FROM items WHERE {OWN}))"
        );
        compare(server, "", &migration, &[], "app").await;
    });
}

#[test]
fn selective_policies_of_today_do_not_matter_where_they_go_and_do_where_they_stay() {
    for_each_version(async |server| {
        let schema = "DROP POLICY everything ON items; CREATE POLICY even ON items TO app USING (id % 2 = 0);
                      CREATE POLICY kept ON items FOR SELECT TO app USING (id = 7);
                      CREATE POLICY small ON items AS RESTRICTIVE USING (id < 10 OR id = 20);
                      COMMENT ON POLICY even ON items IS 'as of today'";
        let migration = format!("DROP POLICY even ON items; CREATE POLICY own ON items USING ({OWN})");
        compare(server, schema, &migration, &[], "app").await;
    });
}

#[test]
fn each_role_of_the_application_has_a_shadow_of_its_own() {
    for_each_version(async |server| {
        let schema = "CREATE ROLE anon; CREATE ROLE authenticated; GRANT SELECT, INSERT, UPDATE, DELETE ON items, parts \
                      TO anon, authenticated";
        let migration = format!(
            "DROP POLICY everything ON items;
             CREATE POLICY published ON items FOR SELECT TO anon USING (id < 3);
             CREATE POLICY own ON items TO authenticated USING ({OWN})"
        );
        let staging = Staging::new(server, "staged", &format!("{OPEN}{schema}"));
        let enforced = staging.copy("enforced");
        enforced.sql(&migration);
        let exit = staging.migrate(&migration, &[]);
        assert!(exit.status.success(), "{}", exit.stderr);
        let (shadow, truth) = (staging.connect().await, enforced.connect().await);
        for role in ["anon", "authenticated", "app"] {
            let its = staging.sql(&format!("SELECT role FROM pgwarden.shadow_role WHERE acts_as = '{role}'"));
            for statement in PROBES {
                let found = probe(&shadow, &its, &[A], statement).await;
                assert_eq!(found, probe(&truth, role, &[A], statement).await, "{statement} as {role}");
            }
        }
    });
}

#[test]
fn an_application_that_owns_its_tables_is_bound_when_it_is_promoted() {
    for_each_version(async |server| {
        let schema = "ALTER TABLE items OWNER TO app; ALTER TABLE parts OWNER TO app";
        let staging = Staging::new(server, "staged", &format!("{OPEN}{schema}"));
        let migration = format!(
            "DROP POLICY everything ON items; CREATE POLICY own ON items USING ({OWN});
             ALTER TABLE items FORCE ROW LEVEL SECURITY"
        );
        let enforced = staging.copy("enforced");
        enforced.sql(&migration);
        let before = staging.policies();
        let exit = staging.migrate(&migration, &[]);
        assert!(exit.stderr.contains("has copies of its rights"), "{}", exit.stderr);
        let shared = "SELECT count(*) FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member \
                      WHERE r.rolname = 'pgwarden_shadow'";
        assert_eq!(staging.sql(shared), "0", "a member of the owner counts as the owner");
        let (shadow, truth) = (staging.connect().await, enforced.connect().await);
        for statement in PROBES {
            let found = probe(&shadow, "pgwarden_shadow", &[A], statement).await;
            assert_eq!(found, probe(&truth, "app", &[A], statement).await, "{statement}");
        }
        staging.done(&["promote", "--all", "--force", "--reason", "a test"]);
        assert_eq!(staging.policies(), enforced.policies());
        staging.done(&["demote", "--all"]);
        assert_eq!(staging.policies(), before, "FORCE goes as it came");
    });
}

#[test]
fn what_cannot_be_staged_exactly_is_listed_and_remembered() {
    for_each_version(async |server| {
        let schema = "CREATE POLICY strict ON parts AS RESTRICTIVE USING (id < 5)";
        let staging = Staging::new(server, "staged", &format!("{OPEN}{schema}"));
        let migration =
            "DROP POLICY strict ON parts; CREATE POLICY mine ON items USING (owned_by = current_user);
                         ALTER POLICY everything ON items USING (false)";
        let exit = staging.migrate(migration, &[]);
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        for said in [
            "public.items: not staged: policy \"mine\" asks who the role is (current_user)",
            "public.parts: not staged: restrictive policy \"strict\" is in force today and goes",
            "left out: migration.sql, line 2: it alters policy \"everything\"",
        ] {
            assert!(exit.stderr.contains(said), "{said:?} is not in\n{}", exit.stderr);
        }
        let rows = staging.sql("SELECT state, count(*) FROM pgwarden.staged GROUP BY 1");
        assert_eq!(rows, "refused|2");
        staging.refused(&["promote", "public.items", "--force", "--reason", "x"], 1, "could not be staged");
        assert_eq!(staging.sql("SELECT count(*) FROM pg_policies WHERE policyname ~ '^pgwarden'"), "0");
    });
}

#[test]
fn a_policy_that_names_what_is_not_there_leaves_the_others_alone() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        let exit = staging.migrate(
            "CREATE POLICY a ON items USING (missing = 1); CREATE POLICY b ON parts USING (id = 1)",
            &[],
        );
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        assert!(
            exit.stderr.contains("public.items: not staged: the server refuses the policies: column"),
            "{}",
            exit.stderr
        );
        assert!(exit.stderr.contains("public.parts: staged"), "{}", exit.stderr);
        let exit = staging.migrate("CREATE POLICY a ON nowhere USING (true)", &[]);
        assert_eq!(exit.status.code(), Some(64), "{}", exit.stderr);
        assert!(exit.stderr.contains("there is no table \"nowhere\""), "{}", exit.stderr);
    });
}

#[test]
fn a_shadow_role_that_others_inherit_is_refused() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        staging.sql("CREATE ROLE pgwarden_shadow; GRANT pgwarden_shadow TO app");
        staging.refused(
            &["stage", "--column", "org_id"],
            1,
            "role \"app\" inherits shadow role \"pgwarden_shadow\"",
        );
        staging.sql("REVOKE pgwarden_shadow FROM app; CREATE ROLE other; GRANT other TO pgwarden_shadow");
        staging.refused(&["stage", "--column", "org_id"], 1, "is a member of \"other\"");
        staging.sql("REVOKE other FROM pgwarden_shadow; ALTER ROLE pgwarden_shadow BYPASSRLS");
        staging.refused(&["stage", "--column", "org_id"], 1, "is BYPASSRLS");
        assert_eq!(staging.sql("SELECT count(*) FROM pg_policies WHERE policyname ~ '^pgwarden'"), "0");
        staging.sql("ALTER ROLE pgwarden_shadow NOBYPASSRLS");
        staging.done(&["stage", "--column", "org_id"]);
    });
}

#[test]
fn whoever_creates_the_shadow_role_does_not_inherit_it() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        staging.sql("CREATE ROLE stager LOGIN CREATEROLE; GRANT owner TO stager; GRANT CREATE ON DATABASE staged TO stager");
        let grant = if server.version() >= Version(16) {
            "GRANT app TO stager WITH ADMIN OPTION, INHERIT FALSE"
        } else {
            "SELECT 1"
        };
        staging.sql(grant);
        if server.version() >= Version(16) {
            staging.sql("ALTER ROLE stager SET createrole_self_grant = 'set, inherit'");
        }
        let exit = staging.run_as("stager", &["stage", "--column", "org_id"]);
        assert!(exit.status.success(), "{}", exit.stderr);
        assert_eq!(staging.sql("SELECT pg_has_role('stager', 'pgwarden_shadow', 'USAGE')"), "f");
    });
}

#[test]
fn the_observer_may_become_the_shadow_role_and_never_inherits_it() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        staging.sql(
            "CREATE ROLE observer LOGIN; CREATE SCHEMA pgwarden; CREATE TABLE pgwarden.seal_key (id text)",
        );
        let arguments = ["stage", "--column", "org_id", "--observer"];
        if server.version() < Version(16) {
            staging.refused(
                &[&arguments[..], &["observer"]].concat(),
                1,
                "ALTER ROLE \"observer\" NOINHERIT",
            );
            staging.sql("ALTER ROLE observer NOINHERIT");
        }
        staging.refused(&[&arguments[..], &["app"]].concat(), 1, "is the application's");
        let unobserved = staging.done(&["stage", "--column", "org_id", "--dry-run"]);
        assert!(unobserved.contains("-- note: no observer is named"), "{unobserved}");
        staging.done(&[&arguments[..], &["observer"]].concat());
        let may = "SELECT pg_has_role('observer', r, 'USAGE'), pg_has_role('observer', r, 'MEMBER') \
                   FROM unnest(ARRAY['pgwarden_shadow', 'app']) r";
        assert_eq!(staging.sql(may), "f|t\nf|t");
        let client = pgwarden_tests::connect(&staging.url("observer")).await;
        assert_eq!(probe(&client, "pgwarden_shadow", &[A], "SELECT count(*) FROM items").await, "5\n1 rows");
        client.batch_execute("SELECT FROM pgwarden.journal").await.expect("it may read the journal");
        client
            .batch_execute("SELECT FROM pgwarden.seal_key")
            .await
            .expect_err("and not the keys of sealed contexts");
    });
}

#[test]
fn row_level_security_is_not_switched_on_unasked() {
    for_each_version(async |server| {
        let schema = "ALTER TABLE items DISABLE ROW LEVEL SECURITY; DROP POLICY everything ON items";
        let staging = Staging::new(server, "staged", &format!("{OPEN}{schema}"));
        let before = staging.policies();
        staging.refused(
            &["stage", "--column", "org_id"],
            1,
            "public.items: not staged: row level security is off",
        );
        let said = staging.done(&["stage", "--column", "org_id", "--enable-rls"]);
        assert!(said.contains("COPY FROM fails"), "{said}");
        let client = staging.connect().await;
        let all = "SELECT count(*) FROM items";
        assert_eq!(probe(&client, "app", &[A], all).await, "10\n1 rows");
        assert_eq!(probe(&client, "pgwarden_shadow", &[A], all).await, "5\n1 rows");
        staging.done(&["promote", "--all", "--force", "--reason", "a test"]);
        assert_eq!(probe(&client, "app", &[A], all).await, "5\n1 rows");
        staging.done(&["demote", "--all"]);
        assert_eq!(probe(&client, "app", &[A], all).await, "10\n1 rows");
        staging.done(&["unstage", "--all"]);
        assert_eq!(staging.policies(), before);
    });
}

#[test]
fn policies_that_exist_and_are_not_in_force_can_be_staged() {
    for_each_version(async |server| {
        let schema = format!(
            "ALTER TABLE items DISABLE ROW LEVEL SECURITY; DROP POLICY everything ON items;
             CREATE POLICY own ON items USING ({OWN})"
        );
        let staging = Staging::new(server, "staged", &format!("{OPEN}{schema}"));
        staging.done(&["stage", "--existing", "--enable-rls"]);
        let client = staging.connect().await;
        let all = "SELECT count(*) FROM items";
        assert_eq!(probe(&client, "app", &[A], all).await, "10\n1 rows");
        assert_eq!(probe(&client, "pgwarden_shadow", &[A], all).await, "5\n1 rows");
        staging.done(&["promote", "--all", "--force", "--reason", "a test"]);
        assert_eq!(probe(&client, "app", &[A], all).await, "5\n1 rows");
    });
}

#[test]
fn staged_policies_stand_in_the_way_of_columns_until_they_are_taken_away() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        staging.done(&["stage", "--column", "org_id"]);
        let client = staging.connect().await;
        let error =
            client.batch_execute("ALTER TABLE items DROP COLUMN org_id").await.expect_err("it is used");
        assert_eq!(error.code().map(|code| code.code()), Some("2BP01"));
        staging.done(&["unstage", "public.items"]);
        client.batch_execute("ALTER TABLE items DROP COLUMN org_id").await.expect("nothing uses it");
        let steps = "SELECT step, tables, by_user, detail ->> 'source' FROM pgwarden.journal ORDER BY id";
        assert_eq!(
            staging.sql(steps),
            "stage|{public.items}|postgres|org_id\nunstage|{public.items}|postgres|org_id"
        );
    });
}

#[test]
fn a_second_run_changes_nothing_and_a_changed_migration_is_staged_anew() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        let migration = |id: u32| {
            format!("DROP POLICY everything ON items; CREATE POLICY own ON items USING (id = {id})")
        };
        let state = "SELECT oid, polname FROM pg_policy UNION ALL SELECT 0, count(*)::text FROM pgwarden.journal ORDER BY 1, 2";
        assert!(staging.migrate(&migration(1), &[]).status.success());
        let first = staging.sql(state);
        let exit = staging.migrate(&migration(1), &[]);
        assert!(exit.stderr.contains("public.items: staged already"), "{}", exit.stderr);
        assert_eq!(staging.sql(state), first);
        assert!(staging.migrate(&migration(2), &[]).status.success());
        let client = staging.connect().await;
        assert_eq!(probe(&client, "pgwarden_shadow", &[], "SELECT id FROM items").await, "2\n1 rows");
        let list = staging.done(&["staged"]);
        assert!(
            list.starts_with("public.items  staged")
                && list.ends_with("1 staged, 0 promoted, 0 could not be staged\n"),
            "{list}"
        );
    });
}

#[test]
fn a_dry_run_prints_what_would_be_done_and_does_nothing() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        let all = "SELECT oid FROM pg_policy UNION ALL SELECT oid FROM pg_authid UNION ALL SELECT oid FROM pg_namespace \
                   UNION ALL SELECT oid FROM pg_class ORDER BY 1";
        let before = staging.sql(all);
        let printed = staging.done(&["stage", "--column", "org_id", "--dry-run"]);
        assert_eq!(staging.sql(all), before);
        staging.sql(&format!("SET search_path = pg_catalog, pg_temp;\n{printed}"));
        let said = staging.done(&["stage", "--column", "org_id"]);
        assert!(
            said.contains("public.items: staged already"),
            "what was printed is what would have been done: {said}"
        );
        let printed = staging.done(&["promote", "--all", "--force", "--reason", "x", "--dry-run"]);
        assert!(printed.contains("CREATE POLICY \"tenant_isolation\""), "{printed}");
        assert_eq!(staging.sql("SELECT state FROM pgwarden.staged"), "staged");
    });
}

#[test]
fn functions_of_a_migration_are_made_and_those_that_exist_stay_as_they_are() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        let migration = "CREATE OR REPLACE FUNCTION mine() RETURNS int LANGUAGE sql STABLE AS 'SELECT 4';
                         DROP POLICY everything ON items; CREATE POLICY own ON items USING (id = (SELECT mine()))";
        assert!(staging.migrate(migration, &[]).status.success());
        let client = staging.connect().await;
        assert_eq!(probe(&client, "pgwarden_shadow", &[], "SELECT id FROM items").await, "4\n1 rows");
        let exit = staging.migrate(&migration.replace('4', "5"), &[]);
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        assert!(exit.stderr.contains("changes functions that exist: public.mine()"), "{}", exit.stderr);
        assert_eq!(probe(&client, "pgwarden_shadow", &[], "SELECT id FROM items").await, "4\n1 rows");
    });
}

#[test]
fn a_function_that_asks_for_the_role_keeps_its_policy_from_being_staged() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        let migration = "CREATE OR REPLACE FUNCTION inner_one() RETURNS text LANGUAGE plpgsql STABLE AS $$ BEGIN \
                         RETURN current_user; END $$;
                         CREATE OR REPLACE FUNCTION mine() RETURNS text LANGUAGE sql STABLE AS 'SELECT inner_one()';
                         CREATE OR REPLACE FUNCTION owners() RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT current_user';
                         DROP POLICY everything ON items; CREATE POLICY own ON items USING (owned_by = mine());
                         CREATE POLICY own ON parts USING (note = owners())";
        let exit = staging.migrate(migration, &[]);
        assert_eq!(exit.status.code(), Some(1), "{}", exit.stderr);
        let refused = "public.items: not staged: its policies ask who the role is (current_user in function public.inner_one)";
        assert!(exit.stderr.contains(refused), "{}", exit.stderr);
        assert!(
            exit.stderr.contains("public.parts: staged"),
            "within SECURITY DEFINER it is the owner: {}",
            exit.stderr
        );
    });
}

#[test]
fn the_configuration_says_which_columns_hold_a_tenant_and_what_is_everybodys() {
    for_each_version(async |server| {
        let staging = Staging::new(server, "staged", OPEN);
        staging.sql("INSERT INTO items VALUES (11, NULL), (12, '00000000-0000-4000-8000-00000000000c')");
        let config = format!(
            "mode = \"shadow\"\n[upstream]\nurl = \"{}\"\n[auth]\nmethod = \"trust\"\n\
             [context]\nvariables = \"app.tenant=tenant:uuid\"\ndefault_tenant = \"{}\"\n\
             [shadow]\ntenant_columns = [\"public.items.org_id\"]\nnull_is_global = true\n\
             global_tenants = [\"00000000-0000-4000-8000-00000000000c\"]\n",
            staging.url("app"),
            A.1
        );
        let file = staging.file("pgwarden.toml", &config);
        let said = staging.done(&["stage", "--config", &file.to_string_lossy()]);
        assert!(said.contains("the observer logs in as \"app\", which is the application"), "{said}");
        let client = staging.connect().await;
        let context = [("app.tenant", A.1)];
        let count = probe(&client, "pgwarden_shadow", &context, "SELECT count(*) FROM items").await;
        assert_eq!(count, "7\n1 rows", "its own five, and two that are everybody's");
        let changed =
            probe(&client, "pgwarden_shadow", &context, "UPDATE items SET note = 'x' WHERE id > 10").await;
        assert_eq!(changed, "0 rows", "what is everybody's is nobody's to write");
    });
}
