"""Django as two tenants. How to run it, and what the environment means: scenario.py."""

import threading
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, IntegrityError, OperationalError, ProgrammingError, connections, models, transaction

from scenario import CONTEXT, DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, Skip, equal, run, scenario, true


def database(url, **options):
    url, known = urlsplit(url), {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "TIME_ZONE": "Europe/Vienna"}
    address = {"HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": url.password}
    return known | address | options


KEPT = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
# Each connection sets its time zone by set_config(), as a bound parameter: there are more of them than backends.
BOUND = {"server_side_binding": True, "prepare_threshold": 1}
POOLED = {"OPTIONS": {"pool": {"min_size": 1, "max_size": 6}, **BOUND}}
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.postgres"],
    DATABASES={
        "default": database(DATABASE_URL, **KEPT),
        "globex": database(OTHER_URL, **KEPT),
        "acme_pooled": database(DATABASE_URL, **POOLED),
        "globex_pooled": database(OTHER_URL, **POOLED),
    },
    USE_TZ=True,
)
django.setup()
TENANTS = [("acme", "default", EXPECT), ("globex", "globex", OTHER_EXPECT)]


class Note(models.Model):
    id = models.BigAutoField(primary_key=True)
    org_id = models.UUIDField(db_default=models.Func(function="org"))
    body = models.TextField()

    class Meta:
        app_label = "notes"
        db_table = "notes"
        managed = False


def one(alias, sql, values=None):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()[0]


def written(alias, pattern):
    return list(Note.objects.using(alias).filter(body__endswith=pattern).order_by("id").values_list("body", flat=True))


def fails(sqlstate, exception, action, what):
    try:
        action()
    except exception as error:
        equal(error.__cause__.sqlstate, sqlstate, f"{what}: SQLSTATE")
        return error.__cause__
    true(False, f"{what}: expected {sqlstate}, but it went through")


@scenario
def connects():
    for name, alias, org in TENANTS:
        equal(connections[alias].settings_dict["USER"], name, "user")
        true(connections[alias].pg_version >= 140000, "server version")
        equal(one(alias, "SHOW timezone"), "Europe/Vienna", "what Django sets when it connects")
        equal(one(alias, f"SELECT {CONTEXT}"), org, "context")
    equal("notes" in connections["default"].introspection.table_names(), True, "introspection")


@scenario
def reads():
    for name, alias, org in TENANTS * 5:
        equal(written(alias, ": first"), [f"{name}: first"], "rows")
        equal({str(note.org_id) for note in Note.objects.using(alias)}, {org}, "tenants of the rows")
        equal(Note.objects.using(alias).filter(id=1).exists(), name == "acme", "the row of acme by its key")
        # A cursor of the server, WITH HOLD outside of a transaction.
        rows = Note.objects.using(alias).order_by("id").iterator(chunk_size=1)
        equal(next(rows).body, f"{name}: first", "a cursor")
        rows.close()


@scenario
def writes():
    for name, alias, org in TENANTS:
        note = Note.objects.using(alias).create(body=f"{name}: written")
        note.refresh_from_db()
        equal(str(note.org_id), org, "tenant of the row")
        note.body += " twice"
        note.save()
        equal(Note.objects.using(alias).exclude(org_id=org).update(body="nobody's"), 0, "rows of others that an UPDATE reaches")
        again = Note.objects.using(alias).get_or_create(body=f"{name}: written twice")
        equal(again, (note, False), "get_or_create")
    astray = Note(org_id=OTHER_EXPECT, body="acme: astray")
    fails("42501", ProgrammingError, astray.save, "a row for another tenant")


@scenario
def transactions():
    for name, alias, org in TENANTS:
        with transaction.atomic(using=alias):
            Note.objects.using(alias).create(body=f"{name}: rolled back")
            equal(one(alias, f"SELECT {CONTEXT}"), org, "context")
            transaction.set_rollback(True, using=alias)
        equal(written(alias, ": rolled back"), [], "after ROLLBACK")
        done = []
        with transaction.atomic(using=alias, durable=True):
            note = Note.objects.using(alias).select_for_update().get(body=f"{name}: first")
            transaction.on_commit(lambda: done.append(note.body), using=alias)
        equal(done, [f"{name}: first"], "on_commit")


@scenario
def savepoints():
    for name, alias, org in TENANTS:
        with transaction.atomic(using=alias):
            try:
                with transaction.atomic(using=alias):
                    Note.objects.using(alias).create(body=f"{name}: undone")
                    fails("22012", DatabaseError, lambda: one(alias, "SELECT 1 / 0"), "an error")
                    raise ZeroDivisionError
            except ZeroDivisionError:
                equal(one(alias, f"SELECT {CONTEXT}"), org, "context behind ROLLBACK TO")
            with transaction.atomic(using=alias):
                Note.objects.using(alias).create(body=f"{name}: saved")
        equal(written(alias, ": undone") + written(alias, ": saved"), [f"{name}: saved"], "rows")


@scenario
def prepared():
    # Django's pool, values bound by the server, every statement prepared: six threads each in front of four backends.
    problems = []

    def work(alias, org):
        try:
            for number in range(20):
                got = Note.objects.using(alias).filter(id__gt=number % 2).values_list("org_id", flat=True)
                equal({str(found) for found in got}, {org}, "tenants of the rows")
                connections[alias].close()
        except Exception as problem:
            problems.append(problem)

    tenants = [("acme_pooled", EXPECT), ("globex_pooled", OTHER_EXPECT)]
    threads = [threading.Thread(target=work, args=tenant) for tenant in tenants * 6]
    for step in threading.Thread.start, threading.Thread.join:
        for thread in threads:
            step(thread)
    for alias, _ in tenants:
        connections[alias].close_pool()
    equal(problems, [], "problems")


@scenario
def errors():
    error = fails("42703", ProgrammingError, lambda: one("default", "SELECT 'ü', nothing"), "no column")
    equal(error.diag.statement_position, "13", "position")
    twice = Note(id=1, body="acme: twice")
    error = fails("23505", IntegrityError, lambda: twice.save(force_insert=True), "a key twice")
    equal(error.diag.constraint_name, "notes_pkey", "constraint")


@scenario
def batches():
    for name, alias, org in TENANTS:
        notes = [Note(body=f"{name}: batch {number}") for number in range(1000)]
        made = Note.objects.using(alias).bulk_create(notes, batch_size=300)
        for note in made:
            note.body = f"{name}: batch"
        Note.objects.using(alias).bulk_update(made[:400], ["body"], batch_size=200)
        equal(len(written(alias, ": batch")), 400, "rows changed")
        equal({str(found) for found in Note.objects.using(alias).values_list("org_id", flat=True)}, {org}, "tenants")


@scenario
def copy():
    raise Skip("the driver's")


@scenario
def notifications():
    raise Skip("the driver's")


@scenario
def cancel():
    with transaction.atomic():
        one("default", "SELECT set_config('statement_timeout', '20ms', true)")
        fails("57014", OperationalError, lambda: one("default", "SELECT pg_sleep(60)"), "a timeout")
        transaction.set_rollback(True)
    equal(one("default", f"SELECT {CONTEXT}"), EXPECT, "context afterwards")


@scenario
def habits():
    # The migrations of two of Django's applications, once; then they are known to everybody.
    from django.contrib.auth.models import Group, User
    for _, alias, _ in TENANTS:
        call_command("migrate", database=alias, verbosity=0, interactive=False)
        equal(User.objects.using(alias).filter(groups__name="nobody").count(), 0, "a join of new tables")
    index = models.Index(fields=["name"], name="group_names")
    with connections["default"].schema_editor(atomic=False) as editor:
        editor.add_index(Group, index, concurrently=True)
        editor.remove_index(Group, index, concurrently=True)
    for name, alias, org in TENANTS * 3:
        # What happens between two requests, and what a request begins with.
        connections[alias].close_if_unusable_or_obsolete()
        connections[alias].health_check_done = False
        equal(one(alias, f"SELECT {CONTEXT}"), org, "context")
        connections[alias].close()
        equal(one(alias, f"SELECT {CONTEXT}"), org, "context of a new connection")


run()
