"""The application of the second act: the pages of two organisations and a nightly job, with three mistakes or without.

Arguments: where to connect, and `faulty` or `mended`. The mistakes are of the kind that no test with one tenant notices:
a WHERE that was forgotten, a job that says for nobody, and a project that moves to whichever organisation the form names.
Each statement says where it comes from, as sqlcommenter does.
"""

import sys

import psycopg

WHERE, STATE = sys.argv[1:]
FAULTY = STATE == "faulty"
ACME = "a0000000-0000-4000-8000-000000000001"
GLOBEX = "b0000000-0000-4000-8000-000000000001"
TENANTS = {"acme_app": ACME, "globex_app": GLOBEX}
RENAMED = {"acme_app": ("blog", "Acme Blog"), "globex_app": ("portal", "Globex Portal")}

EVERY_PROJECT = "SELECT organization_id, name FROM platform.projects ORDER BY name"
PROJECTS = "SELECT organization_id, name FROM platform.projects WHERE organization_id = %s ORDER BY name"
RENAME = "UPDATE platform.projects SET name = %s WHERE organization_id = %s AND slug = %s"
MOVE = "UPDATE platform.projects SET organization_id = %s WHERE organization_id = %s AND slug = %s"
EVERY_USAGE = "SELECT organization_id, count(*) FROM platform.projects GROUP BY organization_id"
USAGE = "SELECT count(*) FROM platform.projects WHERE organization_id = %s"


def run(connection, statement, place, values=()):
    """Runs a statement that says in which file, and for which route, it was written."""
    route, file = place
    return connection.execute(f"{statement} /*file='{file}',route='{route}'*/", values, prepare=False)


def connect(user):
    return psycopg.connect(WHERE, user=user, autocommit=True, application_name="platform")


def list_projects(connection, organisation):
    place = ("/projects", "pages/projects.py:41")
    if FAULTY:
        return run(connection, EVERY_PROJECT, place).fetchall()
    return run(connection, PROJECTS, place, [organisation]).fetchall()


def rename(connection, organisation, slug, name):
    run(connection, RENAME, ("/projects/rename", "pages/projects.py:63"), [name, organisation, slug])


def move(connection, organisation, slug, target):
    """The form names the target. Mended, it is looked at: nobody gives a project away without being asked."""
    if FAULTY or target == organisation:
        place = ("/projects/move", "pages/projects.py:88")
        return run(connection, MOVE, place, [target, organisation, slug]).rowcount
    return 0


def count_usage():
    """The nightly job: of all organisations at once, or of one after the other, each with its own context."""
    place = ("nightly usage", "jobs/usage.py:17")
    if FAULTY:
        with connect("guest_app") as connection:
            return len(run(connection, EVERY_USAGE, place).fetchall())
    counts = []
    for user, organisation in TENANTS.items():
        with connect(user) as connection:
            counts += run(connection, USAGE, place, [organisation]).fetchall()
    return len(counts)


def main():
    for user, organisation in TENANTS.items():
        with connect(user) as connection:
            for _ in range(5):
                shown = list_projects(connection, organisation)
                rename(connection, organisation, *RENAMED[user])
            print(f"{user:<10}  /projects shows {', '.join(name for _, name in shown)}")
    with connect("acme_app") as connection:
        moved = move(connection, ACME, "lab", GLOBEX)
        print(f"acme_app    /projects/move: {'done' if moved else 'refused, Globex is not yours'}")
    print(f"guest_app   the nightly job has counted {count_usage()} organisations")


main()
