"""Django's migrations as a service (SERVICE_URL), and the tenants behind them. The rest of the environment: scenario.py."""

import os
from urllib.parse import urlsplit

import django
from django.conf import settings
from django.core.management import call_command
from django.db import ProgrammingError, connections

from scenario import DATABASE_URL, EXPECT, OTHER_EXPECT, OTHER_URL, Failure, equal, run, scenario, true


def database(url, **options):
    url, known = urlsplit(url), {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "CONN_MAX_AGE": None}
    address = {"HOST": url.hostname, "PORT": url.port, "USER": url.username, "PASSWORD": url.password or ""}
    return known | address | {"OPTIONS": options}


PREPARED = {"prepare_threshold": 1}
settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_shop"],
    DATABASES={
        "default": database(DATABASE_URL, **PREPARED),
        "globex": database(OTHER_URL, **PREPARED),
        "service": database(os.environ["SERVICE_URL"], application_name="OPS-7 django"),
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
TENANTS = [("acme", "default", EXPECT), ("globex", "globex", OTHER_EXPECT)]


def one(alias, sql):
    with connections[alias].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]


@scenario
def tenants_may_not_migrate():
    try:
        call_command("migrate", database="default", verbosity=0)
    except Exception as error:
        true("permission denied" in str(error), str(error))
    else:
        raise Failure("a tenant has migrated")


@scenario
def the_service_migrates():
    for name, alias, _ in TENANTS:
        for _ in range(3):
            equal(one(alias, "SELECT min(body) FROM notes"), f"{name}: first", "a row")
    call_command("migrate", database="service", verbosity=0)
    call_command("migrate", database="service", verbosity=0)
    equal(one("service", "SELECT count(*) FROM notes WHERE title = upper(body)"), 5, "rows")
    equal(one("service", "SELECT count(*) FROM django_migrations WHERE app = 'django_shop'"), 3, "migrations")


@scenario
def tenants_see_what_is_theirs():
    for name, alias, org in TENANTS:
        equal(one(alias, "SELECT min(body) FROM notes"), f"{name}: first", "a row, by a statement from before")
        equal(one(alias, "SELECT min(title) FROM notes"), f"{name.upper()}: FIRST", "a title")
        equal(one(alias, "SELECT string_agg(name, ',') FROM labels"), f"of {org}", "labels")
        try:
            one(alias, "INSERT INTO labels (org_id, name) VALUES (gen_random_uuid(), 'x') RETURNING id")
        except ProgrammingError as error:
            equal(error.__cause__.sqlstate, "42501", "a row of somebody else")
        else:
            raise Failure("a tenant has written a row of somebody else")


@scenario
def the_service_takes_a_migration_back():
    call_command("migrate", "django_shop", "0002", database="service", verbosity=0)
    equal(one("service", "SELECT to_regclass('labels') IS NULL"), True, "the table is gone")


run()
