"""psycopg connections of several tenants taking turns: `interleaved.py URL EXPECTED [URL EXPECTED]...`.

Each statement asks for the context it has; the first one with another value than expected ends the program with 1.
"""

import sys

import psycopg

ORG = "SELECT current_setting('app.current_org_id'), %s::int"


def statements(connection, turn):
    """The context as seen by one statement of each kind."""
    yield connection.execute(ORG, [turn]).fetchone()[0]
    yield connection.execute(ORG, [turn], prepare=True).fetchone()[0]
    yield connection.execute("SELECT current_setting('app.current_org_id')").fetchone()[0]
    with connection.cursor(binary=True) as cursor:
        yield cursor.execute(ORG, [turn], prepare=True).fetchone()[0]


def transaction(connection, turn):
    """The same around a savepoint that is rolled back after an error."""
    with connection.transaction():
        yield from statements(connection, turn)
        try:
            with connection.transaction():
                connection.execute("SELECT 1 / 0", prepare=True)
        except psycopg.errors.DivisionByZero:
            pass
        yield from statements(connection, turn)


def pipeline(connection, turn):
    """The same with several statements on their way at once."""
    with connection.pipeline() as sent:
        cursors = [connection.execute(ORG, [turn], prepare=True) for _ in range(3)]
        sent.sync()
        for cursor in cursors:
            yield cursor.fetchone()[0]


def main(arguments):
    tenants = list(zip(arguments[::2], arguments[1::2]))
    connections = [(psycopg.connect(url, autocommit=True, prepare_threshold=2), value) for url, value in tenants]
    seen = 0
    for turn in range(6):
        for kind in (statements, transaction, pipeline):
            for connection, expected in connections:
                for value in kind(connection, turn):
                    seen += 1
                    if value != expected:
                        sys.exit(f"turn {turn}, {kind.__name__}: {value}, not {expected}")
    for connection, _ in connections:
        connection.close()
    print(f"{seen} statements")


main(sys.argv[1:])
