"""asyncpg before a server that requires TLS. What the environment means: scenario.py and psycopg3_tls.py."""

import asyncio
import contextlib
import os
import ssl

import asyncpg
from asyncpg import exceptions

from scenario import CONTEXT, DATABASE_URL, EXPECT, equal, raises, run, scenario, true

AUTHORITY, OTHER_AUTHORITY = os.environ["TLS_AUTHORITY"], os.environ["TLS_OTHER_AUTHORITY"]


@contextlib.asynccontextmanager
async def connect(parameters, **options):
    connection = await asyncpg.connect(f"{DATABASE_URL}?{parameters}", **options)
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


async def work(parameters, **options):
    async with connect(parameters, **options) as connection:
        for number in range(8):
            row = await connection.fetchrow(f"SELECT $1::int, {CONTEXT}", number)
            equal(tuple(row), (number, EXPECT), "number and context")
        text = "x" * 3_000_000
        true(await connection.fetchval("SELECT $1::text", text) == text, "a large value, there and back")


@scenario
async def require():
    await work("sslmode=require")


@scenario
async def verify_full():
    await work(f"sslmode=verify-full&sslrootcert={AUTHORITY}")
    await work("", ssl=ssl.create_default_context(cafile=AUTHORITY))


@scenario
async def another_authority():
    try:
        await work(f"sslmode=verify-full&sslrootcert={OTHER_AUTHORITY}")
    except ssl.SSLCertVerificationError:
        return
    true(False, "the server's certificate was taken")


@scenario
async def without_tls():
    with raises(exceptions.InvalidAuthorizationSpecificationError, "28000", "a login in clear text"):
        await work("sslmode=disable")


@scenario
async def cancel():
    async with connect("sslmode=require") as connection, connect("sslmode=require") as watcher:
        sleep = asyncio.create_task(connection.execute("SELECT pg_sleep(60)"))
        while await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") != 1:
            pass
        # What is cancelled here is cancelled there, by a request through TLS.
        sleep.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sleep
        equal(await connection.fetchval(f"SELECT {CONTEXT}"), EXPECT, "context afterwards")


run()
