//! The database under test: 100,000 accounts of ten tenants behind row level security, and TPC-B's other tables.

use std::net::SocketAddr;

use crate::Result;
use crate::connection::{Connection, Login};

/// Name of the database.
pub const DATABASE: &str = "bench";
/// Name of the superuser of the throw-away server, and of the database it starts with.
pub const SUPERUSER: &str = "postgres";
/// The tenant that every lane acts for; it owns accounts 1 to [`TENANT_ACCOUNTS`].
pub const TENANT: &str = "00000000-0000-4000-8000-000000000001";
/// The user that every lane acts for.
pub const USER: &str = "00000000-0000-4000-9000-000000000001";
/// Accounts that one tenant owns, with consecutive keys.
pub const TENANT_ACCOUNTS: u32 = 10_000;
/// Rows of `branches`; enough that clients seldom wait for each other.
pub const BRANCHES: u32 = 1_000;
/// Rows of `tellers`.
pub const TELLERS: u32 = 10_000;

/// Rows of each table that tenants with tokens read from.
pub const READS: u32 = 100_000;

/// The identifier of a tenant, counted from 1.
pub fn tenant(number: u32) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// Tables, policy and roles. `app` gets its context per transaction; `app_fixed` has it as a role setting, so that
/// lanes without a context evaluate the same policy and see the same rows.
const STATEMENTS: &[&str] = &[
    "CREATE TABLE accounts (id integer PRIMARY KEY, org_id uuid NOT NULL, balance integer NOT NULL, \
     name text NOT NULL) WITH (fillfactor = 80)",
    "INSERT INTO accounts SELECT n, ('00000000-0000-4000-8000-' || lpad(((n - 1) / 10000 + 1)::text, 12, '0'))::uuid, \
     0, 'account number ' || n FROM generate_series(1, 100000) n",
    "CREATE TABLE tellers (id integer PRIMARY KEY, balance integer NOT NULL) WITH (fillfactor = 30)",
    "INSERT INTO tellers SELECT n, 0 FROM generate_series(1, 10000) n",
    "CREATE TABLE branches (id integer PRIMARY KEY, balance integer NOT NULL) WITH (fillfactor = 10)",
    "INSERT INTO branches SELECT n, 0 FROM generate_series(1, 1000) n",
    "CREATE TABLE history (teller integer, branch integer, account integer, delta integer, \
     at timestamptz NOT NULL DEFAULT now())",
    "ALTER TABLE accounts ENABLE ROW LEVEL SECURITY",
    // Row n of reads_t belongs to tenant (n - 1) % t + 1.
    "CREATE TABLE reads_1 (id integer PRIMARY KEY, org_id uuid NOT NULL, balance integer NOT NULL)",
    "CREATE TABLE reads_1000 (LIKE reads_1 INCLUDING ALL)",
    "CREATE TABLE reads_100000 (LIKE reads_1 INCLUDING ALL)",
    "DO $$ DECLARE t integer; BEGIN FOREACH t IN ARRAY '{1,1000,100000}'::integer[] LOOP \
     EXECUTE format('INSERT INTO reads_%s SELECT n, (''00000000-0000-4000-8000-'' || \
     lpad(((n - 1) %% %s + 1)::text, 12, ''0''))::uuid, 0 FROM generate_series(1, 100000) n', t, t); \
     EXECUTE format('ALTER TABLE reads_%s ENABLE ROW LEVEL SECURITY', t); \
     EXECUTE format('CREATE POLICY tenant ON reads_%s USING \
     (org_id = nullif(current_setting(''app.current_org_id'', true), '''')::uuid)', t); END LOOP; END $$",
    "CREATE ROLE app LOGIN PASSWORD 'app'",
    "CREATE ROLE app_fixed LOGIN PASSWORD 'app'",
    "CREATE ROLE app_sealed LOGIN PASSWORD 'app'",
    "CREATE POLICY tenant ON accounts TO app, app_fixed USING \
     (org_id = nullif(current_setting('app.current_org_id', true), '')::uuid)",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO app, app_fixed, app_sealed",
    SEAL,
    // The key is 32 zeros: what HMAC makes of it can be written down.
    "INSERT INTO pgwarden.seal_key SELECT left(encode(sha256(decode(repeat('00', 32), 'hex')), 'hex'), 8), \
     decode(repeat('36', 64), 'hex'), decode(repeat('5c', 64), 'hex'), '{app.current_org_id,app.current_user_id}'",
    "CREATE POLICY sealed ON accounts TO app_sealed USING (org_id = (SELECT pgwarden.current_org_id()))",
];

/// The readers of sealed contexts.
const SEAL: &str = include_str!("../../deploy/sql/seal.sql");

fn superuser(address: SocketAddr) -> Login {
    Login::new(address, SUPERUSER)
}

/// Creates the database and loads it.
pub async fn load(address: SocketAddr) -> Result<()> {
    let initial = Login { database: SUPERUSER, ..superuser(address) };
    let mut connection = Connection::open(&initial).await?;
    connection.execute(&format!("CREATE DATABASE {DATABASE}")).await?;
    connection.close().await?;
    let mut connection = Connection::open(&superuser(address)).await?;
    for statement in STATEMENTS {
        connection.execute(statement).await?;
    }
    for (setting, value) in [("app.current_org_id", TENANT), ("app.current_user_id", USER)] {
        connection.execute(&format!("ALTER ROLE app_fixed SET {setting} = '{value}'")).await?;
    }
    connection.execute("VACUUM (ANALYZE)").await?;
    connection.execute("CHECKPOINT").await?;
    connection.close().await
}

/// Brings the tables that transactions write to back to their first size.
pub async fn tidy(address: SocketAddr) -> Result<()> {
    let mut connection = Connection::open(&superuser(address)).await?;
    connection.execute("TRUNCATE history").await?;
    connection.execute("VACUUM accounts, tellers, branches").await?;
    connection.close().await
}
