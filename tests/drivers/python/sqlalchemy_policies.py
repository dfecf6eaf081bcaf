"""SQLAlchemy as two tenants, on psycopg 3 and on asyncpg. How to run it, and what the environment means: scenario.py."""

import asyncio
import threading

from sqlalchemy import BigInteger, FetchedValue, Text, bindparam, create_engine, event, func, inspect, insert, select, text, update
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.exc import DBAPIError, IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from scenario import CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, Skip, equal, run, scenario, true


class Base(DeclarativeBase):
    pass


class Note(Base):
    __tablename__ = "notes"
    id = mapped_column(BigInteger, primary_key=True)
    org_id = mapped_column(UUID(as_uuid=False), server_default=FetchedValue())
    body = mapped_column(Text)


def engine_for(url, driver="psycopg", **options):
    make = create_engine if driver == "psycopg" else create_async_engine
    return make(url.replace("postgres:", f"postgresql+{driver}:"), pool_size=6, **options)


# Six connections of each in front of four backends.
TENANTS = [("acme", engine_for(DATABASE_URL), EXPECT), ("globex", engine_for(OTHER_URL), OTHER_EXPECT)]
ACME = TENANTS[0][1]


def fails(sqlstate, exception, action, what):
    try:
        action()
    except exception as error:
        equal(error.orig.sqlstate, sqlstate, f"{what}: SQLSTATE")
        return error.orig
    true(False, f"{what}: expected {sqlstate}, but it went through")


def written(session, pattern):
    return session.scalars(select(Note.body).where(Note.body.like(pattern)).order_by(Note.id)).all()


@scenario
def connects():
    for name, engine, org in TENANTS:
        with engine.connect() as connection:
            true(engine.dialect.server_version_info >= (14,), "server version")
            equal(engine.dialect.default_schema_name, "public", "schema")
            equal(engine.dialect.default_isolation_level, "READ COMMITTED", "isolation")
            equal(connection.scalar(text(f"SELECT {CONTEXT}")), org, f"context of {name}")
    columns = [column["name"] for column in inspect(ACME).get_columns("notes")]
    equal(columns, ["id", "org_id", "body"], "columns that reflection finds")


@scenario
def reads():
    for name, engine, org in TENANTS * 5:
        with Session(engine) as session:
            equal(session.get(Note, 1) is None, name != "acme", "the row of acme by its key")
            equal(written(session, "%: _____")[0], f"{name}: first", "rows")
            equal(set(session.scalars(select(Note.org_id))), {org}, "tenants of the rows")
    with ACME.connect().execution_options(stream_results=True, yield_per=2) as connection:
        got = connection.scalars(select(Note.body).order_by(Note.id).limit(3)).all()
        equal(got, ["acme: first", "acme: second", "acme: third"], "a cursor of the server")


@scenario
def writes():
    for name, engine, org in TENANTS:
        with Session(engine) as session, session.begin():
            note = Note(body=f"{name}: written")
            session.add(note)
            session.flush()
            equal(note.org_id, org, "tenant of the row")
            note.body = f"{name}: written twice"
        with engine.begin() as connection:
            changed = update(Note).where(Note.org_id != org).values(body="nobody's")
            equal(connection.execute(changed).rowcount, 0, "rows of others that an UPDATE reaches")
    with Session(ACME) as session:
        session.add(Note(org_id=OTHER_EXPECT, body="acme: astray"))
        fails("42501", ProgrammingError, session.commit, "a row for another tenant")


@scenario
def transactions():
    for name, engine, org in TENANTS:
        with Session(engine) as session:
            session.add(Note(body=f"{name}: rolled back"))
            session.flush()
            session.rollback()
            equal(written(session, "%: rolled back"), [], "after ROLLBACK")
        serializable = engine.execution_options(isolation_level="SERIALIZABLE")
        with serializable.connect() as connection:
            got = connection.execute(text(f"SELECT current_setting('transaction_isolation'), {CONTEXT}")).one()
            equal(tuple(got), ("serializable", org), "isolation and context")
        with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(insert(Note).values(body=f"{name}: by itself"))
            equal(connection.scalar(text(f"SELECT {CONTEXT}")), org, "context in autocommit")


@scenario
def savepoints():
    for name, engine, org in TENANTS:
        with Session(engine) as session:
            for body in ["undone", "saved"]:
                with session.begin_nested() as savepoint:
                    session.add(Note(body=f"{name}: {body}"))
                    session.flush()
                    if body == "undone":
                        fails("22012", DBAPIError, lambda: session.execute(text("SELECT 1 / 0")), "an error")
                        savepoint.rollback()
                equal(session.scalar(text(f"SELECT {CONTEXT}")), org, "context behind a savepoint")
            session.commit()
            equal(written(session, "%: undone") + written(session, "%: saved"), [f"{name}: saved"], "rows")


@scenario
async def prepared():
    # asyncpg prepares every statement under a name, and SQLAlchemy keeps a cache of them for each connection.
    engines = [(engine_for(url, "asyncpg"), org) for url, org in [(DATABASE_URL, EXPECT), (OTHER_URL, OTHER_EXPECT)]]

    async def work(engine, org):
        for number in range(20):
            async with AsyncSession(engine) as session:
                got = await session.execute(select(Note.org_id, text(CONTEXT)).where(Note.id > number % 2))
                equal({row for row in got}, {(org, org)}, "tenants of the rows, and context")

    await asyncio.gather(*(work(*tenant) for tenant in engines * 6))
    for engine, _ in engines:
        await engine.dispose()
    # psycopg 3 does from the fifth time on.
    for name, engine, org in TENANTS * 10:
        with engine.connect() as connection:
            equal(connection.scalar(select(func.count()).where(Note.org_id != org)), 0, f"others' rows for {name}")


@scenario
def errors():
    with ACME.connect() as connection:
        error = fails("42703", ProgrammingError, lambda: connection.scalar(text("SELECT 'ü', nothing")), "no column")
        equal(error.diag.statement_position, "13", "position")
        connection.rollback()
        twice = insert(Note).values(id=1, body="acme: twice")
        error = fails("23505", IntegrityError, lambda: connection.execute(twice), "a key twice")
        equal(error.diag.constraint_name, "notes_pkey", "constraint")


@scenario
def batches():
    for name, engine, org in TENANTS:
        rows = [{"body": f"{name}: batch {number}"} for number in range(1500)]
        with engine.begin() as connection:
            # "insertmanyvalues" with RETURNING, a pipeline of one statement without.
            notes = connection.execute(insert(Note).returning(Note.org_id, sort_by_parameter_order=True), rows).all()
            equal({note.org_id for note in notes}, {org}, "tenants of the rows")
            connection.execute(insert(Note), rows)
            shorten = update(Note).where(Note.body == bindparam("old")).values(body=bindparam("new"))
            connection.execute(shorten, [{"old": row["body"], "new": f"{name}: batch"} for row in rows[:50]])
            equal(connection.scalar(select(func.count()).where(Note.body.like("%: batch"))), 100, "rows changed")


@scenario
def copy():
    raise Skip("the driver's")


@scenario
def notifications():
    raise Skip("the driver's")


@scenario
def cancel():
    sleeping = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    with ACME.connect() as sleeper, ACME.execution_options(isolation_level="AUTOCOMMIT").connect() as watcher:

        def stop():
            while not watcher.scalar(sleeping):
                pass
            sleeper.connection.driver_connection.cancel()

        thread = threading.Thread(target=stop)
        thread.start()
        fails("57014", DBAPIError, lambda: sleeper.execute(text("SELECT pg_sleep(60)")), "a cancelled query")
        thread.join()
        sleeper.rollback()
        equal(sleeper.scalar(text(f"SELECT {CONTEXT}")), EXPECT, "context afterwards")


@scenario
def habits():
    # The pool asks whether a connection lives before it lends it, and rolls back what is given back.
    engine = engine_for(DATABASE_URL, pool_pre_ping=True, connect_args={"options": "-c timezone=Asia/Tokyo"})
    event.listen(engine, "connect", lambda connection, _: connection.execute("SET search_path TO public, pg_catalog"))
    for _ in range(20):
        with engine.connect() as connection:
            got = connection.execute(text(f"SHOW timezone")).scalar(), connection.scalar(text(f"SELECT {CONTEXT}"))
            equal(got, ("Asia/Tokyo", EXPECT), "a setting of the start, and context")
    engine.dispose()


run()
