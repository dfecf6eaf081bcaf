"""psycopg 2 as two tenants. How to run it, and what the environment means: scenario.py."""

import io
import select
import threading
import time
from contextlib import closing

import psycopg2
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
from psycopg2 import errors

from scenario import CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, Skip, equal, run, scenario, true

TENANTS = [("acme", DATABASE_URL, EXPECT), ("globex", OTHER_URL, OTHER_EXPECT)]


def connect(url=DATABASE_URL, **options):
    return closing(psycopg2.connect(url, **options))


def one(connection, sql, values=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()[0]


def bodies(connection, pattern="%"):
    with connection.cursor() as cursor:
        cursor.execute("SELECT body FROM notes WHERE body LIKE %s ORDER BY id", [pattern])
        return [body for (body,) in cursor]


def fails(sqlstate, exception, action, what):
    try:
        action()
    except exception as error:
        equal(error.pgcode, sqlstate, f"{what}: SQLSTATE")
        return error
    true(False, f"{what}: expected {sqlstate}, but it went through")


@scenario
def connects():
    for name, url, org in TENANTS:
        with connect(url) as connection:
            equal(connection.info.user, name, "user")
            true(connection.server_version >= 140000, "server version")
            equal(connection.get_parameter_status("standard_conforming_strings"), "on", "a reported setting")
            equal(one(connection, f"SELECT {CONTEXT}"), org, "context")


@scenario
def reads():
    with connect() as acme, connect(OTHER_URL) as globex:
        for _ in range(5):
            equal(bodies(acme, "%: _____"), ["acme: first", "acme: third"], "acme's rows")
            equal(bodies(globex, "%: _____"), ["globex: first"], "globex' rows")
        # A named cursor is one of the server: DECLARE, FETCH in portions, CLOSE.
        with acme.cursor("portions") as cursor:
            cursor.itersize = 1
            cursor.execute("SELECT body FROM notes ORDER BY id LIMIT 3")
            equal([body for (body,) in cursor], ["acme: first", "acme: second", "acme: third"], "a cursor")


@scenario
def writes():
    for name, url, _ in TENANTS:
        with connect(url) as connection, connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO notes (body) VALUES (%s) RETURNING org_id::text", [f"{name}: written"])
            equal(cursor.fetchone()[0], dict((a, c) for a, _, c in TENANTS)[name], "tenant of the row")
            cursor.execute("UPDATE notes SET body = body || ' twice' WHERE body LIKE '%: written'")
            equal(cursor.rowcount, 1, "rows that an UPDATE without a tenant reaches")
            cursor.execute("DELETE FROM notes WHERE org_id <> org()")
            equal(cursor.rowcount, 0, "rows of others that a DELETE reaches")
    with connect() as connection, connection.cursor() as cursor:
        insert = lambda: cursor.execute("INSERT INTO notes (org_id, body) VALUES (%s, 'acme: astray')", [OTHER_EXPECT])
        fails("42501", errors.InsufficientPrivilege, insert, "a row for another tenant")


@scenario
def transactions():
    for name, url, org in TENANTS:
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("INSERT INTO notes (body) VALUES (%s)", [f"{name}: rolled back"])
            equal(connection.info.transaction_status, psycopg2.extensions.TRANSACTION_STATUS_INTRANS, "status")
            connection.rollback()
            equal(bodies(connection, "%: rolled back"), [], "after ROLLBACK")
            connection.rollback()
            connection.set_session(isolation_level="SERIALIZABLE", readonly=True)
            equal(one(connection, "SHOW transaction_isolation"), "serializable", "isolation")
            equal(one(connection, f"SELECT {CONTEXT}"), org, "context")
            insert = lambda: cursor.execute("INSERT INTO notes (body) VALUES ('read only')")
            fails("25006", errors.ReadOnlySqlTransaction, insert, "a write in a read-only transaction")
            connection.rollback()
            connection.autocommit = True
            connection.readonly = False
            cursor.execute("INSERT INTO notes (body) VALUES (%s)", [f"{name}: by itself"])
            equal(connection.info.transaction_status, psycopg2.extensions.TRANSACTION_STATUS_IDLE, "status")


@scenario
def savepoints():
    for name, url, org in TENANTS:
        with connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SAVEPOINT one")
            cursor.execute("INSERT INTO notes (body) VALUES (%s)", [f"{name}: undone"])
            fails("22012", errors.DivisionByZero, lambda: cursor.execute("SELECT 1 / 0"), "an error")
            fails("25P02", errors.InFailedSqlTransaction, lambda: cursor.execute("SELECT 1"), "and behind it")
            cursor.execute("ROLLBACK TO one")
            equal(one(connection, f"SELECT {CONTEXT}"), org, "context behind ROLLBACK TO")
            cursor.execute("INSERT INTO notes (body) VALUES (%s); RELEASE one", [f"{name}: saved"])
            connection.commit()
            equal(bodies(connection, "%: undone") + bodies(connection, "%: saved"), [f"{name}: saved"], "rows")


@scenario
def prepared():
    raise Skip("psycopg 2 puts values into the text itself")


@scenario
def errors_():
    with connect() as connection, connection.cursor() as cursor:
        error = fails("42703", errors.UndefinedColumn, lambda: cursor.execute("SELECT 'ü', nothing"), "no column")
        equal(error.diag.statement_position, "13", "position")
        connection.rollback()
        twice = "INSERT INTO notes (id, body) VALUES (1, 'acme: twice')"
        error = fails("23505", errors.UniqueViolation, lambda: cursor.execute(twice), "a key twice")
        equal((error.diag.table_name, error.diag.constraint_name), ("notes", "notes_pkey"), "table and constraint")
        connection.rollback()
        cursor.execute("DO $$ BEGIN RAISE NOTICE 'seen'; END $$")
        equal(connection.notices[-1], "NOTICE:  seen\n", "notices")


errors_.__name__ = "errors"  # the module of that name is psycopg's


@scenario
def batches():
    for name, url, _ in TENANTS:
        with connect(url) as connection, connection, connection.cursor() as cursor:
            rows = [(f"{name}: batch {number}",) for number in range(1000)]
            psycopg2.extras.execute_values(cursor, "INSERT INTO notes (body) VALUES %s", rows, page_size=300)
            psycopg2.extras.execute_batch(cursor, "INSERT INTO notes (body) VALUES (%s)", rows, page_size=300)
            equal(one(connection, "SELECT count(*) FROM notes WHERE body LIKE '%: batch %'"), 2000, "rows")


@scenario
def copy():
    for name, url, _ in TENANTS:
        with connect(url) as connection, connection, connection.cursor() as cursor:
            lines = "".join(f"{name}: copied {number}\n" for number in range(1000))
            cursor.copy_expert("COPY inbox (body) FROM STDIN", io.StringIO(lines))
            equal(one(connection, "SELECT take_in()"), 1000, "rows")
            got = io.StringIO()
            cursor.copy_expert("COPY (SELECT body FROM notes WHERE body LIKE '%: copied %' ORDER BY id) TO STDOUT", got)
            equal(got.getvalue(), lines, "what came back")


@scenario
def notifications():
    with connect() as listener, connect(OTHER_URL) as sender:
        listener.autocommit = sender.autocommit = True
        listener.cursor().execute("LISTEN news")
        sender.cursor().execute("NOTIFY news, 'hello'")
        deadline = time.monotonic() + 30
        while not listener.notifies and time.monotonic() < deadline:
            select.select([listener], [], [], 1)
            listener.poll()
        equal([(note.channel, note.payload) for note in listener.notifies], [("news", "hello")], "notifications")


@scenario
def cancel():
    with connect() as sleeper, connect() as watcher:
        watcher.autocommit = True
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"

        def stop():
            while not one(watcher, sleeping):
                pass
            sleeper.cancel()

        thread = threading.Thread(target=stop)
        thread.start()
        fails("57014", errors.QueryCanceled, lambda: one(sleeper, "SELECT pg_sleep(60)"), "a cancelled query")
        thread.join()
        sleeper.rollback()
        one(sleeper, "SELECT set_config('statement_timeout', '20ms', true)")
        fails("57014", errors.QueryCanceled, lambda: one(sleeper, "SELECT pg_sleep(60)"), "a timeout")
        sleeper.rollback()
        equal(one(sleeper, f"SELECT {CONTEXT}"), EXPECT, "context afterwards")


@scenario
def habits():
    # A pool rolls back and resets what it takes back; more clients than backends, in turn.
    pools = [psycopg2.pool.ThreadedConnectionPool(1, 4, url, application_name="pooled") for _, url, _ in TENANTS]
    for _ in range(3):
        for pool, (name, _, org) in zip(pools, TENANTS):
            taken = [pool.getconn() for _ in range(4)]
            for connection in taken:
                connection.reset()
                connection.set_client_encoding("LATIN1")
                equal(one(connection, f"SELECT {CONTEXT} || %s", ["ü"]), f"{org}ü", "context")
                equal(one(connection, "SHOW application_name"), "pooled", "application name")
                connection.set_client_encoding("UTF8")
                connection.commit()
                pool.putconn(connection)
    for pool in pools:
        pool.closeall()
    with connect(options="-c timezone=Asia/Tokyo") as connection:
        equal(one(connection, "SHOW timezone"), "Asia/Tokyo", "a setting of the start")


run()
