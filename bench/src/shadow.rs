//! What the lanes of shadow mode need besides: a database in which policies are staged, and settings of pgwarden.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;
use crate::connection::{Connection, Login};
use crate::matrix::Lane;
use crate::process::{self, Account};
use crate::schema;

/// The database: a copy of the other one in which no policy is in force.
pub const DATABASE: &str = "staged";

/// Rows that DELETE finds in each table, one for each; more than a measurement of some seconds needs.
const ROWS: u32 = 200_000;

/// `plain` and `watched` are alike, until the second gets its triggers. `others` is another tenant's. The policies and roles
/// are what `pgwarden stage` makes of a tenant column.
const STATEMENTS: &[&str] = &[
    "DROP POLICY tenant ON accounts",
    "DROP POLICY sealed ON accounts",
    "CREATE TABLE plain (id integer PRIMARY KEY, org_id uuid NOT NULL, balance integer NOT NULL, \
     name text NOT NULL) WITH (fillfactor = 50)",
    "CREATE TABLE watched (LIKE plain INCLUDING ALL) WITH (fillfactor = 50)",
    "CREATE TABLE others (id integer PRIMARY KEY, org_id uuid NOT NULL, balance integer NOT NULL)",
    "INSERT INTO others SELECT n, '00000000-0000-4000-8000-000000000002', 0 FROM generate_series(1, 100000) n",
    "ALTER TABLE plain ENABLE ROW LEVEL SECURITY",
    "ALTER TABLE watched ENABLE ROW LEVEL SECURITY",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app",
    "CREATE ROLE pgwarden_shadow NOLOGIN NOBYPASSRLS",
    "CREATE ROLE observer LOGIN NOINHERIT",
    "GRANT app TO pgwarden_shadow",
    "GRANT app, pgwarden_shadow TO observer",
    "DO $$ DECLARE t text; c text; BEGIN FOREACH t IN ARRAY '{accounts,plain,watched}'::text[] LOOP \
     EXECUTE format('CREATE POLICY everything ON %s USING (true) WITH CHECK (true)', t); \
     FOREACH c IN ARRAY '{SELECT,INSERT,UPDATE,DELETE}'::text[] LOOP \
     EXECUTE format('CREATE POLICY pgwarden_%s ON %s AS RESTRICTIVE FOR %s TO pgwarden_shadow %s (org_id = \
     (SELECT nullif(current_setting(''app.current_org_id'', true), '''')::uuid))', lower(c), t, c, \
     CASE c WHEN 'INSERT' THEN 'WITH CHECK' ELSE 'USING' END); END LOOP; END LOOP; END $$",
    "VACUUM (ANALYZE)",
];

/// Creates the database, and lets pgwarden install its triggers on `watched`.
pub async fn load(address: SocketAddr, program: &Path) -> Result<()> {
    let initial = Login { database: schema::SUPERUSER, ..Login::new(address, schema::SUPERUSER) };
    let mut connection = Connection::open(&initial).await?;
    connection.execute(&format!("CREATE DATABASE {DATABASE} TEMPLATE {}", schema::DATABASE)).await?;
    connection.close().await?;
    let mut connection = superuser(address).await?;
    for statement in STATEMENTS {
        connection.execute(statement).await?;
    }
    connection.close().await?;
    install(address, program)
}

/// Empties both tables that are written to, and fills them anew: every measurement begins alike.
pub async fn refill(address: SocketAddr) -> Result<()> {
    let mut connection = superuser(address).await?;
    // Nobody is asked, and nothing told: triggers of a replica do not fire.
    connection.execute("SET session_replication_role = replica").await?;
    connection.execute("TRUNCATE plain, watched").await?;
    let tenant = schema::TENANT;
    for table in ["plain", "watched"] {
        let rows = format!("SELECT n, '{tenant}', 0, 'row' FROM generate_series(1, {ROWS}) n");
        connection.execute(&format!("INSERT INTO {table} {rows}")).await?;
    }
    connection.execute("VACUUM (ANALYZE) plain, watched").await?;
    connection.close().await
}

/// The settings of a lane's pgwarden. What keeps a trail keeps it in a directory of its own.
pub fn configure(lane: Lane, command: &mut Command, directory: &Path) {
    command.env("PGWARDEN_MODE", "shadow").env("PGWARDEN_REPLAY", "off");
    if matches!(lane, Lane::PgwardenRows | Lane::PgwardenTrail) {
        command.env("PGWARDEN_TENANT_COLUMNS", "org_id");
    }
    if lane.is_staged() {
        command.env("PGWARDEN_OBSERVER_USER", "observer");
    }
    if lane == Lane::PgwardenReplay {
        command.env("PGWARDEN_REPLAY", "on");
    }
    if let Some(trail) = trail(lane, directory) {
        command.env("PGWARDEN_AUDIT", trail);
    }
}

/// Where a lane's trail is.
pub fn trail(lane: Lane, directory: &Path) -> Option<PathBuf> {
    matches!(lane, Lane::PgwardenReplay | Lane::PgwardenTrail).then(|| directory.join(lane.name()))
}

async fn superuser(address: SocketAddr) -> Result<Connection> {
    Connection::open(&Login { database: DATABASE, ..Login::new(address, schema::SUPERUSER) }).await
}

fn install(address: SocketAddr, program: &Path) -> Result<()> {
    let url = format!("postgres://{}@{address}/{DATABASE}?sslmode=disable", schema::SUPERUSER);
    let mut command = process::command(program, Account::Own);
    command.args(["writes", "install", "public.watched"]).env_remove("PGWARDEN_BIN");
    command.env("PGWARDEN_UPSTREAM", url).env("PGWARDEN_MODE", "shadow").env("PGWARDEN_AUTH", "trust");
    command.env("PGWARDEN_TENANT_COLUMNS", "org_id");
    command.env("PGWARDEN_CONTEXT", "app.current_org_id=tenant:uuid,app.current_user_id=user:uuid");
    command.env("PGWARDEN_FIXED", format!("app=tenant:{};user:{}", schema::TENANT, schema::USER));
    let output = command.output().map_err(|error| format!("cannot run pgwarden writes install: {error}"))?;
    if !output.status.success() {
        return Err(format!("pgwarden writes install: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}
