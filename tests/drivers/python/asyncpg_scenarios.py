"""Scenarios for asyncpg. How to run them, and what the environment means: scenario.py."""

import asyncio
import contextlib
import datetime
import decimal
import hashlib
import io
import json
import uuid

import asyncpg
from asyncpg import exceptions

from scenario import (CONTEXT, DATABASE_URL, DIRECT_URL, EXPECT, OTHER_EXPECT, OTHER_URL, SESSION_POOLING, Skip, equal,
                      in_context, new_table, raises, run, scenario, true)

LARGE = 20 * 1024 * 1024
TEXT = "Grüße, 世界 🐘 'quoted' \"double\" back\\slash $1 %s\ttab\nline"

# (type, value, how the server writes it; None: not compared)
VALUES = [
    ("bool", True, "true"),
    ("int2", -32768, "-32768"),
    ("int4", 2147483647, "2147483647"),
    ("int8", -9223372036854775808, "-9223372036854775808"),
    ("float8", 0.1, "0.1"),
    ("numeric", decimal.Decimal("12345678901234567890.0123456789"), "12345678901234567890.0123456789"),
    ("numeric", decimal.Decimal("-0.00000000000000000001"), "-0.00000000000000000001"),
    ("text", TEXT, TEXT),
    ("text", "", ""),
    ("bytea", bytes(range(256)), "\\x" + bytes(range(256)).hex()),
    ("jsonb", '{"a": [1, null, "ü"], "b": {"c": 1.5}}', '{"a": [1, null, "ü"], "b": {"c": 1.5}}'),
    ("int4[]", [1, None, 3], "{1,NULL,3}"),
    ("text[]", ["a,b", 'c"d', None, ""], '{"a,b","c\\"d",NULL,""}'),
    ("date", datetime.date(2024, 2, 29), "2024-02-29"),
    ("timestamptz", datetime.datetime(2024, 2, 29, 23, 59, 59, 123456, datetime.timezone.utc),
     "2024-02-29 23:59:59.123456+00"),
    ("interval", datetime.timedelta(days=1, seconds=3661), "1 day 01:01:01"),
    ("uuid", uuid.UUID("a0000000-0000-4000-8000-000000000001"), "a0000000-0000-4000-8000-000000000001"),
    ("int4", None, None),
    ("text", None, None),
]


@contextlib.asynccontextmanager
async def connect(url=DATABASE_URL, **options):
    connection = await asyncpg.connect(url, **options)
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


@contextlib.asynccontextmanager
async def table(connection, columns):
    """A table for one scenario. Rows note by themselves which tenant they were written for."""
    name = new_table()
    await connection.execute(f"CREATE TABLE {name} ({columns}, tenant text DEFAULT {CONTEXT})")
    try:
        yield name
    finally:
        if connection.is_closed():
            async with connect() as fresh:
                await fresh.execute(f"DROP TABLE IF EXISTS {name}")
        else:
            if connection.is_in_transaction():
                await connection.execute("ROLLBACK")
            await connection.execute(f"DROP TABLE IF EXISTS {name}")


def relation(name):
    """Schema and table for asyncpg's COPY functions."""
    schema, table_name = name.split(".")
    return {"schema_name": schema, "table_name": table_name}


async def check_context(connection, what):
    in_context(await connection.fetchval(f"SELECT {CONTEXT}"), what)


async def check_tenants(connection, name, count, what):
    """Checks that a table holds `count` rows, all written for the expected tenant."""
    rows = [tuple(row) for row in await connection.fetch(f"SELECT tenant, count(*) FROM {name} GROUP BY tenant")]
    equal(sum(rows_of for _, rows_of in rows), count, f"{what}: rows")
    if EXPECT is not None and count:
        equal(rows, [(EXPECT, count)], f"{what}: tenants of the rows")


async def ids(connection, name):
    return [row[0] for row in await connection.fetch(f"SELECT id FROM {name} ORDER BY id")]


@scenario
async def connects():
    async with connect() as connection:
        equal(await connection.fetchval("SELECT 1"), 1, "first query")
        await check_context(connection, "first transaction")
        true(not connection.is_in_transaction(), "idle")
    connections = await asyncio.gather(*(asyncpg.connect(DATABASE_URL) for _ in range(8)))
    for connection in connections:
        await check_context(connection, "one of eight, opened at once")
        await connection.close()


@scenario
async def server_parameters():
    names = ["server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization", "DateStyle",
             "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "application_name"]
    async with connect(server_settings={"application_name": "pgw scenario"}) as connection:
        settings = connection.get_settings()
        for name in names:
            equal(getattr(settings, name), await connection.fetchval(f"SHOW {name}"), f"reported {name} against SHOW")
        equal(settings.application_name, "pgw scenario", "application_name")
        number = int(await connection.fetchval("SHOW server_version_num"))
        equal(connection.get_server_version().major, number // 10000, "server version")
        true(connection.get_server_pid() != 0, "backend key data")
        if SESSION_POOLING:
            equal(connection.get_server_pid(), await connection.fetchval("SELECT pg_backend_pid()"), "backend pid")
        await check_context(connection, "after SHOW")


@scenario
async def types_in_prepared_statements():
    async with connect() as connection:
        await connection.execute("SET TIME ZONE 'UTC'")
        for attempt in range(3):
            for type_name, value, text in VALUES:
                query = f"SELECT $1::{type_name} AS value, ($1::{type_name})::text AS text, {CONTEXT} AS context"
                row = await connection.fetchrow(query, value)
                what = f"{type_name}, attempt {attempt}"
                equal(row["value"], value, what)
                true(isinstance(row["value"], type(value)), f"{what} came as {type(row['value'])}")
                equal(row["text"], text, f"{what} as the server writes it")
                in_context(row["context"], what)


@scenario
async def types_by_introspection():
    """Types the driver does not know, which it asks the catalogue for: composite, enum, domain, array of them."""
    async with connect() as connection:
        name = new_table()
        try:
            await connection.execute(f"CREATE TYPE {name}_mood AS ENUM ('fine', 'über'); "
                                     f"CREATE DOMAIN {name}_small AS int CHECK (VALUE < 10); "
                                     f"CREATE TYPE {name}_pair AS (mood {name}_mood, small {name}_small)")
            row = await connection.fetchrow(f"SELECT ROW('über', 3)::{name}_pair AS pair, ARRAY['fine', NULL]::{name}_mood[] "
                                            f"AS moods, $1::{name}_mood AS mood, {CONTEXT} AS context", "fine")
            equal((tuple(row["pair"]), row["moods"], row["mood"]), (("über", 3), ["fine", None], "fine"), "values")
            in_context(row["context"], "with introspected types")
            with raises(exceptions.CheckViolationError, "23514", "domain"):
                await connection.fetchval(f"SELECT $1::int::{name}_small", 10)
        finally:
            await connection.execute(f"DROP TYPE IF EXISTS {name}_pair; DROP DOMAIN IF EXISTS {name}_small; "
                                     f"DROP TYPE IF EXISTS {name}_mood")


@scenario
async def type_codecs():
    async with connect() as connection:
        await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
        value = {"a": [1, None, "ü"], "b": True}
        row = await connection.fetchrow(f"SELECT $1::jsonb, {CONTEXT}", value)
        equal(row[0], value, "json through a codec in text format")
        in_context(row[1], "with a codec")


@scenario
async def simple_queries():
    async with connect() as connection, table(connection, "id int") as name:
        equal(await connection.execute(f"INSERT INTO {name} SELECT generate_series(1, 10)"), "INSERT 0 10", "tag")
        equal(await connection.execute(f"UPDATE {name} SET id = id + 1 WHERE id > 5"), "UPDATE 5", "tag")
        equal(await connection.execute(f"SELECT * FROM {name}"), "SELECT 10", "tag")
        equal(await connection.fetch(""), [], "empty query")
        await check_tenants(connection, name, 10, "simple INSERT")


@scenario
async def prepared_across_transactions():
    async with connect() as connection:
        statement = await connection.prepare(f"SELECT $1::int + 1, {CONTEXT}")
        equal([parameter.name for parameter in statement.get_parameters()], ["int4"], "parameter types")
        equal([column.type.name for column in statement.get_attributes()], ["int4", "text"], "column types")
        for n in range(50):
            if n % 2:
                async with connection.transaction():
                    row = await statement.fetchrow(n)
            else:
                row = await statement.fetchrow(n)
            equal(row[0], n + 1, f"transaction {n}")
            in_context(row[1], f"transaction {n}")


@scenario
async def prepared_in_a_pool():
    """More clients than connections, more connections than backends; the pool resets each connection in between."""
    async with asyncpg.create_pool(DATABASE_URL, min_size=8, max_size=8) as pool:
        async def client(number):
            for turn in range(10):
                async with pool.acquire() as connection:
                    row = await connection.fetchrow(f"SELECT $1::int, {CONTEXT}", number * 100 + turn)
                    equal(row[0], number * 100 + turn, f"client {number}, turn {turn}")
                    in_context(row[1], f"client {number}, turn {turn}")
                    async with connection.transaction():
                        own = await connection.fetchrow(f"SELECT 'only {number}' || $1::text, {CONTEXT}", "!")
                        equal(own[0], f"only {number}!", "own statement")
                        in_context(own[1], f"client {number}, turn {turn}, in a block")
        await asyncio.gather(*(client(number) for number in range(32)))


@scenario
async def prepared_and_evicted():
    async with connect(statement_cache_size=2) as connection:
        for turn in range(3):
            for n in range(6):
                row = await connection.fetchrow(f"SELECT $1::int + {n}, {CONTEXT}", turn)
                equal(row[0], turn + n, f"statement {n}")
                in_context(row[1], f"statement {n}")
    async with connect(statement_cache_size=0) as connection:
        for turn in range(3):
            row = await connection.fetchrow(f"SELECT $1::int, {CONTEXT}", turn)
            equal(row[0], turn, "without a cache")
            in_context(row[1], "without a cache")


@scenario
async def prepared_and_altered():
    """The driver mends 0A000 by preparing again; the new column must be there."""
    async with connect() as connection, connect() as second, table(connection, "id int") as name:
        await connection.execute(f"INSERT INTO {name} VALUES (1)")
        query = f"SELECT * FROM {name} WHERE id = $1"
        for user in (connection, second):
            equal(len(await user.fetchrow(query, 1)), 2, "columns before")
        await connection.execute(f"ALTER TABLE {name} ADD COLUMN extra int DEFAULT 7")
        for user in (second, connection):
            for attempt in range(3):
                row = await user.fetchrow(query, 1)
                equal(dict(row), {"id": 1, "tenant": row["tenant"], "extra": 7}, f"columns after, attempt {attempt}")
                in_context(row["tenant"], "tenant of the row")


@scenario
async def executemany():
    async with connect() as connection, table(connection, "id int PRIMARY KEY, words text") as name:
        await connection.executemany(f"INSERT INTO {name} (id, words) VALUES ($1, $2)", [(n, f"w{n}") for n in range(5000)])
        equal(await connection.fetchval(f"SELECT count(*) FROM {name} WHERE words = 'w' || id"), 5000, "rows")
        await check_tenants(connection, name, 5000, "executemany")
        with raises(exceptions.UniqueViolationError, "23505", "executemany is one transaction"):
            await connection.executemany(f"INSERT INTO {name} (id) VALUES ($1)", [(5000,), (5001,), (1,), (5002,)])
        await check_tenants(connection, name, 5000, "nothing of the failed one")
        async with connection.transaction():
            await connection.executemany(f"INSERT INTO {name} (id) VALUES ($1)", [(n,) for n in range(6000, 6100)])
            await check_context(connection, "in the block")
        rows = await connection.fetchmany(f"INSERT INTO {name} (id) VALUES ($1) RETURNING id", [(7000,), (7001,)])
        equal([row["id"] for row in rows], [7000, 7001], "fetchmany")
        await check_tenants(connection, name, 5102, "in the end")


@scenario
async def isolation_levels():
    async with connect() as connection, table(connection, "id int") as name:
        for level in ("read_uncommitted", "read_committed", "repeatable_read", "serializable"):
            async with connection.transaction(isolation=level):
                await check_context(connection, level)
                equal(await connection.fetchval("SHOW transaction_isolation"), level.replace("_", " "), "level")
        async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
            await check_context(connection, "serializable, read only, deferrable")
            with raises(exceptions.ReadOnlySQLTransactionError, "25006", "write"):
                async with connection.transaction():
                    await connection.execute(f"INSERT INTO {name} VALUES (1)")
            await check_context(connection, "after the refused write")
        async with connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
            await check_context(connection, "after SET TRANSACTION")
            equal(await connection.fetchval("SHOW transaction_isolation"), "serializable", "SET TRANSACTION")
        await check_tenants(connection, name, 0, "nothing written")


@scenario
async def commit_and_rollback():
    async with connect() as connection, connect() as reader, table(connection, "id int") as name:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"INSERT INTO {name} VALUES (1)")
        equal(await ids(reader, name), [], "not visible before COMMIT")
        await transaction.commit()
        equal(await ids(reader, name), [1], "visible after COMMIT")
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(f"DELETE FROM {name}")
        await check_context(connection, "in the block")
        await transaction.rollback()
        await check_tenants(connection, name, 1, "after ROLLBACK")
        await connection.execute("BEGIN")
        await connection.execute(f"INSERT INTO {name} VALUES (2)")
        await connection.execute("COMMIT AND CHAIN")
        await check_context(connection, "after COMMIT AND CHAIN")
        await connection.execute(f"INSERT INTO {name} VALUES (3)")
        await connection.execute("ROLLBACK")
        equal(await ids(connection, name), [1, 2], "rows")
        await check_tenants(connection, name, 2, "in the end")


@scenario
async def savepoints():
    async with connect() as connection, table(connection, "id int") as name:
        await connection.execute("BEGIN")
        await connection.execute("SAVEPOINT first")
        await check_context(connection, "behind the savepoint")
        await connection.execute("ROLLBACK TO first")
        await check_context(connection, "after ROLLBACK TO")
        await connection.execute(f"INSERT INTO {name} VALUES (1)")
        await connection.execute("SAVEPOINT second")
        await connection.execute(f"INSERT INTO {name} VALUES (2)")
        with raises(exceptions.DivisionByZeroError, "22012", "error behind a savepoint"):
            await connection.fetchval("SELECT $1::int / 0", 1)
        with raises(exceptions.InFailedSQLTransactionError, "25P02", "before ROLLBACK TO"):
            await connection.fetchval("SELECT $1::int", 1)
        await connection.execute("ROLLBACK TO second")
        await connection.execute(f"INSERT INTO {name} VALUES (3)")
        await connection.execute("COMMIT")
        equal(await ids(connection, name), [1, 3], "rows")
        await check_tenants(connection, name, 2, "savepoints")


@scenario
async def nested_transactions():
    async with connect() as connection, table(connection, "id int") as name:
        async with connection.transaction():
            for n in range(3):
                try:
                    async with connection.transaction():
                        await connection.execute(f"INSERT INTO {name} VALUES (10)")
                        await connection.fetchval("SELECT $1::int / 0", 1)
                except exceptions.DivisionByZeroError:
                    pass
                await check_context(connection, f"after inner rollback {n}")
                async with connection.transaction():
                    await connection.execute(f"INSERT INTO {name} VALUES ($1)", n)
        equal(await ids(connection, name), [0, 1, 2], "rows")
        await check_tenants(connection, name, 3, "nested")


@scenario
async def copy_text():
    lines = "1\tGrüße 🐘\n2\t\\N\n3\t\n4\ta\\tb\n"
    async with connect() as connection, table(connection, "id int, words text") as name:
        tag = await connection.copy_to_table(**relation(name), columns=["id", "words"], source=io.BytesIO(lines.encode()))
        equal(tag, "COPY 4", "tag")
        equal([tuple(row) for row in await connection.fetch(f"SELECT id, words FROM {name} ORDER BY id")],
              [(1, "Grüße 🐘"), (2, None), (3, ""), (4, "a\tb")], "rows")
        out = io.BytesIO()
        await connection.copy_from_query(f"SELECT id, words FROM {name} ORDER BY id", output=out)
        equal(out.getvalue().decode(), lines, "COPY OUT gives what COPY IN took")
        out = io.BytesIO()
        await connection.copy_from_query(f"SELECT {CONTEXT}, $1::text", "p", output=out, format="csv")
        if EXPECT is not None:
            equal(out.getvalue(), f"{EXPECT},p\n".encode(), "context in COPY OUT")
        async with connection.transaction():
            await connection.copy_to_table(**relation(name), columns=["id"], source=io.BytesIO(b"5\n6\n"))
        await check_tenants(connection, name, 6, "COPY IN")


@scenario
async def copy_binary():
    records = [(n, TEXT * (n % 7), bytes([n % 256]) * n) for n in range(500)]
    async with connect() as connection, table(connection, "id int, words text, data bytea") as name:
        tag = await connection.copy_records_to_table(**relation(name), columns=["id", "words", "data"], records=records)
        equal(tag, "COPY 500", "tag")
        equal([tuple(row) for row in await connection.fetch(f"SELECT id, words, data FROM {name} ORDER BY id")], records, "rows")
        await check_tenants(connection, name, 500, "binary COPY IN")
        out = io.BytesIO()
        await connection.copy_from_table(**relation(name), columns=["id", "words", "data"], output=out, format="binary")
        await connection.execute(f"TRUNCATE {name}")
        out.seek(0)
        await connection.copy_to_table(**relation(name), columns=["id", "words", "data"], source=out, format="binary")
        equal([tuple(row) for row in await connection.fetch(f"SELECT id, words, data FROM {name} ORDER BY id")], records,
              "out and in again")
        await check_tenants(connection, name, 500, "in again")


@scenario
async def copy_large():
    count = 200_000
    filler = "x" * 100
    async with connect() as connection, table(connection, "id int, filler text") as name:
        async def source():
            for start in range(0, count, 1000):
                yield "".join(f"{n}\t{filler}\n" for n in range(start, start + 1000)).encode()
        await connection.copy_to_table(**relation(name), columns=["id", "filler"], source=source())
        row = await connection.fetchrow(f"SELECT count(*), sum(id), min(filler), max(filler) FROM {name}")
        equal(tuple(row), (count, count * (count - 1) // 2, filler, filler), "what arrived")
        await check_tenants(connection, name, count, "large COPY IN")
        seen = {"bytes": 0, "lines": 0}

        async def sink(data):
            seen["bytes"] += len(data)
            seen["lines"] += data.count(b"\n")
        await connection.copy_from_table(**relation(name), columns=["id", "filler"], output=sink)
        equal(seen, {"bytes": sum(len(str(n)) for n in range(count)) + count * (len(filler) + 2), "lines": count}, "out")


@scenario
async def copy_fails():
    class OwnError(Exception):
        pass

    async with connect() as connection, table(connection, "id int") as name:
        async def bad_row():
            for n in range(100):
                yield b"1\n" * 1000 if n != 50 else b"not a number\n"
        with raises(exceptions.InvalidTextRepresentationError, "22P02", "bad row"):
            await connection.copy_to_table(**relation(name), columns=["id"], source=bad_row())
        await check_tenants(connection, name, 0, "nothing was copied")

        async def gives_up():
            yield b"1\n" * 1000
            raise OwnError
        try:
            await connection.copy_to_table(**relation(name), columns=["id"], source=gives_up())
            true(False, "the client's own error is lost")
        except OwnError:
            pass
        await check_tenants(connection, name, 0, "nothing was copied")
        with raises(exceptions.DivisionByZeroError, "22012", "COPY OUT"):
            await connection.copy_from_query("SELECT 1 / (5000 - n) FROM generate_series(1, 10000) n", output=io.BytesIO())
        await check_context(connection, "after the failed COPY OUT")


async def until_asleep(marker):
    """Waits until the server runs pg_sleep in the statement with this marker."""
    async with connect() as watcher:
        while not await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
                                         "AND query LIKE $1 AND pid <> pg_backend_pid()", f"%{marker}%"):
            pass


async def count_running(marker):
    async with connect() as watcher:
        return await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE state = 'active' "
                                      "AND query LIKE $1 AND pid <> pg_backend_pid()", f"%{marker}%")


@scenario
async def cancel():
    async with connect() as connection, table(connection, "id int") as name:
        marker = name.split(".")[-1]
        for number, work in enumerate((
                lambda text: connection.execute(f"SELECT pg_sleep(60) /* {text} */"),
                lambda text: connection.fetchval(f"SELECT pg_sleep($1) /* {text} */", 60))):
            task = asyncio.ensure_future(work(f"{marker}_{number}"))
            await asyncio.wait_for(until_asleep(f"{marker}_{number}"), 30)
            task.cancel()
            try:
                await task
                true(False, "cancelled task returned")
            except asyncio.CancelledError:
                pass
            await check_context(connection, "after a cancelled query")
            equal(await count_running(f"{marker}_{number}"), 0, "still running at the server")
        # The driver's own timeout is a cancel too; in a block it leaves a failed one.
        await connection.execute("BEGIN")
        await connection.execute(f"INSERT INTO {name} VALUES (1)")
        try:
            await connection.fetchval("SELECT pg_sleep($1)", 60, timeout=0.2)
            true(False, "no timeout")
        except asyncio.TimeoutError:
            pass
        with raises(exceptions.InFailedSQLTransactionError, "25P02", "the block has failed"):
            await connection.execute("SELECT 1")
        await connection.execute("ROLLBACK")
        await check_tenants(connection, name, 0, "rolled back")
        await connection.execute("SET statement_timeout = '50ms'")
        with raises(exceptions.QueryCanceledError, "57014", "statement_timeout"):
            await connection.fetchval("SELECT pg_sleep($1)", 60)
        await connection.execute("RESET statement_timeout")
        await check_context(connection, "in the end")


@scenario
async def large_values():
    words = "ü" + "x" * (LARGE - 2)
    data = bytes(range(256)) * (LARGE // 256)
    async with connect() as connection, table(connection, "words text, data bytea") as name:
        row = await connection.fetchrow(f"INSERT INTO {name} VALUES ($1, $2) RETURNING octet_length(words), md5(words), "
                                        "length(data), md5(data)", words, data)
        equal(tuple(row), (LARGE, hashlib.md5(words.encode()).hexdigest(), LARGE, hashlib.md5(data).hexdigest()),
              "what arrived at the server")
        row = await connection.fetchrow(f"SELECT words, data, {CONTEXT} FROM {name}")
        true(row[0] == words, "text came back different")
        true(row[1] == data, "bytea came back different")
        in_context(row[2], "large row")
        equal(await connection.fetchval("SELECT length('" + "y" * LARGE + "')"), LARGE, "large statement")
        await check_tenants(connection, name, 1, "large")


@scenario
async def errors():
    async with connect() as connection, table(connection, "id int PRIMARY KEY") as name:
        constraint = name.split(".")[-1] + "_pkey"
        await connection.execute(f"INSERT INTO {name} VALUES (1)")
        # (query, SQLSTATE, message, text the position points at)
        cases = [
            ("SELECT 1 FORM x", "42601", 'syntax error at or near "x"', " x"),
            ("SELECT 'ü世🐘', nothing", "42703", 'column "nothing" does not exist', " nothing"),
            ("/* ü */ SELECT * FROM no_such_table", "42P01", 'relation "no_such_table" does not exist', " no_such_table"),
            ("SELECT 1 / 0", "22012", "division by zero", None),
            (f"INSERT INTO {name} VALUES (1)", "23505",
             f'duplicate key value violates unique constraint "{constraint}"', None),
        ]
        direct = await asyncpg.connect(DIRECT_URL) if DIRECT_URL else None
        for way in ("execute", "fetch"):
            for query, sqlstate, message, where in cases:
                with raises(asyncpg.PostgresError, sqlstate, query) as caught:
                    await getattr(connection, way)(query)
                equal(caught[0].message, message, f"message of {query}")
                equal(caught[0].position, str(query.index(where) + 2) if where else None, f"position in {query}")
                await check_context(connection, f"after {query}")
                if direct and name not in query:
                    with raises(asyncpg.PostgresError, sqlstate, f"{query}, direct") as wanted:
                        await getattr(direct, way)(query)
                    equal(caught[0].as_dict(), wanted[0].as_dict(), f"all fields of {query}, against direct")
        if direct:
            await direct.close()
        with raises(exceptions.UniqueViolationError, "23505", "unique violation") as caught:
            await connection.fetch(f"INSERT INTO {name} VALUES ($1)", 1)
        equal((caught[0].constraint_name, caught[0].table_name, caught[0].detail),
              (constraint, name.split(".")[-1], "Key (id)=(1) already exists."), "fields of a unique violation")
        await connection.execute("BEGIN")
        with raises(exceptions.DivisionByZeroError, "22012", "in a block"):
            await connection.fetchval("SELECT 1 / $1::int", 0)
        for way in ("execute", "fetch"):
            with raises(exceptions.InFailedSQLTransactionError, "25P02", "after it"):
                await getattr(connection, way)("SELECT 1")
        equal(await connection.execute("COMMIT"), "ROLLBACK", "COMMIT of a failed block")
        await check_context(connection, "after the failed block")


@scenario
async def notices():
    async with connect() as connection, table(connection, "id int") as name:
        seen = []
        connection.add_log_listener(lambda _, message: seen.append((message.severity, message.message)))
        await connection.execute(f"DO $$ BEGIN RAISE NOTICE 'one %', 'ü'; INSERT INTO {name} VALUES (1); RAISE WARNING 'two'; END $$")
        await connection.fetch(f"DO $$ BEGIN INSERT INTO {name} VALUES (2); RAISE NOTICE 'three'; END $$")
        await check_tenants(connection, name, 2, "DO")
        for _ in range(3):
            await check_context(connection, "quiet")
        await asyncio.sleep(0)  # listeners are called from the loop
        equal(seen, [("NOTICE", "one ü"), ("WARNING", "two"), ("NOTICE", "three")], "notices, and none of somebody else's")


@scenario
async def discard_and_deallocate():
    async with connect() as connection:
        for reset in ("DEALLOCATE ALL", "DISCARD ALL"):
            for turn in range(3):
                what = f"{reset}, turn {turn}"
                statement = await connection.prepare(f"SELECT $1::int, {CONTEXT} /* {what} */")
                row = await statement.fetchrow(turn)
                equal(row[0], turn, what)
                in_context(row[1], what)
                equal(await connection.execute(reset), reset, f"{what}: tag")
                with raises(exceptions.InvalidSQLStatementNameError, "26000", f"{what}: the statement is gone"):
                    await statement.fetchrow(turn)
                await connection.reload_schema_state()  # makes the driver forget its statements
                await check_context(connection, what)
        await connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        await connection.reset()  # what a pool does
        true(await connection.fetchval("SHOW TimeZone") != "Asia/Tokyo", "time zone after the driver's reset")
        await check_context(connection, "after the driver's reset")


@scenario
async def several_statements_in_one_query():
    async with connect() as connection, table(connection, "id int") as name:
        tag = await connection.execute(f"SELECT 1; BEGIN; INSERT INTO {name} VALUES (1); COMMIT; INSERT INTO {name} VALUES (2); "
                                       f"BEGIN; INSERT INTO {name} VALUES (3); ROLLBACK; UPDATE {name} SET id = id + 10")
        # The second BEGIN makes one block of itself and the INSERT in front of it: both are rolled back.
        equal(tag, "UPDATE 1", "tag of the last")
        await check_tenants(connection, name, 1, "after the string")
        with raises(exceptions.DivisionByZeroError, "22012", "in the middle"):
            await connection.execute(f"INSERT INTO {name} VALUES (4); SELECT 1 / 0; INSERT INTO {name} VALUES (5)")
        equal(await ids(connection, name), [11], "rows")
        await connection.execute(f"BEGIN; SAVEPOINT s; INSERT INTO {name} VALUES (6); ROLLBACK TO s; INSERT INTO {name} VALUES (7)")
        true(connection.is_in_transaction(), "the block stays open")
        await check_context(connection, "in the open block")
        await connection.execute("COMMIT")
        equal(await ids(connection, name), [7, 11], "rows in the end")
        await check_tenants(connection, name, 2, "in the end")


@scenario
async def server_side_cursors():
    async with connect() as connection:
        async with connection.transaction():
            seen = []
            async for row in connection.cursor(f"SELECT n, {CONTEXT} FROM generate_series(1, $1::int) n", 1000, prefetch=50):
                seen.append(row[0])
                if row[0] % 100 == 0:
                    in_context(row[1], f"row {row[0]}")
            equal(seen, list(range(1, 1001)), "rows")
            cursor = await connection.cursor("SELECT generate_series(1, 100)")
            equal([row[0] for row in await cursor.fetch(10)], list(range(1, 11)), "first portal part")
            # A suspended portal survives other statements in between.
            await check_context(connection, "between two parts")
            equal(await cursor.forward(10), 10, "forward")
            equal([row[0] for row in await cursor.fetch(100)], list(range(21, 101)), "the rest")
        with raises(exceptions.NoActiveSQLTransactionError, "25P01", "DECLARE outside a block"):
            await connection.execute("DECLARE c CURSOR FOR SELECT 1")


@scenario
async def parameter_changes():
    moment = "SELECT '2024-07-01 12:00+00'::timestamptz::text"
    async with connect() as tokyo, connect() as utc, connect() as latin:
        await tokyo.execute("SET TIME ZONE 'Asia/Tokyo'")
        await utc.execute("SET TIME ZONE 'UTC'; SET DateStyle = 'German, DMY'")
        await latin.execute("SET client_encoding = 'LATIN1'")
        equal(tokyo.get_settings().TimeZone, "Asia/Tokyo", "reported time zone")
        equal(utc.get_settings().DateStyle, "German, DMY", "reported date style")
        equal(latin.get_settings().client_encoding, "LATIN1", "reported encoding")
        for turn in range(5):
            equal(await tokyo.fetchval(moment), "2024-07-01 21:00:00+09", f"Tokyo, turn {turn}")
            equal(await utc.fetchval(moment), "01.07.2024 12:00:00 UTC", f"UTC and German, turn {turn}")
            equal(await latin.fetchrow("SELECT $1::text AS words, octet_length($1) AS octets", "Grüße"), ("Grüße", 7),
                  f"LATIN1, turn {turn}")
            for connection in (tokyo, utc, latin):
                await check_context(connection, f"turn {turn}")
        with raises(exceptions.UntranslatableCharacterError, "22P05", "no such character in LATIN1"):
            await latin.fetchval("SELECT chr(128024)")
        await check_context(latin, "after an encoding error")
        async with tokyo.transaction():
            await tokyo.execute("SET LOCAL TIME ZONE 'UTC'")
            equal(await tokyo.fetchval(moment), "2024-07-01 12:00:00+00", "SET LOCAL")
            await check_context(tokyo, "with SET LOCAL")
        equal(await tokyo.fetchval(moment), "2024-07-01 21:00:00+09", "after SET LOCAL")
    async with connect(server_settings={"timezone": "America/New_York", "search_path": "pg_catalog"}) as connection:
        for _ in range(3):
            equal(await connection.fetchval(moment), "2024-07-01 08:00:00-04", "time zone from the startup packet")
            equal(await connection.fetchval("SHOW search_path"), "pg_catalog", "search_path from the startup packet")
            await check_context(connection, "with startup parameters")


@scenario
async def two_tenants_interleaved():
    if not OTHER_URL:
        raise Skip("OTHER_URL is not set")
    async with asyncpg.create_pool(DATABASE_URL, min_size=4, max_size=4) as first, \
            asyncpg.create_pool(OTHER_URL, min_size=4, max_size=4) as second:
        async def client(pool, want, label, number):
            for turn in range(25):
                what = f"{label} tenant, client {number}, turn {turn}"
                async with pool.acquire() as connection:
                    row = await connection.fetchrow(f"SELECT $1::int, {CONTEXT}", turn)
                    equal(row[0], turn, what)
                    in_context(row[1], what, want)
                    transaction = connection.transaction()
                    await transaction.start()
                    for _ in range(2):
                        in_context(await connection.fetchval(f"SELECT {CONTEXT}"), f"{what}, in a block", want)
                    if turn % 3:
                        await transaction.commit()
                    else:
                        await transaction.rollback()
                    if turn % 5 == 0:
                        with raises(exceptions.DivisionByZeroError, "22012", what):
                            await connection.execute("SELECT 1 / 0")
                    await connection.execute(f"SELECT {CONTEXT}::text")
        await asyncio.gather(*(client(pool, want, label, number) for number in range(8)
                               for pool, want, label in ((first, EXPECT, "first"), (second, OTHER_EXPECT, "second"))))


@scenario
async def session_state():
    if not SESSION_POOLING:
        raise Skip("needs POOL_MODE=session")
    async with connect() as connection, connect() as other:
        name = new_table().split(".")[-1]
        await connection.execute(f"CREATE TEMPORARY TABLE {name} AS SELECT 7 AS id")
        equal(await connection.fetchval(f"SELECT id FROM {name}"), 7, "temporary table")
        await connection.execute(f"DROP TABLE {name}")
        heard = asyncio.get_running_loop().create_future()
        await connection.add_listener(name, lambda _connection, _pid, channel, payload: heard.set_result((channel, payload)))
        await other.execute(f"NOTIFY {name}, 'hello'")
        equal(await asyncio.wait_for(heard, 30), (name, "hello"), "notification")
        key = abs(hash(name)) % 2**31
        equal(await connection.fetchval("SELECT pg_try_advisory_lock($1)", key), True, "advisory lock")
        equal(await other.fetchval("SELECT pg_try_advisory_lock($1)", key), False, "held against others")
        async with connection.transaction():
            await connection.execute("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
        equal([row[0] for row in await connection.fetch("FETCH ALL FROM held")], [1, 2, 3], "cursor WITH HOLD")
        await connection.reset()
        equal(await other.fetchval("SELECT pg_try_advisory_lock($1)", key), True, "the driver's reset released the lock")
        await check_context(connection, "in a session")


if __name__ == "__main__":
    run()
