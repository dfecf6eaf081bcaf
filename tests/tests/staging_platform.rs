//! The pending policies of the example platform: what they answer to the shadow role is what they will answer to the
//! application, and promoting them is applying the migration.

use pgwarden_tests::staging::{Staging, probe};
use pgwarden_tests::{Server, Version, examples, for_each_version};
use tokio_postgres::Client;

const ORGANISATIONS: [&str; 2] =
    ["a0000000-0000-4000-8000-000000000001", "b0000000-0000-4000-8000-000000000001"];
const USERS: [&str; 6] = [
    "a0000000-0000-4000-8000-0000000000a1",
    "a0000000-0000-4000-8000-0000000000a2",
    "b0000000-0000-4000-8000-0000000000a1",
    "b0000000-0000-4000-8000-0000000000a2",
    "c0000000-0000-4000-8000-0000000000a1",
    "d0000000-0000-4000-8000-0000000000a1",
];
const MIGRATION: &str = "platform/04-restrictive-policies.sql";

fn platform<'a>(server: &'a Server) -> Staging<'a> {
    let staging = Staging::new(server, "platform", "SELECT 1");
    for file in ["01-schema", "02-roles", "03-active-organisation", "05-data"] {
        examples::run(&staging.url("postgres"), &format!("platform/{file}.sql"));
    }
    staging
}

/// Reading, changing, removing and adding rows of each table. Before PostgreSQL 15, a view reads as its owner, whom staged
/// policies do not bind: `stage` says so.
async fn statements(client: &Client, version: Version) -> Vec<String> {
    let kinds = if version < Version(15) { "'r'" } else { "'r', 'v'" };
    let sql = format!(
        "SELECT c.oid::regclass::text, a.attname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE a.attnum = 1 AND c.relnamespace = 'platform'::regnamespace AND c.relkind IN ({kinds}) ORDER BY 1"
    );
    let rows = client.query(&sql, &[]).await.expect("the tables can be listed");
    let mut statements = Vec::new();
    for row in rows {
        let (table, column): (String, String) = (row.get(0), row.get(1));
        statements.push(format!("SELECT t::text FROM {table} t ORDER BY 1"));
        statements.push(format!("UPDATE {table} SET {column} = {column}"));
        statements.push(format!("DELETE FROM {table}"));
        let one = format!("SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1 LIMIT 1");
        if let Some(row) = client.query_opt(&one, &[]).await.expect("a table can be read") {
            let json = row.get::<_, String>(0).replace('\'', "''");
            statements.push(format!(
                "INSERT INTO {table} SELECT * FROM jsonb_populate_record(NULL::{table}, '{json}') ON CONFLICT DO NOTHING"
            ));
        }
    }
    statements.push("UPDATE platform.users SET full_name = 'x'".to_owned());
    statements.push(
        "SELECT p.id, count(d.id) FROM platform.projects p LEFT JOIN platform.databases d ON d.project_id = p.id \
         GROUP BY p.id ORDER BY p.id"
            .to_owned(),
    );
    statements
}

#[test]
fn the_platforms_migration_answers_the_shadow_role_as_it_answers_the_application_in_force() {
    for_each_version(async |server| {
        let staging = platform(server);
        let enforced = staging.copy("enforced");
        examples::run(&enforced.url("postgres"), MIGRATION);
        let file = examples::path(MIGRATION);
        let before = staging.policies();
        let said = staging.done(&[
            "stage",
            "--from",
            &file.to_string_lossy(),
            "--drops",
            "permissive_all_*",
            "--app",
            "app",
        ]);
        assert_eq!(staging.policies(), before, "what is in force stays in force: {said}");
        let (shadow, truth) = (staging.connect().await, enforced.connect().await);
        let statements = statements(&truth, server.version()).await;
        let mut probes = 0;
        for user in USERS.iter().map(Some).chain([None]) {
            for organisation in ORGANISATIONS.iter().map(Some).chain([None]) {
                let mut context = Vec::new();
                context.extend(user.map(|user| ("app.current_user_id", *user)));
                context.extend(organisation.map(|organisation| ("app.current_org_id", *organisation)));
                for statement in &statements {
                    let found = probe(&shadow, "pgwarden_shadow", &context, statement).await;
                    let expected = probe(&truth, "app", &context, statement).await;
                    assert_eq!(found, expected, "{statement} for {context:?}");
                    probes += 1;
                }
            }
        }
        assert!(probes >= 300, "{probes} probes");
        let today = probe(&shadow, "app", &[], "SELECT count(*) FROM platform.projects").await;
        assert!(today.starts_with('5'), "the application sees all, as before: {today}");
    });
}

#[test]
fn to_promote_is_to_apply_the_migration_and_to_demote_is_to_undo_it() {
    for_each_version(async |server| {
        let staging = platform(server);
        let enforced = staging.copy("enforced");
        examples::run(&enforced.url("postgres"), MIGRATION);
        let before = staging.policies();
        let file = examples::path(MIGRATION);
        staging.done(&[
            "stage",
            "--from",
            &file.to_string_lossy(),
            "--drops",
            "permissive_all_*",
            "--app",
            "app",
        ]);
        staging.refused(&["promote", "--all"], 1, "INSUFFICIENT DATA");
        let said = staging.done(&["promote", "--all", "--force", "--reason", "a test"]);
        assert_eq!(staging.policies(), enforced.policies(), "{said}");
        staging.done(&["demote", "--all", "--reason", "the test is over"]);
        assert_eq!(staging.policies(), before);
        let steps = "SELECT step, cardinality(tables) > 20, reason, by_user FROM pgwarden.journal WHERE step <> 'stage' ORDER BY id";
        assert_eq!(staging.sql(steps), "promote|t|a test|postgres\ndemote|t|the test is over|postgres");
        staging.done(&["unstage", "--all"]);
        assert_eq!(staging.sql("SELECT count(*) FROM pg_policies WHERE policyname ~ '^pgwarden'"), "0");
        assert_eq!(
            staging.sql("SELECT to_regprocedure('platform.current_org_id()')"),
            "",
            "what it made is gone"
        );
        assert_eq!(staging.sql("SELECT count(*) FROM pg_roles WHERE rolname ~ '^pgwarden_shadow'"), "0");
    });
}

#[test]
fn what_a_block_drops_has_to_be_said() {
    for_each_version(async |server| {
        let staging = platform(server);
        let file = examples::path(MIGRATION);
        staging.refused(&["stage", "--from", &file.to_string_lossy()], 64, "a DO block drops policies");
    });
}
