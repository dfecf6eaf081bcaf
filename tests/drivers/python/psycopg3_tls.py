"""psycopg 3 before a server that requires TLS. How to run it, and what the environment means: scenario.py. Besides:

TLS_AUTHORITY         file with the certificate of the authority that signed the server's
TLS_OTHER_AUTHORITY   file with that of another
"""

import os

import psycopg

from scenario import CONTEXT, DATABASE_URL, EXPECT, equal, run, scenario, true

AUTHORITY, OTHER_AUTHORITY = os.environ["TLS_AUTHORITY"], os.environ["TLS_OTHER_AUTHORITY"]


def work(**options):
    """Statements of each kind over one connection, and large ones."""
    with psycopg.connect(DATABASE_URL, autocommit=True, **options) as connection:
        true(connection.pgconn.ssl_in_use, "encrypted")
        for number in range(8):
            row = connection.execute(f"SELECT %s::int, {CONTEXT}", [number]).fetchone()
            equal(row, (number, EXPECT), "number and context")
        text = "x" * 3_000_000
        equal(connection.execute("SELECT %s::text", [text]).fetchone() == (text,), True, "a large value, there and back")


@scenario
def require():
    work(sslmode="require")


@scenario
def verify_full():
    work(sslmode="verify-full", sslrootcert=AUTHORITY)


@scenario
def bound_to_the_channel():
    work(sslmode="verify-full", sslrootcert=AUTHORITY, channel_binding="require")


@scenario
def another_authority():
    try:
        work(sslmode="verify-full", sslrootcert=OTHER_AUTHORITY)
    except psycopg.OperationalError as error:
        true("certificate verify failed" in str(error), str(error))
    else:
        true(False, "the server's certificate was taken")


@scenario
def without_tls():
    try:
        work(sslmode="disable")
    except psycopg.OperationalError as error:
        true("this server requires TLS" in str(error), str(error))
    else:
        true(False, "it was let in")


@scenario
def cancel():
    with psycopg.connect(DATABASE_URL, autocommit=True, sslmode="require") as connection:
        connection.pgconn.send_query(b"SELECT pg_sleep(60)")
        with psycopg.connect(DATABASE_URL, autocommit=True, sslmode="require") as watcher:
            sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            while watcher.execute(sleeping).fetchone() != (1,):
                pass
        connection.cancel_safe()
        result, end = connection.pgconn.get_result(), connection.pgconn.get_result()
        equal(end, None, "what comes behind it")
        equal(result.error_field(psycopg.pq.DiagnosticField.SQLSTATE), b"57014", "SQLSTATE")


run()
