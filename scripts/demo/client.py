"""One program, two tenants: the demo's application. The argument is where to connect."""

import sys

import psycopg

QUERY = "SELECT name FROM platform.projects WHERE status = %s ORDER BY name"
OURS = {
    "acme_app": ["Acme Blog", "Acme Lab", "Acme Shop"],
    "globex_app": ["Globex Data", "Globex Portal"],
}


def names(connection):
    return [name for (name,) in connection.execute(QUERY, ["active"], prepare=True)]


def work(user):
    with psycopg.connect(sys.argv[1], user=user, autocommit=True) as connection:
        seen = [names(connection) for _ in range(3)]
        with connection.transaction():
            try:
                with connection.transaction():  # a savepoint
                    connection.execute("SELECT 1 / 0")
            except psycopg.errors.DivisionByZero:
                seen.append(names(connection))
        try:
            connection.execute("SET app.current_org_id = ''")
            sys.exit(f"{user}: SET was not refused")
        except psycopg.errors.InsufficientPrivilege:
            seen.append(names(connection))
    for answer in seen:
        if answer != OURS[user]:
            sys.exit(f"{user}: expected {OURS[user]}, got {answer}")
    print(f"{user:<10} {', '.join(seen[0])}")


for user in OURS:
    work(user)
