//! Replay under contexts of each kind: sealed, with a role, and where several shadow roles stand for one.

use pgwarden_tests::for_each_version;
use pgwarden_tests::replay::Replayed;
use pgwarden_tests::seal::{KEY, add_key, install, with_key};
use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX};
use pgwarden_tests::{PgwardenBuilder, Server, Version};

/// A pgwarden in front of what was loaded.
#[track_caller]
fn start(server: &Server, builder: PgwardenBuilder) -> Replayed<'_> {
    let pgwarden = builder.start();
    pgwarden.until_logged("the tables of the database are known", 0);
    Replayed { server, pgwarden }
}

/// Makes a role a member as staging does.
fn join(server: &Server, role: &str, member: &str) {
    let how = if server.version() >= Version(16) { " WITH INHERIT TRUE, SET FALSE" } else { "" };
    server.psql(&format!("GRANT {role} TO {member}{how}"));
}

#[test]
fn a_context_is_sealed_for_the_connection_that_runs_it_again() {
    for_each_version(async |server| {
        Replayed::load(server);
        install(server);
        add_key(server, KEY);
        server.psql(
            "ALTER POLICY pgwarden_items_select ON items USING (org = (SELECT pgwarden.current_org_id()))",
        );
        let builder = with_key(Replayed::builder(server, "rate = 1"), KEY)
            .env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid, app.current_user_id=user:uuid")
            .env(
                "PGWARDEN_FIXED",
                &format!("acme=tenant:{ACME};user:{ANN}, globex=tenant:{GLOBEX};user:{BOB}"),
            );
        let stage = start(server, builder);
        let own = format!("SELECT name AS s2 FROM items WHERE org = '{ACME}'");
        stage.check(
            &mut stage.client("acme"),
            &[("s1", "SELECT name AS s1 FROM items", "result_differs"), ("s2", own.as_str(), "clean")],
        );
        let rows = &stage.about("s1").0[0]["rows"];
        assert_eq!((&rows["control"], &rows["shadow"]), (&5.into(), &2.into()));
    });
}

#[test]
fn who_acts_as_a_role_is_stood_for_by_the_shadow_of_that_role() {
    for_each_version(async |server| {
        Replayed::load(server);
        server.psql("REVOKE app FROM pgwarden_shadow; REVOKE SELECT ON items FROM app");
        server.psql("CREATE ROLE member; GRANT SELECT ON items TO member; GRANT member TO app, observer");
        join(server, "member", "pgwarden_shadow");
        let stage = start(server, Replayed::builder(server, "rate = 1\n[context]\nrole = \"member\"\n"));
        let own = format!("SELECT name AS r2 FROM items WHERE org = '{ACME}'");
        stage.check(
            &mut stage.client("acme"),
            &[("r1", "SELECT name AS r1 FROM items", "result_differs"), ("r2", own.as_str(), "clean")],
        );
    });
}

#[test]
fn each_shadow_role_of_a_role_is_asked() {
    for_each_version(async |server| {
        Replayed::load(server);
        server.psql(
            "CREATE ROLE pgwarden_shadow_2 NOLOGIN;
             CREATE POLICY pgwarden_second ON items AS RESTRICTIVE FOR SELECT TO pgwarden_shadow_2 USING (id <> 2);
             CREATE ROLE pgwarden_shadow_3 NOLOGIN; CREATE ROLE other; GRANT other TO pgwarden_shadow_3;
             CREATE POLICY pgwarden_third ON items AS RESTRICTIVE FOR SELECT TO pgwarden_shadow_3 USING (false)",
        );
        join(server, "app", "pgwarden_shadow_2");
        server.psql("GRANT pgwarden_shadow_2, pgwarden_shadow_3 TO observer");
        let stage = start(server, Replayed::builder(server, "rate = 1"));
        let own = format!("SELECT name AS m1 FROM items WHERE org = '{ACME}'");
        stage.check(
            &mut stage.client("acme"),
            &[
                // All of it is its own, and the second shadow hides some.
                ("m1", own.as_str(), "result_differs"),
                // The third stands for somebody else.
                ("m2", "SELECT name AS m2 FROM items WHERE id = 1", "clean"),
            ],
        );
        let evidence = stage.about("m1").0;
        assert!(
            evidence.iter().all(|one| one["evidence"].to_string().contains("pgwarden_shadow_2")),
            "{evidence:?}"
        );
    });
}
