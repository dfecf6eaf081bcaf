//! sqlx' migrations as a service, and the tenants behind them. SERVICE_URL is the service's.

use std::str::FromStr;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::{Outcome, Tenant, equal, fails, one};

fn migrator() -> Migrator {
    let migration = |version: i64, name: &'static str, sql: &'static str, outside: bool| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into(), outside)
    };
    let migrations = vec![
        migration(
            1,
            "a column with a value in every row",
            "ALTER TABLE notes ADD COLUMN title text; UPDATE notes SET title = upper(body); \
             ALTER TABLE notes ALTER COLUMN title SET NOT NULL; ALTER TABLE notes ALTER COLUMN title SET DEFAULT ''",
            false,
        ),
        migration(
            2,
            "an index beside the others",
            "CREATE INDEX CONCURRENTLY notes_title ON notes (title)",
            true,
        ),
        migration(
            3,
            "a table with a policy",
            "CREATE TABLE labels (id serial PRIMARY KEY, org_id uuid NOT NULL DEFAULT org(), name text); \
             ALTER TABLE labels ENABLE ROW LEVEL SECURITY; ALTER TABLE labels FORCE ROW LEVEL SECURITY; \
             CREATE POLICY tenant ON labels USING (org_id = org()); \
             DO $$ BEGIN INSERT INTO labels (org_id, name) SELECT DISTINCT org_id, 'of ' || org_id FROM notes; END $$",
            false,
        ),
    ];
    Migrator { migrations: migrations.into(), ..Migrator::DEFAULT }
}

pub async fn migrates(tenants: &[Tenant]) -> Outcome {
    let mut before = Vec::new();
    for tenant in tenants {
        let mut connection = tenant.pool.acquire().await?;
        equal(
            one(&mut *connection, "SELECT min(body) FROM notes").await?,
            format!("{}: first", tenant.name),
            "a row",
        );
        before.push(connection);
    }
    // sqlx keeps its lock where a migration fails, until the connection is closed.
    let own = PgPoolOptions::new().max_connections(1).connect_with(tenants[0].options.clone()).await?;
    let refused = migrator().run(&own).await.expect_err("a tenant may not");
    own.close().await;
    assert!(refused.to_string().contains("permission denied"), "{refused}");

    let options = PgConnectOptions::from_str(&std::env::var("SERVICE_URL")?)?.application_name("OPS-7 sqlx");
    let service = PgPoolOptions::new().max_connections(2).connect_with(options).await?;
    migrator().run(&service).await?;
    migrator().run(&service).await?;
    equal(one(&service, "SELECT count(*)::text FROM notes WHERE title = upper(body)").await?, "5", "rows");
    equal(
        one(&service, "SELECT count(DISTINCT org_id)::text FROM labels").await?,
        "2",
        "tenants of the rows",
    );
    service.close().await;

    for (tenant, connection) in tenants.iter().zip(&mut before) {
        // The statement was prepared in front of the migration.
        equal(
            one(&mut **connection, "SELECT min(body) FROM notes").await?,
            format!("{}: first", tenant.name),
            "a row",
        );
        equal(
            one(&tenant.pool, "SELECT min(title) FROM notes").await?,
            format!("{}: FIRST", tenant.name.to_uppercase()),
            "a title",
        );
        equal(
            one(&tenant.pool, "SELECT string_agg(name, ',') FROM labels").await?,
            format!("of {}", tenant.org),
            "labels",
        );
        let other = sqlx::query("INSERT INTO labels (org_id, name) VALUES (gen_random_uuid(), 'x')");
        fails(other.execute(&tenant.pool).await, "42501", "a row of somebody else");
    }
    Ok(())
}
