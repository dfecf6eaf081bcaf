//! tokio-postgres through the proxy: what an application in Rust does, with the context looked at from inside the
//! statements that work.
//!
//! Where it matters, tenants share one backend. What COPY TO sends is left to the other drivers: here it counts that it
//! ran for the tenant, and that the session goes on.

use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use pgwarden_tests::client::{column, explain, sqlstate, try_connect};
use pgwarden_tests::tenants::{ACME, ANN, BOB, GLOBEX, Tenants};
use pgwarden_tests::{Server, connect, for_each_version, until_async};
use tokio::task::JoinSet;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CancelToken, Client, Error, IsolationLevel, NoTls, Row, SimpleQueryMessage, Statement};

const CONTEXT: &str = "SELECT current_setting('app.current_org_id', true)";

/// A client of pgwarden: `acme` or `globex`.
async fn client(stage: &Tenants<'_>, user: &str) -> Client {
    connect(&stage.pgwarden.url(user, "", "postgres")).await
}

/// Runs a test on every version, with a client of each tenant in front of so many backends.
fn each(backends: usize, test: impl AsyncFn(&Tenants<'_>, Client, Client)) {
    for_each_version(async |server| {
        let size = backends.to_string();
        let stage = Tenants::start_with(server, |builder| builder.env("PGWARDEN_POOL_SIZE", &size));
        let (acme, globex) = (client(&stage, "acme").await, client(&stage, "globex").await);
        test(&stage, acme, globex).await;
    });
}

/// A table whose rows note who wrote them.
async fn table(client: &Client, name: &str, columns: &str) {
    let sql = format!("CREATE TABLE {name} ({columns}, org text DEFAULT org(), writer text DEFAULT who())");
    ok(client.batch_execute(&format!("{sql}; GRANT ALL ON {name} TO tenants")).await);
}

#[track_caller]
fn ok<T>(result: Result<T, Error>) -> T {
    match result {
        Ok(value) => value,
        // Not in a closure: the place is that of the caller.
        Err(error) => panic!("{}", explain(&error)),
    }
}

#[track_caller]
fn fails<T>(result: Result<T, Error>, state: &str) -> Error {
    let Err(error) = result else { panic!("expected {state}, but it went through") };
    assert_eq!(sqlstate(&error), state, "{}", explain(&error));
    error
}

/// The only value of the first row, by the extended protocol.
async fn one(client: &Client, sql: &str) -> String {
    ok(client.query_one_scalar::<Option<String>, _>(sql, &[]).await).unwrap_or_default()
}

/// The first column.
fn text(row: &Row) -> &str {
    row.get(0)
}

/// Rows of a table, and the organisations and users that wrote them.
async fn written(client: &Client, table: &str) -> String {
    let writers = "coalesce(string_agg(DISTINCT org || '/' || writer, ','), 'nobody')";
    let sql = format!("SELECT count(*) || ' by ' || {writers} FROM {table}");
    one(client, &sql).await
}

#[test]
fn simple_queries() {
    use SimpleQueryMessage::{CommandComplete as Done, Row, RowDescription};
    each(1, async |_, acme, globex| {
        table(&acme, "simple", "id int").await;
        for _ in 0..20 {
            assert_eq!(ok(column(&acme, CONTEXT).await), [Some(ACME.to_owned())]);
            assert_eq!(ok(column(&globex, CONTEXT).await), [Some(GLOBEX.to_owned())]);
        }
        let sql = format!(
            "{CONTEXT}; INSERT INTO simple VALUES (1), (2); BEGIN; {CONTEXT}; COMMIT; {CONTEXT}; SELECT NULL"
        );
        let own = || Some(ACME.to_owned());
        assert_eq!(ok(column(&acme, &sql).await), [own(), own(), own(), None]);
        let sql = "UPDATE simple SET id = 3; DELETE FROM simple WHERE id = 4; SELECT 1";
        let found = ok(acme.simple_query(sql).await);
        assert!(matches!(found[..], [Done(2), Done(0), RowDescription(_), Row(_), Done(1)]), "{found:?}");
        assert!(matches!(ok(acme.simple_query(" ; ").await)[..], [Done(0)]));
        assert_eq!(written(&globex, "simple").await, format!("2 by {ACME}/{ANN}"));
    });
}

#[test]
fn values_of_many_types() {
    each(1, async |_, acme, _| {
        let words = "Grüße, 世界 🐘 'quoted' \"double\" back\\slash $1 %s\ttab\nline";
        let bytes: Vec<u8> = (0..=255).collect();
        let list = vec![Some(1), None, Some(-3)];
        for _ in 0..3 {
            let sql = "SELECT $1::bool, $2::int2, $3::int4, $4::int8, $5::float8, $6::text, $7::bytea, $8::int4[], \
                       $9::text, org(), who()";
            let values: [&(dyn ToSql + Sync); 9] =
                [&true, &i16::MIN, &i32::MAX, &i64::MIN, &0.1_f64, &words, &bytes, &list, &None::<String>];
            let row = ok(acme.query_one(sql, &values).await);
            assert!(row.get::<_, bool>(0));
            assert_eq!((row.get::<_, i16>(1), row.get::<_, i32>(2)), (i16::MIN, i32::MAX));
            assert_eq!((row.get::<_, i64>(3), row.get::<_, f64>(4)), (i64::MIN, 0.1));
            assert_eq!((row.get::<_, &str>(5), row.get::<_, Vec<u8>>(6)), (words, bytes.clone()));
            assert_eq!(row.get::<_, Vec<Option<i32>>>(7), list);
            assert_eq!(row.get::<_, Option<&str>>(8), None);
            assert_eq!((row.get::<_, &str>(9), row.get::<_, &str>(10)), (ACME, ANN));
        }
        // One batch with the unnamed statement.
        let row = ok(acme.query_typed_one("SELECT $1 + 1, org()", &[(&41_i32, Type::INT4)]).await);
        assert_eq!((row.get::<_, i32>(0), row.get::<_, &str>(1)), (42, ACME));
        // Types that the driver looks up in the catalogue.
        ok(acme.batch_execute("CREATE TYPE mood AS ENUM ('glad', 'sad')").await);
        let statement = ok(acme.prepare("SELECT 'sad'::mood, $1::mood").await);
        assert_eq!((statement.columns()[0].type_().name(), statement.params()[0].name()), ("mood", "mood"));
    });
}

#[test]
fn statements_are_used_in_many_transactions_of_many_clients_on_one_backend() {
    each(1, async |stage, acme, _| {
        table(&acme, "reused", "id int").await;
        let texts = [
            "SELECT org() || '/' || who() || $1",
            "SELECT $1 || org() || '/' || who()",
            "INSERT INTO reused (id) VALUES (length($1)) RETURNING org || '/' || writer",
            "UPDATE reused SET id = id + 1 WHERE org = org() AND $1 = '' RETURNING org || '/' || writer",
        ];
        let mut users = Vec::new();
        for number in 0..6 {
            let (name, expected) =
                if number % 2 == 0 { ("acme", [ACME, ANN]) } else { ("globex", [GLOBEX, BOB]) };
            let client = client(stage, name).await;
            let mut statements = Vec::new();
            for text in texts {
                statements.push(ok(client.prepare_typed(text, &[Type::TEXT]).await));
            }
            users.push((client, statements, expected.join("/")));
        }
        for round in 0..40 {
            for (client, statements, expected) in &users {
                let block = round % 3 == 0;
                ok(client.batch_execute(if block { "BEGIN" } else { "" }).await);
                for statement in statements {
                    let rows = ok(client.query(statement, &[&""]).await);
                    assert!(!rows.is_empty(), "round {round}");
                    assert!(rows.iter().all(|row| text(row) == expected), "round {round}");
                }
                ok(client.batch_execute(if block { "COMMIT" } else { "" }).await);
            }
        }
        let backends = stage.server.psql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'");
        assert_eq!(backends, "1");
        // One client lets go of a statement; those of the others stay.
        let (client, statements, _) = users.remove(0);
        drop(statements);
        assert_eq!(one(&client, CONTEXT).await, ACME);
        let (client, statements, expected) = &users[0];
        let row = ok(client.query_one(&statements[0], &[&""]).await);
        assert_eq!(text(&row), expected);
    });
}

#[test]
fn clients_at_once_on_few_backends() {
    each(3, async |stage, _, _| {
        let mut tasks = JoinSet::new();
        for number in 0..12 {
            let (name, expected) = if number % 2 == 0 { ("acme", ACME) } else { ("globex", GLOBEX) };
            let mut client = client(stage, name).await;
            tasks.spawn(async move {
                let statement = ok(client.prepare("SELECT org(), $1::int").await);
                for round in 0..50_i32 {
                    let row = ok(client.query_one(&statement, &[&round]).await);
                    assert_eq!((text(&row), row.get::<_, i32>(1)), (expected, round));
                    let transaction = ok(client.transaction().await);
                    let row = ok(transaction.query_one(&statement, &[&round]).await);
                    assert_eq!(text(&row), expected);
                    ok(transaction.rollback().await);
                    assert_eq!(ok(column(&client, CONTEXT).await), [Some(expected.to_owned())]);
                }
            });
        }
        tasks.join_all().await;
    });
}

#[test]
fn a_table_altered_under_prepared_statements() {
    each(2, async |_, acme, globex| {
        table(&acme, "altered", "id int").await;
        ok(acme.batch_execute("INSERT INTO altered VALUES (1)").await);
        let sql = "SELECT * FROM altered";
        let own = ok(acme.prepare(sql).await);
        let others = ok(globex.prepare(sql).await);
        for (client, statement) in [(&acme, &own), (&globex, &others)] {
            assert_eq!(ok(client.query_one(statement, &[]).await).len(), 3);
        }
        ok(acme.batch_execute("ALTER TABLE altered ADD COLUMN extra int DEFAULT 7").await);
        // Rows of another shape than the driver was told must not come.
        for (client, statement) in [(&acme, &own), (&globex, &others)] {
            let error = fails(client.query_one(statement, &[]).await, "0A000");
            assert_eq!(explain(&error), "ERROR 0A000 cached plan must not change result type");
            let again = ok(client.prepare(sql).await);
            let row = ok(client.query_one(&again, &[]).await);
            assert_eq!((row.get::<_, &str>("org"), row.get::<_, i32>("extra")), (ACME, 7));
        }
    });
}

/// A query that may fail, sent while others are under way on the same connection.
async fn one_of_many(client: Arc<Client>, divide: Statement, number: i32, expected: &str) {
    let divisor = number / 3 % 10;
    match number % 3 {
        0 if divisor == 0 => drop(fails(client.query(&divide, &[&divisor]).await, "22012")),
        0 => {
            let row = ok(client.query_one(&divide, &[&divisor]).await);
            assert_eq!((text(&row), row.get::<_, i32>(1)), (expected, 10 / divisor));
        }
        1 => assert_eq!(ok(column(&client, CONTEXT).await), [Some(expected.to_owned())]),
        _ => {
            let row = ok(client.query_typed_one("SELECT org(), $1", &[(&number, Type::INT4)]).await);
            assert_eq!((text(&row), row.get::<_, i32>(1)), (expected, number));
        }
    }
}

#[test]
fn pipelines() {
    each(1, async |_, acme, globex| {
        let (acme, globex) = (Arc::new(acme), Arc::new(globex));
        table(&acme, "pipelined", "id int").await;
        let mut tasks = JoinSet::new();
        for (client, expected) in [(&acme, ACME), (&globex, GLOBEX)] {
            let divide = ok(client.prepare("SELECT org(), 10 / $1::int").await);
            for number in 0..300 {
                tasks.spawn(one_of_many(Arc::clone(client), divide.clone(), number, expected));
            }
        }
        tasks.join_all().await;
        // A transaction of which nothing is awaited before all is sent.
        let insert = "INSERT INTO pipelined (id) VALUES ($1) RETURNING org";
        let (begun, first, second, context, committed) = tokio::join!(
            acme.batch_execute("BEGIN"),
            acme.query_typed_one(insert, &[(&1_i32, Type::INT4)]),
            acme.query_typed_one(insert, &[(&2_i32, Type::INT4)]),
            column(&acme, CONTEXT),
            acme.batch_execute("COMMIT"),
        );
        ok(begun.and(committed));
        assert_eq!((text(&ok(first)), text(&ok(second))), (ACME, ACME));
        assert_eq!(ok(context), [Some(ACME.to_owned())]);
        assert_eq!(written(&globex, "pipelined").await, format!("2 by {ACME}/{ANN}"));
        // One that fails halfway.
        let (begun, first, failed, late, ended) = tokio::join!(
            acme.batch_execute("BEGIN"),
            acme.query_typed_one(insert, &[(&3_i32, Type::INT4)]),
            acme.query_typed("SELECT 1 / $1", &[(&0_i32, Type::INT4)]),
            acme.query_typed_one(insert, &[(&4_i32, Type::INT4)]),
            acme.batch_execute("COMMIT"),
        );
        ok(begun.and(ended));
        ok(first);
        fails(failed, "22012");
        fails(late, "25P02");
        assert_eq!(written(&globex, "pipelined").await, format!("2 by {ACME}/{ANN}"));
    });
}

#[test]
fn isolation_levels() {
    each(2, async |stage, mut acme, _| {
        let mut other = client(stage, "acme").await;
        table(&acme, "levels", "id int").await;
        ok(acme.batch_execute("INSERT INTO levels VALUES (1)").await);
        let levels = [
            (IsolationLevel::ReadUncommitted, "read uncommitted"),
            (IsolationLevel::ReadCommitted, "read committed"),
            (IsolationLevel::RepeatableRead, "repeatable read"),
            (IsolationLevel::Serializable, "serializable"),
        ];
        for (level, name) in levels {
            let builder = acme.build_transaction().isolation_level(level).read_only(true).deferrable(true);
            let transaction = ok(builder.start().await);
            let sql = "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only'), \
                       current_setting('transaction_deferrable'), org()";
            let row = ok(transaction.query_one(sql, &[]).await);
            let found: Vec<&str> = (0..4).map(|column| row.get(column)).collect();
            assert_eq!(found, [name, "on", "on", ACME]);
            fails(transaction.batch_execute("INSERT INTO levels VALUES (2)").await, "25006");
            ok(transaction.rollback().await);
            assert_eq!(one(&acme, "SHOW transaction_isolation").await, "read committed");
        }
        for level in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
            let transaction = ok(acme.build_transaction().isolation_level(level).start().await);
            ok(transaction.query("SELECT * FROM levels", &[]).await);
            let concurrent = ok(other.transaction().await);
            ok(concurrent.execute("UPDATE levels SET id = id + 1, org = org()", &[]).await);
            ok(concurrent.commit().await);
            fails(transaction.execute("UPDATE levels SET id = id + 10", &[]).await, "40001");
            ok(transaction.rollback().await);
            assert_eq!(one(&acme, CONTEXT).await, ACME);
        }
        assert_eq!(one(&other, "SELECT id || ' ' || org FROM levels").await, format!("3 {ACME}"));
    });
}

#[test]
fn transactions() {
    each(1, async |_, mut acme, globex| {
        table(&acme, "transacted", "id int PRIMARY KEY").await;
        for number in 0..10_i32 {
            let transaction = ok(acme.transaction().await);
            ok(transaction.execute("INSERT INTO transacted (id) VALUES ($1)", &[&number]).await);
            assert_eq!(one(transaction.client(), CONTEXT).await, ACME);
            match number % 5 {
                0 | 1 => ok(transaction.commit().await),
                2 => ok(transaction.rollback().await),
                // The driver rolls back what is dropped.
                3 => drop(transaction),
                _ => {
                    let insert = "INSERT INTO transacted (id) VALUES (0)";
                    fails(transaction.batch_execute(insert).await, "23505");
                    fails(transaction.query(CONTEXT, &[]).await, "25P02");
                    ok(transaction.commit().await);
                }
            }
            assert_eq!(one(&globex, CONTEXT).await, GLOBEX);
            assert_eq!(one(&acme, CONTEXT).await, ACME);
        }
        assert_eq!(written(&globex, "transacted").await, format!("4 by {ACME}/{ANN}"));
        // COMMIT AND CHAIN, and a constraint that fails at COMMIT.
        ok(acme.batch_execute("BEGIN").await);
        ok(acme.batch_execute("COMMIT AND CHAIN").await);
        assert_eq!(one(&acme, CONTEXT).await, ACME);
        ok(acme.batch_execute("ROLLBACK").await);
        table(&acme, "deferred", "id int UNIQUE DEFERRABLE INITIALLY DEFERRED").await;
        let transaction = ok(acme.transaction().await);
        ok(transaction.batch_execute("INSERT INTO deferred VALUES (1), (1)").await);
        assert_eq!(one(transaction.client(), "SELECT DISTINCT org FROM deferred").await, ACME);
        fails(transaction.commit().await, "23505");
        assert_eq!(one(&acme, CONTEXT).await, ACME);
        assert_eq!(one(&globex, "SELECT count(*)::text FROM deferred").await, "0");
    });
}

#[test]
fn savepoints() {
    each(1, async |_, mut acme, globex| {
        table(&acme, "saved", "id int").await;
        let insert = ok(acme.prepare("INSERT INTO saved (id) VALUES ($1) RETURNING org").await);
        let mut transaction = ok(acme.transaction().await);
        for number in 0..8_i32 {
            let mut outer = ok(transaction.savepoint("\"a name\"").await);
            assert_eq!(text(&ok(outer.query_one(&insert, &[&number]).await)), ACME);
            let inner = ok(outer.transaction().await);
            assert_eq!(ok(inner.query_one(&insert, &[&(number + 100)]).await).get::<_, &str>(0), ACME);
            match number % 4 {
                0 => ok(inner.commit().await),
                1 => ok(inner.rollback().await),
                2 => drop(inner),
                _ => {
                    fails(inner.batch_execute("SELECT 1 / 0").await, "22012");
                    fails(inner.query(CONTEXT, &[]).await, "25P02");
                    ok(inner.rollback().await);
                }
            }
            assert_eq!(one(outer.client(), CONTEXT).await, ACME);
            assert_eq!(ok(outer.query_one(&insert, &[&(number + 200)]).await).get::<_, &str>(0), ACME);
            ok(if number < 4 { outer.commit().await } else { outer.rollback().await });
            assert_eq!(ok(column(transaction.client(), CONTEXT).await), [Some(ACME.to_owned())]);
        }
        ok(transaction.commit().await);
        assert_eq!(written(&globex, "saved").await, format!("9 by {ACME}/{ANN}"));
        let ids = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM saved";
        assert_eq!(one(&globex, ids).await, "0 1 2 3 100 200 201 202 203");
    });
}

/// Sends rows by COPY, and ends it unless told to leave it.
async fn copy_in(client: &Client, table: &str, ids: Range<i32>, finish: bool) -> Result<u64, Error> {
    let sink = client.copy_in(&format!("COPY {table} (id, words) FROM STDIN (FORMAT binary)")).await?;
    let mut writer = pin!(BinaryCopyInWriter::new(sink, &[Type::INT4, Type::TEXT]));
    for id in ids {
        writer.as_mut().write(&[&id, &"Grüße 🐘".repeat(10)]).await?;
    }
    if finish { writer.finish().await } else { Ok(0) }
}

#[test]
fn copy_in_from_the_client() {
    each(1, async |_, mut acme, globex| {
        table(&acme, "copied", "id int PRIMARY KEY, words text").await;
        assert_eq!(ok(copy_in(&acme, "copied", 0..20_000, true).await), 20_000);
        assert_eq!(written(&globex, "copied").await, format!("20000 by {ACME}/{ANN}"));
        // Left alone: the driver lets it fail.
        ok(copy_in(&acme, "copied", 30_000..40_000, false).await);
        assert_eq!(one(&acme, CONTEXT).await, ACME);
        fails(copy_in(&acme, "copied", 19_000..60_000, true).await, "23505");
        assert_eq!(one(&acme, CONTEXT).await, ACME);
        let transaction = ok(acme.transaction().await);
        ok(copy_in(transaction.client(), "copied", 50_000..50_100, true).await);
        assert_eq!(one(transaction.client(), CONTEXT).await, ACME);
        ok(transaction.rollback().await);
        ok(copy_in(&globex, "copied", 50_000..50_005, true).await);
        ok(copy_in(&globex, "copied", 60_000..60_000, true).await);
        let own = "SELECT string_agg(DISTINCT org || md5(words), '') FROM copied WHERE id >= 50000";
        let expected = one(&globex, "SELECT md5(repeat('Grüße 🐘', 10))").await;
        assert_eq!(one(&acme, own).await, format!("{GLOBEX}{expected}"));
        assert_eq!(one(&acme, "SELECT count(*)::text FROM copied").await, "20005");
    });
}

#[test]
fn copy_out_to_the_client() {
    each(1, async |_, mut acme, globex| {
        table(&acme, "sent", "id int").await;
        let insert =
            |rows| format!("COPY (INSERT INTO sent SELECT generate_series(1, {rows}) RETURNING *) TO STDOUT");
        // The driver reads to the end what nobody wants.
        drop(ok(acme.copy_out(&insert(10)).await));
        assert_eq!(written(&acme, "sent").await, format!("10 by {ACME}/{ANN}"));
        drop(ok(globex.copy_out(&insert(50_000)).await));
        assert_eq!(one(&globex, CONTEXT).await, GLOBEX);
        let both = format!("50010 by {ACME}/{ANN},{GLOBEX}/{BOB}");
        assert_eq!(written(&acme, "sent").await, both);
        // An error behind thousands of rows.
        let failing = "COPY (SELECT 1 / (5000 - n), org() FROM generate_series(1, 9000) n) TO STDOUT";
        drop(ok(acme.copy_out(failing).await));
        assert_eq!(one(&acme, CONTEXT).await, ACME);
        let transaction = ok(acme.transaction().await);
        drop(ok(transaction.copy_out(&insert(5)).await));
        assert_eq!(one(transaction.client(), CONTEXT).await, ACME);
        ok(transaction.rollback().await);
        assert_eq!(written(&globex, "sent").await, both);
    });
}

#[test]
fn cancelled_queries() {
    each(1, async |stage, mut acme, globex| {
        let observer = stage.server.connect().await;
        let cancel = async |token: &CancelToken| {
            let sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND usename = 'app'";
            let asleep = async || ok(observer.query_opt(sql, &[]).await);
            until_async("the query sleeps", asleep).await;
            ok(token.cancel_query(NoTls).await);
        };
        let token = acme.cancel_token();
        for sql in ["SELECT pg_sleep(60), org()", "SELECT pg_sleep(60)::text"] {
            let (result, ()) = tokio::join!(acme.query(sql, &[]), cancel(&token));
            fails(result, "57014");
            assert_eq!(one(&acme, CONTEXT).await, ACME);
        }
        let transaction = ok(acme.transaction().await);
        let (result, ()) = tokio::join!(transaction.simple_query("SELECT pg_sleep(60)"), cancel(&token));
        fails(result, "57014");
        fails(transaction.query(CONTEXT, &[]).await, "25P02");
        ok(transaction.rollback().await);
        // Who has no query cannot cancel another's, although both had the same backend.
        let (context, ()) = tokio::join!(one(&globex, "SELECT org() FROM pg_sleep(1)"), cancel(&token));
        assert_eq!(context, GLOBEX);
        assert_eq!(one(&acme, CONTEXT).await, ACME);
    });
}

#[test]
fn large_values() {
    each(1, async |_, acme, globex| {
        table(&acme, "large", "words text").await;
        let words = "0123456789abcdef".repeat((20 << 20) / 16);
        ok(acme.execute("INSERT INTO large VALUES ($1)", &[&words]).await);
        ok(acme.batch_execute(&format!("INSERT INTO large VALUES ('{words}')")).await);
        let row = ok(globex.query_one("SELECT $1::text, org(), length($1)", &[&words]).await);
        assert!(text(&row) == words, "what comes back is something else");
        assert_eq!((row.get::<_, &str>(1), row.get::<_, i32>(2)), (GLOBEX, 20 << 20));
        for row in ok(globex.query("SELECT words, org FROM large", &[]).await) {
            assert!(text(&row) == words, "what comes back is something else");
            assert_eq!(row.get::<_, &str>(1), ACME);
        }
        let simple = ok(column(&acme, "SELECT words FROM large").await);
        assert!(simple.len() == 2 && simple.iter().all(|value| value.as_deref() == Some(&words)), "simple");
        assert_eq!(one(&acme, CONTEXT).await, ACME);
    });
}

/// Everything that an error says; where it arose as well.
fn fields(error: &Error) -> String {
    format!("{:#?}", error.as_db_error().unwrap_or_else(|| panic!("not of the server: {error:?}")))
}

#[test]
fn errors_are_those_of_the_server() {
    each(1, async |stage, proxied, _| {
        let plain = connect(&stage.server.url_for("acme", "", "postgres")).await;
        table(&proxied, "checked", "id int PRIMARY KEY, words text NOT NULL CHECK (words <> '')").await;
        ok(proxied.batch_execute("INSERT INTO checked VALUES (1, 'one')").await);
        let statements = [
            "SELECT 1 FORM x",
            "SELECT 'ü世🐘', nothing",
            "/* ü */ SELECT * FROM no_such_table",
            "SELECT no_such_function(1)",
            "SELECT 'unterminated",
            "SELECT 1 / 0",
            // The context itself, in the message.
            "SELECT org()::int",
            "INSERT INTO checked VALUES (1, 'again')",
            "INSERT INTO checked VALUES (2, NULL)",
            "INSERT INTO checked VALUES (2, '')",
            "DO $$ BEGIN RAISE 'no: %', org() USING ERRCODE = 'PW001', DETAIL = 'd', HINT = 'h', TABLE = 't'; END $$",
            "DO $$ BEGIN PERFORM 1 FORM x; END $$",
        ];
        for sql in statements {
            let expected = plain.query(sql, &[]).await.expect_err(sql);
            let found = proxied.query(sql, &[]).await.expect_err(sql);
            assert_eq!(fields(&found), fields(&expected), "extended: {sql}");
        }
        let strings = [
            "SELECT 1; SELECT 2; SELECT * FORM x",
            "SELECT 1; SELECT nothing",
            "BEGIN; SELECT 1; COMMIT; SELECT 'ü', nothing",
            "BEGIN; SELECT 1 / 0; COMMIT",
            "SELECT 1; SELECT org()::int",
        ];
        for sql in statements.iter().chain(&strings) {
            let expected = plain.simple_query(sql).await.expect_err(sql);
            let found = proxied.simple_query(sql).await.expect_err(sql);
            assert_eq!(fields(&found), fields(&expected), "simple: {sql}");
            for client in [&plain, &proxied] {
                ok(client.batch_execute("ROLLBACK").await);
            }
        }
        assert_eq!(one(&proxied, CONTEXT).await, ACME);
    });
}

/// What the server makes of a password, hashed as `method` says.
fn hashed(server: &Server, method: &str, role: &str, password: &str) -> String {
    server.psql(&format!("SET password_encryption = '{method}'; ALTER ROLE {role} PASSWORD '{password}'"));
    server.psql(&format!("SELECT rolpassword FROM pg_authid WHERE rolname = '{role}'"))
}

/// Logs in with every password, right and wrong, and looks at the context.
async fn log_in(stage: &Tenants<'_>, method: &str, password: &str) {
    let url = |user: &str, password: &str| stage.pgwarden.url(user, password, "postgres");
    for (user, expected) in [("acme", ACME), ("globex", GLOBEX)] {
        for _ in 0..3 {
            let client = ok(try_connect(&url(user, password)).await);
            assert_eq!(one(&client, CONTEXT).await, expected, "{method}");
        }
    }
    if method == "trust" {
        ok(try_connect(&url("acme", "")).await);
        return;
    }
    for (user, password) in [("acme", "wrong"), ("globex", &password.to_uppercase()), ("stranger", password)]
    {
        let error = fails(try_connect(&url(user, password)).await, "28P01");
        let expected = format!("FATAL 28P01 password authentication failed for user \"{user}\"");
        assert_eq!(explain(&error), expected, "{method}");
    }
}

#[test]
fn every_way_to_log_in() {
    for_each_version(async |server| {
        Tenants::load(server);
        let upstream = format!("{}?sslmode=disable", server.url_for("app", "", "postgres"));
        let password = "it's a \"päss\" \\ %41";
        let plain = password.replace('"', "\"\"");
        let simple = "open sesame";
        let [scram, md5] = ["scram-sha-256", "md5"]
            .map(|method| ["acme", "globex"].map(|role| hashed(server, method, role, simple)));
        let files = [
            (password, [plain.clone(), plain], &["trust", "password", "md5", "scram-sha-256"][..]),
            (simple, scram, &["scram-sha-256", "password"][..]),
            (simple, md5, &["md5", "password"][..]),
        ];
        for (password, [acme, globex], methods) in files {
            let users = format!("; people\n\"acme\" \"{acme}\"\n\"globex\" \"{globex}\"\n");
            for method in methods {
                let pgwarden = Tenants::builder(&upstream)
                    .env("PGWARDEN_AUTH", method)
                    .env("PGWARDEN_USERS_FILE", "{dir}/users.txt")
                    .file("users.txt", &users)
                    .start();
                log_in(&Tenants { server, pgwarden }, method, password).await;
            }
        }
    });
}
