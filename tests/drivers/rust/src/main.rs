//! sqlx as two tenants. What the environment means: ../../python/scenario.py.

mod migrations;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use futures_util::future::join_all;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError, PgListener, PgPool, PgPoolOptions};
use sqlx::{Acquire, Connection, Error, Executor, Row, Statement, raw_sql};

const CONTEXT: &str = "current_setting('app.current_org_id', true)";

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// A tenant, with up to six connections in front of four backends.
struct Tenant {
    name: &'static str,
    pool: PgPool,
    options: PgConnectOptions,
    org: String,
}

fn tenant(name: &'static str, url: &str, org: &str) -> Result<Tenant, Box<dyn std::error::Error>> {
    let options = PgConnectOptions::from_str(&std::env::var(url)?)?.application_name("sqlx");
    let pool = PgPoolOptions::new().max_connections(6).connect_lazy_with(options.clone());
    Ok(Tenant { name, pool, options, org: std::env::var(org)? })
}

async fn one<'e>(on: impl Executor<'e, Database = sqlx::Postgres>, sql: &str) -> Result<String, Error> {
    sqlx::query_scalar(sql).fetch_one(on).await
}

async fn context<'e>(on: impl Executor<'e, Database = sqlx::Postgres>) -> Result<String, Error> {
    one(on, &format!("SELECT {CONTEXT}")).await
}

async fn insert<'e>(on: impl Executor<'e, Database = sqlx::Postgres>, body: String) -> Result<String, Error> {
    sqlx::query_scalar("INSERT INTO notes (body) VALUES ($1) RETURNING org_id::text")
        .bind(body)
        .fetch_one(on)
        .await
}

async fn bodies(pool: &PgPool, pattern: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT body FROM notes WHERE body ~ $1 ORDER BY id";
    sqlx::query_scalar(sql).bind(pattern).fetch_all(pool).await
}

/// As they are written: a String, a reference to one and a str may be the same.
#[track_caller]
fn equal(got: impl Debug, want: impl Debug, what: &str) {
    let [got, want] = [format!("{got:?}"), format!("{want:?}")];
    assert!(got == want, "{what}: expected {want}, got {got}");
}

/// The server's error, which has to have this SQLSTATE.
#[track_caller]
fn fails<T>(result: Result<T, Error>, state: &str, what: &str) -> Box<PgDatabaseError> {
    match result {
        Ok(_) => panic!("{what}: expected {state}, but it went through"),
        Err(Error::Database(error)) => {
            equal(error.code().unwrap_or_default(), state, what);
            error.downcast()
        }
        Err(error) => panic!("{what}: expected {state}, got {error}"),
    }
}

async fn connects(tenants: &[Tenant]) -> Outcome {
    for tenant in tenants {
        let mut connection = PgConnection::connect_with(&tenant.options).await?;
        connection.ping().await?;
        equal(context(&mut connection).await?, &tenant.org, "context");
        equal(one(&mut connection, "SHOW application_name").await?, "sqlx", "application name");
        // It asks for float digits and the time zone at the start.
        equal(one(&mut connection, "SHOW timezone").await?, "UTC", "a setting of the start");
        connection.close().await?;
    }
    Ok(())
}

async fn reads(tenants: &[Tenant]) -> Outcome {
    for _ in 0..5 {
        for tenant in tenants {
            equal(bodies(&tenant.pool, ": first$").await?, [format!("{}: first", tenant.name)], "rows");
            let orgs = one(&tenant.pool, "SELECT string_agg(DISTINCT org_id::text, ',') FROM notes").await?;
            equal(orgs, &tenant.org, "tenants of the rows");
        }
    }
    Ok(())
}

async fn writes(tenants: &[Tenant]) -> Outcome {
    for Tenant { name, pool, org, .. } in tenants {
        equal(insert(pool, format!("{name}: written")).await?, org, "tenant of the row");
        let changed =
            pool.execute("UPDATE notes SET body = body || ' twice' WHERE body ~ ': written$'").await?;
        equal(changed.rows_affected(), 1, "rows that an UPDATE reaches");
        let deleted = pool.execute("DELETE FROM notes WHERE org_id <> org()").await?;
        equal(deleted.rows_affected(), 0, "rows of others that a DELETE reaches");
    }
    let sql = "INSERT INTO notes (org_id, body) VALUES ($1::uuid, 'acme: astray')";
    let astray = sqlx::query(sql).bind(&tenants[1].org).execute(&tenants[0].pool).await;
    fails(astray, "42501", "a row for another tenant");
    Ok(())
}

async fn transactions(tenants: &[Tenant]) -> Outcome {
    for Tenant { name, pool, org, .. } in tenants {
        let mut transaction = pool.begin().await?;
        insert(&mut *transaction, format!("{name}: rolled back")).await?;
        equal(context(&mut *transaction).await?, org, "context");
        // Dropped: the ROLLBACK goes in front of the next statement of the connection.
        drop(transaction);
        equal(bodies(pool, ": rolled back$").await?, [] as [String; 0], "after ROLLBACK");
        let mut transaction = pool.begin_with("BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY").await?;
        fails(insert(&mut *transaction, "read only".to_owned()).await, "25006", "a write");
        transaction.rollback().await?;
    }
    Ok(())
}

async fn savepoints(tenants: &[Tenant]) -> Outcome {
    for Tenant { name, pool, org, .. } in tenants {
        let mut transaction = pool.begin().await?;
        let mut inner = transaction.begin().await?;
        insert(&mut *inner, format!("{name}: undone")).await?;
        fails(inner.execute("SELECT 1 / 0").await, "22012", "an error");
        fails(inner.execute("SELECT 1").await, "25P02", "and behind it");
        inner.rollback().await?;
        equal(context(&mut *transaction).await?, org, "context behind ROLLBACK TO");
        let mut inner = transaction.begin().await?;
        insert(&mut *inner, format!("{name}: saved")).await?;
        inner.commit().await?;
        transaction.commit().await?;
        equal(bodies(pool, ": (undone|saved)$").await?, [format!("{name}: saved")], "rows");
    }
    Ok(())
}

/// Every statement has a name (sqlx_s_…) and stays in a cache of the connection.
async fn prepared(tenants: &[Tenant]) -> Outcome {
    let work = (0..240).map(|number| async move {
        let Tenant { pool, org, .. } = &tenants[number % 2];
        let sql = format!("SELECT org_id::text, {CONTEXT} FROM notes WHERE id > $1");
        let rows = sqlx::query(&sql).bind(i64::try_from(number % 3)?).fetch_all(pool).await?;
        let seen: BTreeSet<String> = rows.iter().flat_map(|row| [row.get(0), row.get(1)]).collect();
        equal(seen, BTreeSet::from([org.clone()]), "tenants and context");
        Ok::<_, Box<dyn std::error::Error>>(())
    });
    for outcome in join_all(work).await {
        outcome?;
    }
    // The oldest is closed for a new one.
    let options = tenants[0].options.clone().statement_cache_capacity(2);
    let mut connection = PgConnection::connect_with(&options).await?;
    for number in 0..12 {
        let sql = format!("SELECT {CONTEXT} || '{}'", number % 4);
        equal(one(&mut connection, &sql).await?, format!("{}{}", tenants[0].org, number % 4), "context");
    }
    let statement = connection.prepare("SELECT id, org_id, body FROM notes WHERE id = $1").await?;
    equal(statement.columns().len(), 3, "columns described");
    connection.clear_cached_statements().await?;
    Ok(())
}

async fn errors(tenants: &[Tenant]) -> Outcome {
    let pool = &tenants[0].pool;
    let error = fails(pool.execute("SELECT 'ü', nothing").await, "42703", "no column");
    equal(format!("{:?}", error.position()), "Some(Original(13))", "position");
    let error = fails(
        pool.execute("INSERT INTO notes (id, body) VALUES (1, 'acme: twice')").await,
        "23505",
        "a key twice",
    );
    equal((error.table(), error.constraint()), (Some("notes"), Some("notes_pkey")), "table and constraint");
    Ok(())
}

async fn batches(tenants: &[Tenant]) -> Outcome {
    for Tenant { name, pool, org, .. } in tenants {
        let all: Vec<String> = (0..1000).map(|number| format!("{name}: batch {number}")).collect();
        let sql = "INSERT INTO notes (body) SELECT * FROM unnest($1::text[]) RETURNING org_id::text";
        let orgs: Vec<String> = sqlx::query_scalar(sql).bind(&all).fetch_all(pool).await?;
        equal((orgs.len(), BTreeSet::from_iter(&orgs)), (1000, BTreeSet::from([org])), "rows and tenants");
        let string = format!("DELETE FROM notes WHERE body ~ ': batch 9'; SELECT {CONTEXT}; SELECT 1 / 0");
        fails(raw_sql(&string).execute(pool).await, "22012", "an error in a batch");
        equal(bodies(pool, ": batch 9").await?.len(), 111, "rows afterwards");
    }
    Ok(())
}

async fn copy(tenants: &[Tenant]) -> Outcome {
    for Tenant { name, pool, .. } in tenants {
        let mut transaction = pool.begin().await?;
        let mut copy = transaction.copy_in_raw("COPY inbox (body) FROM STDIN").await?;
        copy.send(
            (0..1000).map(|number| format!("{name}: copied {number}\n")).collect::<String>().as_bytes(),
        )
        .await?;
        equal(copy.finish().await?, 1000, "rows in");
        equal(one(&mut *transaction, "SELECT take_in()::text").await?, "1000", "rows taken in");
        transaction.commit().await?;
        let mut broken = pool.acquire().await?;
        let copy = broken.copy_in_raw("COPY inbox (body) FROM STDIN").await?;
        copy.abort("enough").await?;
        equal(
            one(&mut *broken, "SELECT count(*)::text FROM inbox").await?,
            "0",
            "rows of a COPY that failed",
        );
    }
    Ok(())
}

async fn notifications(tenants: &[Tenant]) -> Outcome {
    let mut listener = PgListener::connect_with(&tenants[0].pool).await?;
    listener.listen("news").await?;
    tenants[1].pool.execute("NOTIFY news, 'hello'").await?;
    let got = tokio::time::timeout(Duration::from_secs(30), listener.recv()).await??;
    equal((got.channel(), got.payload()), ("news", "hello"), "notification");
    Ok(())
}

async fn cancel(tenants: &[Tenant]) -> Outcome {
    let Tenant { pool, org, .. } = &tenants[0];
    let mut transaction = pool.begin().await?;
    transaction.execute("SET LOCAL statement_timeout = '20ms'").await?;
    fails(transaction.execute("SELECT pg_sleep(60)").await, "57014", "a timeout");
    transaction.rollback().await?;
    // A future that is dropped, unless it was quicker: its connection reads the rest of the answer when it is used again.
    let mut connection = PgConnection::connect_with(&tenants[0].options).await?;
    let short = Duration::from_millis(20);
    let _ = tokio::time::timeout(short, connection.execute("SELECT pg_sleep(0.2)")).await;
    equal(context(&mut connection).await?, org, "context afterwards");
    Ok(())
}

/// Migrations, which take an advisory lock; a pool that asks whether a connection lives.
async fn habits(tenants: &[Tenant]) -> Outcome {
    let sql =
        "CREATE TABLE sqlx_labels (id serial PRIMARY KEY, name text); CREATE INDEX ON sqlx_labels (name)";
    let migration = Migration::new(1, "labels".into(), MigrationType::Simple, sql.into(), false);
    let migrator = Migrator { migrations: vec![migration].into(), ..Migrator::DEFAULT };
    for tenant in tenants {
        migrator.run(&tenant.pool).await?;
        equal(one(&tenant.pool, "SELECT count(*)::text FROM sqlx_labels").await?, "0", "rows of a new table");
    }
    for tenant in tenants {
        let options = tenant.options.clone().options([("timezone", "Asia/Tokyo"), ("lock_timeout", "5s")]);
        let pool =
            PgPoolOptions::new().max_connections(6).test_before_acquire(true).connect_with(options).await?;
        for _ in 0..20 {
            equal(one(&pool, "SHOW lock_timeout").await?, "5s", "a setting of the start");
            equal(context(&pool).await?, &tenant.org, "context");
        }
        pool.close().await;
    }
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let tenants = [
        tenant("acme", "DATABASE_URL", "EXPECT_TENANT_VALUE")?,
        tenant("globex", "OTHER_URL", "OTHER_EXPECT_TENANT_VALUE")?,
    ];
    let wanted = std::env::args().nth(1);
    let mut passed = 0;
    macro_rules! run {
        ($($scenario:ident),*) => { $(
            if wanted.as_ref().is_none_or(|name| name == stringify!($scenario)) {
                // A check that does not hold panics and ends the program: it says where.
                match $scenario(&tenants).await {
                    Ok(()) => { passed += 1; println!("ok {}", stringify!($scenario)); }
                    Err(error) => { println!("FAILED {}: {error}\n{passed} passed, 1 failed", stringify!($scenario)); std::process::exit(1); }
                }
            }
        )* };
    }
    if wanted.as_deref() == Some("migrates") {
        use migrations::migrates;
        run!(migrates);
    }
    run!(
        connects,
        reads,
        writes,
        transactions,
        savepoints,
        prepared,
        errors,
        batches,
        copy,
        notifications,
        cancel,
        habits
    );
    println!("{passed} passed, 0 failed");
    Ok(())
}
