"""Scenarios for psycopg 3. How to run them, and what the environment means: scenario.py."""

import contextlib
import datetime
import decimal
import hashlib
import threading
import time
import uuid

import psycopg
from psycopg import pq
from psycopg.types.json import Jsonb

from scenario import (CONTEXT, DATABASE_URL, DIRECT_URL, EXPECT, OTHER_EXPECT, OTHER_URL, SESSION_POOLING, Skip,
                      equal, in_context, new_table, raises, run, scenario, true)

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
    ("jsonb", {"a": [1, None, "ü"], "b": {"c": 1.5}}, '{"a": [1, null, "ü"], "b": {"c": 1.5}}'),
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


def connect(url=DATABASE_URL, **options):
    return psycopg.connect(url, autocommit=True, **options)


@contextlib.contextmanager
def table(connection, columns):
    """A table for one scenario. Rows note by themselves which tenant they were written for."""
    name = new_table()
    connection.execute(f"CREATE TABLE {name} ({columns}, tenant text DEFAULT {CONTEXT})")
    try:
        yield name
    finally:
        if connection.closed:
            connection = connect()
        elif connection.info.transaction_status != pq.TransactionStatus.IDLE:
            connection.rollback()
        connection.execute(f"DROP TABLE IF EXISTS {name}")


def scalar(connection, query, parameters=None, **options):
    return connection.execute(query, parameters, **options).fetchone()[0]


def check_context(connection, what):
    in_context(scalar(connection, f"SELECT {CONTEXT}"), what)


def check_tenants(connection, name, count, what):
    """Checks that a table holds `count` rows, all written for the expected tenant."""
    rows = connection.execute(f"SELECT tenant, count(*) FROM {name} GROUP BY tenant").fetchall()
    equal(sum(rows_of for _, rows_of in rows), count, f"{what}: rows")
    if EXPECT is not None and count:
        equal(rows, [(EXPECT, count)], f"{what}: tenants of the rows")


def pg(connection):
    return connection.pgconn


@scenario
def connects():
    with connect() as connection:
        equal(scalar(connection, "SELECT 1"), 1, "first query")
        check_context(connection, "first transaction")
        equal(connection.info.transaction_status, pq.TransactionStatus.IDLE, "transaction status")
    true(connection.closed, "closed")
    # Every connection of a pool that is opened in advance.
    connections = [connect() for _ in range(8)]
    for connection in connections:
        check_context(connection, "one of eight")
        connection.close()


@scenario
def server_parameters():
    names = ["server_version", "server_encoding", "client_encoding", "is_superuser", "session_authorization", "DateStyle",
             "IntervalStyle", "TimeZone", "integer_datetimes", "standard_conforming_strings", "application_name"]
    with connect(application_name="pgw scenario") as connection:
        for name in names:
            reported = pg(connection).parameter_status(name.encode())
            true(reported is not None, f"{name} is not reported")
            equal(reported.decode(), scalar(connection, f"SHOW {name}"), f"reported {name} against SHOW")
        equal(scalar(connection, "SHOW application_name"), "pgw scenario", "application_name")
        version = int(scalar(connection, "SHOW server_version_num"))
        equal(connection.info.server_version, version, "server version")
        true(connection.info.backend_pid != 0, "backend key data")
        if SESSION_POOLING:
            equal(connection.info.backend_pid, scalar(connection, "SELECT pg_backend_pid()"), "backend pid")
        if DIRECT_URL:
            with connect(DIRECT_URL) as direct:
                for name in ("server_version", "server_encoding", "integer_datetimes", "standard_conforming_strings"):
                    equal(connection.info.parameter_status(name), direct.info.parameter_status(name), f"{name} as direct")
        check_context(connection, "after SHOW")


def check_values(connection, run_query, what):
    for type_name, value, text in VALUES:
        parameter = Jsonb(value) if type_name == "jsonb" else value
        query = f"SELECT CAST(%s AS {type_name}) AS value, CAST(%s AS {type_name})::text AS text, {CONTEXT} AS context"
        row = run_query(connection, query, (parameter, parameter))
        equal(row[0], value, f"{what}: {type_name}")
        equal(type(row[0]), type(value), f"{what}: type of {type_name}")
        equal(row[1], text, f"{what}: {type_name} as the server writes it")
        in_context(row[2], f"{what}: {type_name}")


@scenario
def types_in_simple_queries():
    def query(connection, text, parameters):
        with psycopg.ClientCursor(connection) as cursor:
            return cursor.execute(text, parameters).fetchone()
    with connect() as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        check_values(connection, query, "simple")


@scenario
def types_in_extended_queries():
    with connect() as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        for binary in (False, True):
            def query(connection, text, parameters):
                return connection.execute(text, parameters, binary=binary, prepare=False).fetchone()
            check_values(connection, query, "binary" if binary else "text")


@scenario
def types_in_prepared_statements():
    with connect() as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        for attempt in range(3):
            def query(connection, text, parameters):
                return connection.execute(text, parameters, prepare=True).fetchone()
            check_values(connection, query, f"attempt {attempt}")


@scenario
def result_shapes():
    with connect() as connection:
        equal(connection.execute("SELECT n, n * n FROM generate_series(1, 1000) AS n").fetchall(),
              [(n, n * n) for n in range(1, 1001)], "1,000 rows")
        equal(connection.execute("SELECT").fetchall(), [()], "a row without columns")
        equal(connection.execute("SELECT 1 WHERE false").fetchall(), [], "no rows")
        many = connection.execute("SELECT " + ", ".join(f"{n} AS c{n}" for n in range(1600)))
        equal(many.fetchone(), tuple(range(1600)), "1,600 columns")
        equal(many.description[1599].name, "c1599", "column name")
        equal(connection.execute("").statusmessage, None, "empty query")
        equal(connection.execute("-- only a comment").statusmessage, None, "comment")
        equal(connection.execute("VALUES (1), (2)").statusmessage, "SELECT 2", "command tag")
        rows = connection.execute(f"SELECT {CONTEXT} FROM generate_series(1, 100)").fetchall()
        for context in {row[0] for row in rows}:
            in_context(context, "every row")


@scenario
def prepared_across_transactions():
    query = f"SELECT %s::int + 1, {CONTEXT}"
    with connect() as connection:
        for n in range(50):
            if n % 3 == 0:
                row = connection.execute(query, (n,), prepare=True).fetchone()
            else:
                with connection.transaction(force_rollback=n % 3 == 2):
                    row = connection.execute(query, (n,), prepare=True).fetchone()
            equal(row[0], n + 1, f"transaction {n}")
            in_context(row[1], f"transaction {n}")


@scenario
def prepared_on_many_connections():
    """More connections than backends, the same statements in all of them, turn by turn."""
    connections = [connect() for _ in range(12)]
    try:
        for turn in range(5):
            for number, connection in enumerate(connections):
                row = connection.execute(f"SELECT %s::int, {CONTEXT}", (number * 100 + turn,), prepare=True).fetchone()
                equal(row[0], number * 100 + turn, f"connection {number}, turn {turn}")
                in_context(row[1], f"connection {number}, turn {turn}")
                # A text of this connection alone, under the same name that the driver gives to others' statements.
                equal(scalar(connection, f"SELECT 'only {number}' || %s::text", ("!",), prepare=True), f"only {number}!",
                      f"own statement of connection {number}")
        # The same in threads, all at once.
        failures = []
        barrier = threading.Barrier(len(connections))

        def work(number, connection):
            try:
                barrier.wait()
                for turn in range(30):
                    with connection.transaction():
                        row = connection.execute(f"SELECT %s::int, {CONTEXT}", (number * 100 + turn,), prepare=True).fetchone()
                        equal(row[0], number * 100 + turn, f"thread {number}, turn {turn}")
                        in_context(row[1], f"thread {number}, turn {turn}")
            except Exception as error:
                failures.append(error)
        threads = [threading.Thread(target=work, args=pair) for pair in enumerate(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
    finally:
        for connection in connections:
            connection.close()


@scenario
def prepared_and_evicted():
    with connect() as connection:
        connection.prepared_max = 2
        for turn in range(3):
            for n in range(6):
                row = connection.execute(f"SELECT %s::int + {n}, {CONTEXT}", (turn,), prepare=True).fetchone()
                equal(row[0], turn + n, f"statement {n}")
                in_context(row[1], f"statement {n}")


@scenario
def prepared_by_name():
    """Statements as libpq sees them: named, described, closed, unnamed."""
    with connect() as connection:
        libpq = pg(connection)
        result = libpq.prepare(b"one", b"SELECT $1::int4 AS number, $2::text AS words")
        equal(result.status, pq.ExecStatus.COMMAND_OK, "prepare")
        described = libpq.describe_prepared(b"one")
        equal([described.param_type(0), described.param_type(1)], [23, 25], "parameter types")
        equal([described.fname(0), described.fname(1)], [b"number", b"words"], "column names")
        for n in range(3):
            result = libpq.exec_prepared(b"one", [str(n).encode(), b"w"])
            equal((result.get_value(0, 0), result.get_value(0, 1)), (str(n).encode(), b"w"), "execute")
        again = libpq.prepare(b"one", b"SELECT 2")
        equal(again.error_field(pq.DiagnosticField.SQLSTATE), b"42P05", "the name is taken")
        missing = libpq.exec_prepared(b"two", [])
        equal(missing.error_field(pq.DiagnosticField.SQLSTATE), b"26000", "no such statement")
        equal(missing.error_field(pq.DiagnosticField.MESSAGE_PRIMARY), b'prepared statement "two" does not exist',
              "message names the client's own name")
        for n in range(3):
            libpq.prepare(b"", b"SELECT $1::int4 * 2")
            equal(libpq.exec_prepared(b"", [str(n).encode()]).get_value(0, 0), str(n * 2).encode(), "unnamed")
        check_context(connection, "after prepared statements")


@scenario
def prepared_and_altered():
    """After DDL a prepared statement either works or fails with 0A000; a fresh one always works, with the new column."""
    with connect() as connection, connect() as second, table(connection, "id int") as name:
        connection.execute(f"INSERT INTO {name} VALUES (1)")
        query = f"SELECT * FROM {name} WHERE id = %s"
        for user in (connection, second):
            equal(len(user.execute(query, (1,), prepare=True).fetchone()), 2, "columns before")
        connection.execute(f"ALTER TABLE {name} ADD COLUMN extra int DEFAULT 7")
        for user in (second, connection):
            for attempt in range(3):
                try:
                    row = user.execute(query, (1,), prepare=True).fetchone()
                    equal((row[0], row[2]), (1, 7), "columns after")
                except psycopg.errors.FeatureNotSupported as error:
                    equal(error.diag.message_primary, "cached plan must not change result type", "message")
                    user.execute("DEALLOCATE ALL")
                    user._prepared.clear()  # what the driver itself does after ROLLBACK
            equal(len(user.execute(query, (1,), prepare=True).fetchone()), 3, "columns in the end")
        check_tenants(connection, name, 1, "altered table")


@scenario
def pipeline():
    with connect() as connection, table(connection, "id int PRIMARY KEY") as name:
        with connection.pipeline() as pipe:
            cursors = [connection.execute(f"SELECT %s::int, {CONTEXT}", (n,)) for n in range(200)]
            pipe.sync()
            inserts = [connection.execute(f"INSERT INTO {name} VALUES (%s)", (n,)) for n in range(100)]
            connection.execute("BEGIN")
            inside = connection.execute(f"SELECT {CONTEXT}, count(*) FROM {name}")
            connection.execute("COMMIT")
            after = connection.execute(f"SELECT {CONTEXT}")
            for n, cursor in enumerate(cursors):
                row = cursor.fetchone()
                equal(row[0], n, f"reply {n}")
                in_context(row[1], f"reply {n}")
        equal([cursor.rowcount for cursor in inserts], [1] * 100, "inserted")
        row = inside.fetchone()
        in_context(row[0], "in a block")
        equal(row[1], 100, "rows seen in the block")
        in_context(after.fetchone()[0], "after COMMIT in the pipeline")
        check_tenants(connection, name, 100, "pipeline")


@scenario
def pipeline_with_executemany():
    with connect() as connection, table(connection, "id int PRIMARY KEY") as name:
        with connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {name} VALUES (%s) RETURNING id", [(n,) for n in range(500)], returning=True)
            returned = [row[0] for row in iter_results(cursor)]
        equal(returned, list(range(500)), "returned")
        check_tenants(connection, name, 500, "executemany")


def iter_results(cursor):
    while True:
        yield from cursor.fetchall()
        if not cursor.nextset():
            return


@scenario
def pipeline_with_error():
    """An error skips everything up to the next Sync, and nothing behind it."""
    with connect() as connection, table(connection, "id int PRIMARY KEY") as name:
        libpq = pg(connection)
        libpq.nonblocking = 0
        libpq.enter_pipeline_mode()
        batches = [[f"INSERT INTO {name} VALUES (1)"],
                   [f"INSERT INTO {name} VALUES (2)", "SELECT 1 / 0", f"INSERT INTO {name} VALUES (3)", f"SELECT {CONTEXT}"],
                   [f"INSERT INTO {name} VALUES (4)", f"SELECT {CONTEXT}"]]
        for batch in batches:
            for query in batch:
                libpq.send_query_params(query.encode(), [])
            libpq.pipeline_sync()
        libpq.flush()
        outcomes, nothing_in_a_row = [], 0
        while sum(outcome == "sync" for outcome, _ in outcomes) < len(batches) and nothing_in_a_row < 2:
            result = libpq.get_result()
            nothing_in_a_row = 0 if result else nothing_in_a_row + 1
            if result is None:
                continue
            outcomes.append({
                pq.ExecStatus.COMMAND_OK: lambda: ("done", result.command_status),
                pq.ExecStatus.TUPLES_OK: lambda: ("row", result.get_value(0, 0)),
                pq.ExecStatus.FATAL_ERROR: lambda: ("error", result.error_field(pq.DiagnosticField.SQLSTATE)),
                pq.ExecStatus.PIPELINE_ABORTED: lambda: ("skipped", None),
                pq.ExecStatus.PIPELINE_SYNC: lambda: ("sync", None),
            }[result.status]())
        libpq.exit_pipeline_mode()
        libpq.nonblocking = 1
        seen = outcomes[-2] if len(outcomes) > 1 else ("nothing", None)
        equal([outcome if outcome != seen else ("row", "context") for outcome in outcomes],
              [("done", b"INSERT 0 1"), ("sync", None),
               ("done", b"INSERT 0 1"), ("error", b"22012"), ("skipped", None), ("skipped", None), ("sync", None),
               ("done", b"INSERT 0 1"), ("row", "context"), ("sync", None)], "replies")
        in_context(seen[1].decode() if seen[1] else seen[1], "behind the error")
        # The batch that failed was one implicit transaction: its first INSERT went with it.
        equal(connection.execute(f"SELECT id FROM {name} ORDER BY id").fetchall(), [(1,), (4,)], "rows")
        check_tenants(connection, name, 2, "pipeline")


@scenario
def isolation_levels():
    levels = [(psycopg.IsolationLevel.READ_UNCOMMITTED, "read uncommitted"),
              (psycopg.IsolationLevel.READ_COMMITTED, "read committed"),
              (psycopg.IsolationLevel.REPEATABLE_READ, "repeatable read"),
              (psycopg.IsolationLevel.SERIALIZABLE, "serializable")]
    with connect() as connection, table(connection, "id int") as name:
        for level, shown in levels:
            connection.isolation_level = level
            with connection.transaction():
                check_context(connection, shown)
                equal(scalar(connection, "SHOW transaction_isolation"), shown, "BEGIN ISOLATION LEVEL")
        connection.isolation_level = None
        connection.read_only = True
        with raises(psycopg.errors.ReadOnlySqlTransaction, "25006", "write in a read-only transaction"):
            with connection.transaction():
                check_context(connection, "read only")
                connection.execute(f"INSERT INTO {name} VALUES (1)")
        connection.read_only = None
        for start in ("BEGIN", "START TRANSACTION"):
            connection.execute(start)
            connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY, DEFERRABLE")
            equal(scalar(connection, "SHOW transaction_isolation"), "serializable", "SET TRANSACTION as first statement")
            equal(scalar(connection, "SHOW transaction_read_only"), "on", "read only")
            check_context(connection, "after SET TRANSACTION")
            connection.execute("COMMIT")
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
        check_context(connection, "repeatable read")
        with raises(psycopg.errors.ActiveSqlTransaction, "25001", "SET TRANSACTION behind a query"):
            connection.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        connection.execute("ROLLBACK")
        equal(scalar(connection, "SHOW transaction_isolation"), "read committed", "back to the default")


@scenario
def repeatable_read_keeps_its_snapshot():
    with connect() as connection, connect() as writer, table(connection, "id int") as name:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        equal(scalar(connection, f"SELECT count(*) FROM {name}"), 0, "before")
        writer.execute(f"INSERT INTO {name} VALUES (1)")
        equal(scalar(connection, f"SELECT count(*) FROM {name}"), 0, "same snapshot")
        check_context(connection, "in the block")
        connection.execute("COMMIT")
        check_tenants(connection, name, 1, "after")


@scenario
def commit_and_rollback():
    with connect() as connection, connect() as reader, table(connection, "id int") as name:
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO {name} VALUES (1)")
        check_context(connection, "in the block")
        equal(scalar(reader, f"SELECT count(*) FROM {name}"), 0, "not visible before COMMIT")
        equal(connection.execute("COMMIT").statusmessage, "COMMIT", "tag")
        equal(scalar(reader, f"SELECT count(*) FROM {name}"), 1, "visible after COMMIT")
        connection.execute("BEGIN")
        connection.execute(f"DELETE FROM {name}")
        equal(connection.execute("ROLLBACK").statusmessage, "ROLLBACK", "tag")
        check_tenants(connection, name, 1, "after ROLLBACK")
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO {name} VALUES (2)")
        connection.execute("COMMIT AND CHAIN")
        check_context(connection, "after COMMIT AND CHAIN")
        connection.execute(f"INSERT INTO {name} VALUES (3)")
        connection.execute("ROLLBACK AND CHAIN")
        check_context(connection, "after ROLLBACK AND CHAIN")
        connection.execute(f"INSERT INTO {name} VALUES (4)")
        connection.execute("COMMIT")
        equal(connection.execute(f"SELECT id FROM {name} ORDER BY id").fetchall(), [(1,), (2,), (4,)], "rows")
        check_tenants(connection, name, 3, "chained")
    with psycopg.connect(DATABASE_URL) as implicit:  # not autocommit: the driver's own BEGIN
        check_context(implicit, "the driver's own BEGIN")
        equal(implicit.info.transaction_status, pq.TransactionStatus.INTRANS, "transaction status")
        implicit.rollback()
        check_context(implicit, "the next one")


@scenario
def savepoints():
    with connect() as connection, table(connection, "id int") as name:
        # The savepoint is older than the first statement that needs the context.
        connection.execute("BEGIN")
        connection.execute("SAVEPOINT first")
        check_context(connection, "behind the savepoint")
        connection.execute("ROLLBACK TO first")
        check_context(connection, "after ROLLBACK TO")
        connection.execute(f"INSERT INTO {name} VALUES (1)")
        connection.execute("SAVEPOINT second")
        connection.execute(f"INSERT INTO {name} VALUES (2)")
        with raises(psycopg.errors.DivisionByZero, "22012", "error behind a savepoint"):
            connection.execute("SELECT 1 / 0")
        equal(connection.info.transaction_status, pq.TransactionStatus.INERROR, "failed")
        connection.execute("ROLLBACK TO second")
        equal(connection.info.transaction_status, pq.TransactionStatus.INTRANS, "mended")
        check_context(connection, "after an error and ROLLBACK TO")
        connection.execute(f"INSERT INTO {name} VALUES (3)")
        connection.execute("RELEASE second")
        check_context(connection, "after RELEASE")
        connection.execute("ROLLBACK TO first")
        connection.execute(f"INSERT INTO {name} VALUES (4)")
        connection.execute("COMMIT")
        equal(connection.execute(f"SELECT id FROM {name}").fetchall(), [(4,)], "rows")
        check_tenants(connection, name, 1, "savepoints")


@scenario
def nested_transactions():
    with connect() as connection, table(connection, "id int") as name:
        with connection.transaction():
            with connection.transaction():
                check_context(connection, "inner")
                connection.execute(f"INSERT INTO {name} VALUES (1)")
            for n in range(3):
                try:
                    with connection.transaction():
                        connection.execute(f"INSERT INTO {name} VALUES (10)")
                        connection.execute("SELECT 1 / 0")
                except psycopg.errors.DivisionByZero:
                    pass
                check_context(connection, f"after inner rollback {n}")
                connection.execute(f"INSERT INTO {name} VALUES (%s)", (n + 2,), prepare=True)
        equal(connection.execute(f"SELECT id FROM {name} ORDER BY id").fetchall(), [(1,), (2,), (3,), (4,)], "rows")
        check_tenants(connection, name, 4, "nested")


@scenario
def copy_text():
    rows = [(1, TEXT), (2, None), (3, ""), (4, "\\N"), (5, "a\tb\\c\r\n")]
    with connect() as connection, table(connection, "id int, words text") as name:
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY {name} (id, words) FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            equal(cursor.statusmessage, "COPY 5", "tag")
            with cursor.copy(f"COPY (SELECT id, words FROM {name} ORDER BY id) TO STDOUT") as copy:
                copy.set_types(["int4", "text"])
                equal(list(copy.rows()), rows, "rows")
            with cursor.copy(f"COPY (SELECT {CONTEXT} AS context) TO STDOUT (FORMAT csv, HEADER)") as copy:
                out = b"".join(copy)
            true(out.startswith(b"context\n"), f"CSV header: {out!r}")
            if EXPECT is not None:
                equal(out, f"context\n{EXPECT}\n".encode(), "context in COPY OUT")
        check_tenants(connection, name, 5, "COPY IN")
        # The same inside a block.
        with connection.transaction(force_rollback=True):
            with connection.cursor().copy(f"COPY {name} (id) FROM STDIN") as copy:
                copy.write("6\n7\n")
            check_tenants(connection, name, 7, "COPY IN in a block")


@scenario
def copy_binary():
    rows = [(n, TEXT * n, bytes([n]) * n) for n in range(50)]
    with connect() as connection, table(connection, "id int, words text, data bytea") as name:
        with connection.cursor().copy(f"COPY {name} (id, words, data) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "bytea"])
            for row in rows:
                copy.write_row(row)
        with connection.cursor().copy(f"COPY {name} (id, words, data) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int4", "text", "bytea"])
            equal(list(copy.rows()), rows, "rows")
        check_tenants(connection, name, 50, "binary COPY IN")


@scenario
def copy_in_extended_protocol():
    """Parse/Bind/Execute of COPY: the server throws away the Sync that came with it while it waits for data."""
    with connect() as connection, table(connection, "id int") as name:
        libpq = pg(connection)
        libpq.nonblocking = 0
        for turn, (last, failure) in enumerate([(b"3\n", None), (b"x\n", None), (b"3\n", b"enough"), (b"3\n", None)]):
            equal(libpq.exec_params(f"COPY {name} (id) FROM STDIN".encode(), []).status, pq.ExecStatus.COPY_IN, f"turn {turn}")
            libpq.put_copy_data(b"1\n2\n")
            libpq.put_copy_data(last)
            libpq.put_copy_end(failure)
            result = libpq.get_result()
            if turn in (0, 3):
                equal(result.command_status, b"COPY 3", f"turn {turn}")
            else:
                equal(result.error_field(pq.DiagnosticField.SQLSTATE), b"57014" if failure else b"22P02", f"turn {turn}")
            equal(libpq.get_result(), None, f"turn {turn}: nothing more")
            check_context(connection, f"turn {turn}")
        equal(libpq.exec_params(f"COPY (SELECT {CONTEXT}) TO STDOUT".encode(), []).status, pq.ExecStatus.COPY_OUT, "COPY OUT")
        size, line = libpq.get_copy_data(0)
        equal(size, len(line), "length of the line")
        in_context(bytes(line).decode().rstrip("\n"), "COPY OUT")
        equal(libpq.get_copy_data(0)[0], -1, "end of COPY OUT")
        equal(libpq.get_result().command_status, b"COPY 1", "tag of COPY OUT")
        libpq.get_result()
        libpq.nonblocking = 1
        check_tenants(connection, name, 6, "extended COPY IN")


@scenario
def copy_large():
    count = 200_000
    filler = "x" * 100
    with connect() as connection, table(connection, "id int, filler text") as name:
        with connection.cursor() as cursor:
            with cursor.copy(f"COPY {name} (id, filler) FROM STDIN") as copy:
                for start in range(0, count, 1000):
                    copy.write("".join(f"{n}\t{filler}\n" for n in range(start, start + 1000)))
            equal(cursor.rowcount, count, "copied in")
        row = connection.execute(f"SELECT count(*), sum(id), min(filler), max(filler) FROM {name}").fetchone()
        equal(row, (count, count * (count - 1) // 2, filler, filler), "what arrived")
        check_tenants(connection, name, count, "large COPY IN")
        total = lines = 0
        with connection.cursor().copy(f"COPY {name} (id, filler) TO STDOUT") as copy:
            for block in copy:
                total += len(block)
                lines += bytes(block).count(b"\n")
        equal(lines, count, "lines out")
        equal(total, sum(len(str(n)) for n in range(count)) + count * (len(filler) + 2), "bytes out")


@scenario
def copy_fails_at_the_server():
    with connect() as connection, table(connection, "id int") as name:
        with raises(psycopg.errors.InvalidTextRepresentation, "22P02", "bad row") as caught:
            with connection.cursor().copy(f"COPY {name} (id) FROM STDIN") as copy:
                for n in range(20_000):
                    copy.write(f"{n}\n" if n != 10_000 else "not a number\n")
        true("line 10001, column id" in caught[0].diag.context, f"where: {caught[0].diag.context}")
        check_tenants(connection, name, 0, "nothing was copied")
        check_context(connection, "after the failed COPY")
        # Out: fails in the middle, after rows have been sent.
        with raises(psycopg.errors.DivisionByZero, "22012", "COPY OUT"):
            with connection.cursor().copy("COPY (SELECT 1 / (5000 - n) FROM generate_series(1, 10000) n) TO STDOUT") as copy:
                for _ in copy:
                    pass
        check_context(connection, "after the failed COPY OUT")
        with raises(psycopg.errors.UndefinedTable, "42P01", "no such table"):
            with connection.cursor().copy(f"COPY {name}_missing FROM STDIN") as copy:
                copy.write("1\n")
        check_context(connection, "after COPY into nothing")


@scenario
def copy_fails_at_the_client():
    class OwnError(Exception):
        pass
    with connect() as connection, table(connection, "id int") as name:
        try:
            with connection.cursor().copy(f"COPY {name} (id) FROM STDIN") as copy:
                copy.write("1\n" * 10_000)
                raise OwnError
        except OwnError:
            pass
        check_tenants(connection, name, 0, "nothing was copied")
        # And the reader who gives up: the driver cancels the query and reads on to its end.
        try:
            with connection.cursor().copy("COPY (SELECT n FROM generate_series(1, 10000000) n) TO STDOUT") as copy:
                equal(bytes(next(iter(copy))), b"1\n", "first row")
                raise OwnError
        except OwnError:
            pass
        check_context(connection, "after COPY OUT was cut short")


@scenario
def cancel():
    def wait_and_cancel(connection, marker):
        deadline = time.monotonic() + 30
        with connect() as watcher:
            while time.monotonic() < deadline and not scalar(
                    watcher, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' "
                             "AND query LIKE %s AND pid <> pg_backend_pid()", (f"%{marker}%",)):
                pass
        connection.cancel_safe()

    def run_and_cancel(connection, marker, query, parameters=None):
        thread = threading.Thread(target=wait_and_cancel, args=(connection, marker))
        thread.start()
        try:
            with raises(psycopg.errors.QueryCanceled, "57014", query) as caught:
                connection.execute(query, parameters)
        finally:
            thread.join()
        equal(caught[0].diag.message_primary, "canceling statement due to user request", "message")

    with connect() as connection, table(connection, "id int") as name:
        marker = name.split(".")[-1]
        run_and_cancel(connection, f"{marker}_simple", f"SELECT pg_sleep(60) /* {marker}_simple */")
        check_context(connection, "after a cancelled simple query")
        run_and_cancel(connection, f"{marker}_extended", f"SELECT pg_sleep(%s) /* {marker}_extended */", (60,))
        check_context(connection, "after a cancelled extended query")
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO {name} VALUES (1)")
        run_and_cancel(connection, f"{marker}_block", f"SELECT pg_sleep(60) /* {marker}_block */")
        with raises(psycopg.errors.InFailedSqlTransaction, "25P02", "the block has failed"):
            connection.execute("SELECT 1")
        connection.execute("ROLLBACK")
        check_tenants(connection, name, 0, "rolled back")
        connection.execute("SET statement_timeout = '50ms'")
        with raises(psycopg.errors.QueryCanceled, "57014", "timeout") as caught:
            connection.execute("SELECT pg_sleep(60)")
        equal(caught[0].diag.message_primary, "canceling statement due to statement timeout", "message")
        connection.execute("RESET statement_timeout")
        check_context(connection, "after a timeout")


@scenario
def large_values():
    words = "ü" + "x" * (LARGE - 2)
    data = bytes(range(256)) * (LARGE // 256)
    with connect() as connection, table(connection, "words text, data bytea") as name:
        row = connection.execute(f"INSERT INTO {name} VALUES (%s, %b) RETURNING length(words), octet_length(words), md5(words), "
                                 "length(data), md5(data)", (words, data)).fetchone()
        equal(row, (LARGE - 1, LARGE, hashlib.md5(words.encode()).hexdigest(), LARGE, hashlib.md5(data).hexdigest()),
              "what arrived at the server")
        for binary in (False, True):
            row = connection.execute(f"SELECT words, data, {CONTEXT} FROM {name}", binary=binary).fetchone()
            true(row[0] == words, "text came back different")
            true(row[1] == data, "bytea came back different")
            in_context(row[2], "large row")
        # A large statement rather than a large value.
        equal(scalar(connection, "SELECT length('" + "y" * LARGE + "')"), LARGE, "large simple query")
        check_tenants(connection, name, 1, "large")


def fields(error):
    """All that a client can see of an error, and a test can compare."""
    diag = error.diag
    return {name: getattr(diag, name) for name in (
        "severity", "severity_nonlocalized", "sqlstate", "message_primary", "message_detail", "message_hint",
        "statement_position", "internal_position", "internal_query", "context", "schema_name", "table_name", "column_name",
        "datatype_name", "constraint_name", "source_file", "source_line", "source_function")}


@scenario
def errors():
    with connect() as connection, table(connection, "id int PRIMARY KEY") as name:
        constraint = name.split(".")[-1] + "_pkey"
        connection.execute(f"INSERT INTO {name} VALUES (1)")
        # (query, SQLSTATE, message, text the position points at)
        cases = [
            ("SELECT 1 FORM x", "42601", 'syntax error at or near "x"', " x"),
            ("SELECT 'ü世🐘', nothing", "42703", 'column "nothing" does not exist', " nothing"),
            ("/* ü */ SELECT * FROM no_such_table", "42P01", 'relation "no_such_table" does not exist', " no_such_table"),
            ("SELECT no_such_function(1)", "42883", "function no_such_function(integer) does not exist", " no_such_function"),
            ("SELECT 'unterminated", "42601", "unterminated quoted string at or near \"'unterminated\"", " 'unterminated"),
            ("SELECT 1 / 0", "22012", "division by zero", None),
            (f"INSERT INTO {name} VALUES (1)", "23505",
             f'duplicate key value violates unique constraint "{constraint}"', None),
            ("SELECT 'x'::int", "22P02", 'invalid input syntax for type integer: "x"', " 'x'"),
        ]
        direct = connect(DIRECT_URL) if DIRECT_URL else None
        for prepare in (None, True):
            for query, sqlstate, message, where in cases:
                def run_on(target):
                    with raises(psycopg.Error, sqlstate, query) as caught:
                        if prepare:
                            target.execute(query, (), prepare=True)
                        else:
                            target.execute(query)
                    return caught[0]
                error = run_on(connection)
                equal(error.diag.message_primary, message, f"message of {query}")
                position = str(query.index(where) + 2) if where else None
                equal(error.diag.statement_position, position, f"position in {query}")
                equal(connection.info.transaction_status, pq.TransactionStatus.IDLE, "status after an error")
                check_context(connection, f"after {query}")
                if direct and name not in query:
                    equal(fields(error), fields(run_on(direct)), f"all fields of {query}, against direct")
        if direct:
            direct.close()
        error = None
        try:
            connection.execute(f"INSERT INTO {name} VALUES (1)")
        except psycopg.errors.UniqueViolation as caught:
            error = caught
        equal((error.diag.constraint_name, error.diag.table_name, error.diag.message_detail),
              (constraint, name.split(".")[-1], "Key (id)=(1) already exists."), "fields of a unique violation")


@scenario
def error_in_a_block():
    with connect() as connection, table(connection, "id int") as name:
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO {name} VALUES (1)")
        with raises(psycopg.errors.DivisionByZero, "22012", "first error"):
            connection.execute("SELECT 1 / 0")
        for prepare in (None, True):
            with raises(psycopg.errors.InFailedSqlTransaction, "25P02", "after it") as caught:
                connection.execute("SELECT 1", None if prepare is None else (), prepare=prepare)
            equal(caught[0].diag.message_primary,
                  "current transaction is aborted, commands ignored until end of transaction block", "message")
        equal(connection.info.transaction_status, pq.TransactionStatus.INERROR, "status")
        equal(connection.execute("COMMIT").statusmessage, "ROLLBACK", "COMMIT of a failed block")
        check_tenants(connection, name, 0, "rolled back")
        # The first statement of the block is the one that fails.
        for _ in range(3):
            connection.execute("BEGIN")
            with raises(psycopg.errors.UndefinedTable, "42P01", "first statement"):
                connection.execute(f"SELECT * FROM {name}_missing")
            connection.execute("ROLLBACK")
            check_context(connection, "after ROLLBACK")


@scenario
def deferred_constraint_fails_at_commit():
    with connect() as connection, table(connection, "id int UNIQUE DEFERRABLE INITIALLY DEFERRED") as name:
        connection.execute("BEGIN")
        connection.execute(f"INSERT INTO {name} VALUES (1), (1)")
        with raises(psycopg.errors.UniqueViolation, "23505", "COMMIT"):
            connection.execute("COMMIT")
        with raises(psycopg.errors.UniqueViolation, "23505", "autocommit"):
            connection.execute(f"INSERT INTO {name} VALUES (1), (1)")
        check_tenants(connection, name, 0, "nothing committed")
        check_context(connection, "afterwards")


@scenario
def notices():
    with connect() as connection, table(connection, "id int") as name:
        seen = []
        connection.add_notice_handler(lambda diag: seen.append((diag.severity, diag.sqlstate, diag.message_primary)))
        connection.execute(f"DO $$ BEGIN RAISE NOTICE 'one %', 'ü'; RAISE WARNING 'two'; "
                           f"INSERT INTO {name} VALUES (1); RAISE NOTICE 'three'; END $$")
        equal(seen, [("NOTICE", "00000", "one ü"), ("WARNING", "01000", "two"), ("NOTICE", "00000", "three")], "notices")
        check_tenants(connection, name, 1, "DO in autocommit")
        seen.clear()
        with connection.transaction():
            connection.execute(f"DO $$ BEGIN INSERT INTO {name} VALUES (2); END $$")
            connection.execute(f"DROP TABLE IF EXISTS {name}_missing")
        equal([entry[0] for entry in seen], ["NOTICE"], "notice in a block")
        check_tenants(connection, name, 2, "DO in a block")
        seen.clear()
        for query in ("COMMIT", "ROLLBACK"):
            connection.execute(query)
        connection.execute("BEGIN")
        connection.execute("BEGIN")
        connection.execute("ROLLBACK")
        equal([entry[1] for entry in seen], ["25P01", "25P01", "25001"], "warnings about transactions")
        seen.clear()
        for _ in range(3):
            check_context(connection, "quiet")
            connection.execute("SELECT %s::int", (1,), prepare=True)
        equal(seen, [], "no notices of somebody else's")


@scenario
def procedures_that_commit():
    with connect() as connection, table(connection, "id int") as name:
        connection.execute(f"CREATE PROCEDURE {name}_fill() LANGUAGE plpgsql AS $$ BEGIN "
                           f"FOR n IN 1..3 LOOP INSERT INTO {name} VALUES (n); COMMIT; END LOOP; END $$")
        try:
            connection.execute(f"CALL {name}_fill()")
            connection.execute(f"CALL {name}_fill()", (), prepare=True)
            check_tenants(connection, name, 6, "CALL")
            connection.execute(f"DO $$ BEGIN INSERT INTO {name} VALUES (1); COMMIT; INSERT INTO {name} VALUES (2); END $$")
            check_tenants(connection, name, 8, "DO")
        finally:
            connection.execute(f"DROP PROCEDURE {name}_fill()")


@scenario
def outside_a_block():
    """What PostgreSQL refuses to run inside a transaction block runs, and is still refused inside one."""
    with connect() as connection, table(connection, "id int") as name:
        connection.execute(f"VACUUM {name}")
        connection.execute(f"VACUUM (ANALYZE) {name}", (), prepare=True)
        index = name.split(".")[-1] + "_idx"
        connection.execute(f"CREATE INDEX CONCURRENTLY {index} ON {name} (id)")
        equal(scalar(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", (f"{name}_idx",)), True,
              "index built")
        connection.execute(f"DROP INDEX CONCURRENTLY {name}_idx")
        connection.execute("BEGIN")
        with raises(psycopg.errors.ActiveSqlTransaction, "25001", "VACUUM in a block"):
            connection.execute(f"VACUUM {name}")
        connection.execute("ROLLBACK")
        check_context(connection, "afterwards")


@scenario
def discard_and_deallocate():
    with connect() as connection:
        libpq = pg(connection)
        for reset in ("DEALLOCATE ALL", "DISCARD ALL"):
            for turn in range(3):
                what = f"{reset}, turn {turn}"
                equal(libpq.prepare(b"kept", f"SELECT $1::int4, {CONTEXT}".encode()).status, pq.ExecStatus.COMMAND_OK, what)
                result = libpq.exec_prepared(b"kept", [b"5"])
                equal(result.get_value(0, 0), b"5", what)
                if EXPECT is not None:
                    equal(result.get_value(0, 1).decode(), EXPECT, what)
                equal(libpq.exec_(reset.encode()).command_status, reset.encode(), f"{what}: tag")
                gone = libpq.exec_prepared(b"kept", [b"5"])
                equal(gone.error_field(pq.DiagnosticField.SQLSTATE), b"26000", f"{what}: the statement is gone")
                check_context(connection, what)
        # DISCARD ALL resets settings as well.
        initial = scalar(connection, "SHOW TimeZone")
        connection.execute("SET TIME ZONE 'Asia/Tokyo'")
        connection.execute("DISCARD ALL")
        equal(scalar(connection, "SHOW TimeZone"), initial, "time zone after DISCARD ALL")
        connection.execute("BEGIN")
        with raises(psycopg.errors.ActiveSqlTransaction, "25001", "DISCARD ALL in a block"):
            connection.execute("DISCARD ALL")
        connection.execute("ROLLBACK")
        # What other drivers send when a connection goes back to their pool.
        connection.execute("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;")
        check_context(connection, "after a pool's reset query")


@scenario
def several_statements_in_one_query():
    with connect() as connection, table(connection, "id int") as name:
        cursor = connection.execute(
            f"SELECT {CONTEXT}; BEGIN; INSERT INTO {name} VALUES (1); SELECT {CONTEXT}; COMMIT; "
            f"SELECT {CONTEXT}; BEGIN; INSERT INTO {name} VALUES (2); ROLLBACK; SELECT {CONTEXT}, 'a;b'")
        tags, contexts = [], []
        while True:
            tags.append(cursor.statusmessage)
            if cursor.description:
                contexts.append(cursor.fetchone()[0])
            if not cursor.nextset():
                break
        equal(tags, ["SELECT 1", "BEGIN", "INSERT 0 1", "SELECT 1", "COMMIT", "SELECT 1", "BEGIN", "INSERT 0 1", "ROLLBACK",
                     "SELECT 1"], "tags")
        for number, context in enumerate(contexts):
            in_context(context, f"SELECT {number + 1} of the string")
        check_tenants(connection, name, 1, "after the string")
        # One that fails takes the implicit transaction with it, and what follows does not run.
        with raises(psycopg.errors.DivisionByZero, "22012", "in the middle"):
            connection.execute(f"INSERT INTO {name} VALUES (3); SELECT 1 / 0; INSERT INTO {name} VALUES (4)")
        check_tenants(connection, name, 1, "after the failed string")
        connection.execute(f"BEGIN; SAVEPOINT s; INSERT INTO {name} VALUES (5); ROLLBACK TO s; INSERT INTO {name} VALUES (6)")
        equal(connection.info.transaction_status, pq.TransactionStatus.INTRANS, "the block stays open")
        check_context(connection, "in the open block")
        connection.execute(f"COMMIT; INSERT INTO {name} VALUES (7)")
        equal(connection.execute(f"SELECT id FROM {name} ORDER BY id").fetchall(), [(1,), (6,), (7,)], "rows")
        check_tenants(connection, name, 3, "in the end")


@scenario
def server_side_cursors():
    with connect() as connection:
        with connection.transaction():
            with connection.cursor("pgw_cursor") as cursor:
                cursor.execute(f"SELECT n, {CONTEXT} FROM generate_series(1, 1000) n")
                cursor.itersize = 100
                rows = cursor.fetchmany(10)
                check_context(connection, "between two fetches")
                rows += cursor.fetchall()
            equal([row[0] for row in rows], list(range(1, 1001)), "rows")
            for row in (rows[0], rows[500], rows[-1]):
                in_context(row[1], f"row {row[0]}")
            connection.execute("SAVEPOINT s")
            connection.execute(f"DECLARE c SCROLL CURSOR FOR SELECT n, {CONTEXT} FROM generate_series(1, 10) n")
            equal(scalar(connection, "FETCH 1 FROM c"), 1, "FETCH")
            equal(connection.execute("MOVE 3 IN c").statusmessage, "MOVE 3", "MOVE")
            row = connection.execute("FETCH LAST FROM c").fetchone()
            equal(row[0], 10, "FETCH LAST")
            in_context(row[1], "FETCH LAST")
            connection.execute("ROLLBACK TO s")
            with raises(psycopg.errors.InvalidCursorName, "34000", "the cursor went with the savepoint"):
                with connection.transaction():
                    connection.execute("FETCH 1 FROM c")
            check_context(connection, "after it")
        with raises(psycopg.errors.NoActiveSqlTransaction, "25P01", "DECLARE outside a block"):
            connection.execute("DECLARE c CURSOR FOR SELECT 1")


@scenario
def parameter_changes():
    moment = "SELECT '2024-07-01 12:00+00'::timestamptz::text"
    with connect() as tokyo, connect() as utc, connect() as latin:
        tokyo.execute("SET TIME ZONE 'Asia/Tokyo'")
        utc.execute("SET TIME ZONE 'UTC'")
        utc.execute("SET DateStyle = 'German, DMY'")
        latin.execute("SET client_encoding = 'LATIN1'")
        for turn in range(5):
            equal(scalar(tokyo, moment), "2024-07-01 21:00:00+09", f"Tokyo, turn {turn}")
            equal(scalar(utc, moment), "01.07.2024 12:00:00 UTC", f"UTC and German, turn {turn}")
            equal(latin.execute("SELECT 'Grüße'").pgresult.get_value(0, 0), "Grüße".encode("latin-1"), f"LATIN1, turn {turn}")
            for connection in (tokyo, utc, latin):
                check_context(connection, f"turn {turn}")
        equal(tokyo.info.parameter_status("TimeZone"), "Asia/Tokyo", "reported time zone")
        equal(utc.info.parameter_status("DateStyle"), "German, DMY", "reported date style")
        equal(latin.info.parameter_status("client_encoding"), "LATIN1", "reported encoding")
        with raises(psycopg.errors.UntranslatableCharacter, "22P05", "no such character in LATIN1"):
            latin.execute("SELECT chr(128024)")
        check_context(latin, "after an encoding error")
        # SET LOCAL and SET in a block that is rolled back.
        with tokyo.transaction():
            tokyo.execute("SET LOCAL TIME ZONE 'UTC'")
            equal(scalar(tokyo, moment), "2024-07-01 12:00:00+00", "SET LOCAL")
            check_context(tokyo, "with SET LOCAL")
        with tokyo.transaction(force_rollback=True):
            tokyo.execute("SET TIME ZONE 'UTC'")
        equal(scalar(tokyo, moment), "2024-07-01 21:00:00+09", "after the blocks")
        equal(tokyo.info.parameter_status("TimeZone"), "Asia/Tokyo", "reported after the blocks")
        utc.execute("RESET DateStyle")
        equal(utc.info.parameter_status("DateStyle"), scalar(utc, "SHOW DateStyle"), "RESET")
        tokyo.execute("SET application_name = 'renamed'")
        equal((tokyo.info.parameter_status("application_name"), scalar(tokyo, "SHOW application_name")),
              ("renamed", "renamed"), "application_name")
        equal(utc.info.parameter_status("application_name"), scalar(utc, "SHOW application_name"), "the other's own")


@scenario
def two_tenants_interleaved():
    if not OTHER_URL:
        raise Skip("OTHER_URL is not set")
    sides = [(connect(url), want, label) for _ in range(4)
             for url, want, label in ((DATABASE_URL, EXPECT, "first"), (OTHER_URL, OTHER_EXPECT, "second"))]
    owner = sides[0][0]
    policy = f"nullif({CONTEXT}, '')"
    with table(owner, "id int") as name:
        owner.execute(f"ALTER TABLE {name} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; "
                      f"CREATE POLICY own ON {name} USING (tenant = {policy}); GRANT ALL ON {name} TO PUBLIC")
        isolated = EXPECT is not None and OTHER_EXPECT is not None and scalar(owner, "SELECT row_security_active(%s)", (name,))
        for turn in range(20):
            for number, (connection, want, label) in enumerate(sides):
                what = f"{label} tenant, connection {number}, turn {turn}"
                query = f"SELECT %s::int, {CONTEXT}"
                if turn % 4 == 0:
                    row = connection.execute(query.replace("%s", str(turn))).fetchone()
                elif turn % 4 == 1:
                    row = connection.execute(query, (turn,), prepare=False).fetchone()
                else:
                    row = connection.execute(query, (turn,), prepare=True).fetchone()
                equal(row[0], turn, what)
                in_context(row[1], what, want)
                if isolated:
                    connection.execute(f"INSERT INTO {name} VALUES (%s)", (turn,))
                    equal(connection.execute(f"SELECT DISTINCT tenant FROM {name}").fetchall(), [(want,)], f"{what}: rows")
        if isolated:
            for connection, want, label in sides:
                equal(scalar(connection, f"SELECT count(*) FROM {name}"), 80, f"rows of the {label} tenant")
                with raises(psycopg.errors.InsufficientPrivilege, "42501", "row of another tenant"):
                    connection.execute(f"INSERT INTO {name} VALUES (0, 'somebody else')")
        for connection, _, _ in sides[1:]:
            connection.close()
    owner.close()


@scenario
def session_state():
    if not SESSION_POOLING:
        raise Skip("needs POOL_MODE=session")
    with connect() as connection, connect() as other:
        equal(scalar(connection, "SELECT pg_backend_pid()"), scalar(connection, "SELECT pg_backend_pid()"), "one backend")
        name = new_table().split(".")[-1]
        connection.execute(f"CREATE TEMPORARY TABLE {name} AS SELECT 7 AS id")
        equal(scalar(connection, f"SELECT id FROM {name}"), 7, "temporary table")
        connection.execute(f"DROP TABLE {name}")
        connection.execute(f"LISTEN {name}")
        other.execute(f"NOTIFY {name}, 'hello'")
        notice = next(connection.notifies(timeout=30, stop_after=1))
        equal((notice.channel, notice.payload), (name, "hello"), "notification")
        key = abs(hash(name)) % 2**31
        equal(scalar(connection, "SELECT pg_try_advisory_lock(%s)", (key,)), True, "advisory lock")
        equal(scalar(other, "SELECT pg_try_advisory_lock(%s)", (key,)), False, "held against others")
        equal(scalar(connection, "SELECT pg_advisory_unlock(%s)", (key,)), True, "unlocked")
        with connection.transaction():
            connection.execute("DECLARE held CURSOR WITH HOLD FOR SELECT generate_series(1, 3)")
        equal(connection.execute("FETCH ALL FROM held").fetchall(), [(1,), (2,), (3,)], "cursor WITH HOLD")
        connection.execute("CLOSE held")
        connection.execute("PREPARE by_sql (int) AS SELECT $1 + 1")
        equal(scalar(connection, "EXECUTE by_sql (1)"), 2, "PREPARE in SQL")
        connection.execute("DEALLOCATE by_sql")
        check_context(connection, "in a session")


if __name__ == "__main__":
    run()
