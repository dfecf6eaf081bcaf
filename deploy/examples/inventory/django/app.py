"""The inventory over HTTP, on Django in one file. Nothing in it knows of organisations but the middleware."""

import os
from socketserver import ThreadingMixIn
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django
from django.conf import settings

url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": url.path[1:],
            "HOST": url.hostname,
            "PORT": url.port,
            "USER": url.username,
            "PASSWORD": url.password or "",
            "OPTIONS": {"pool": {"min_size": 1, "max_size": 8, "timeout": 60}},
        }
    },
    MIDDLEWARE=["tenants.show_api_key"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()

from django.core.wsgi import get_wsgi_application
from django.db import DatabaseError, models, transaction
from django.http import HttpResponse, JsonResponse
from django.urls import path


class InventoryModel(models.Model):
    org_id = models.UUIDField(db_default=models.Func(function="current_org_id"), editable=False)

    class Meta:
        abstract = True
        app_label = "inventory"
        managed = False


class Item(InventoryModel):
    id = models.UUIDField(primary_key=True, db_default=models.Func(function="gen_random_uuid"))
    item_number = models.TextField()
    description = models.TextField()

    class Meta(InventoryModel.Meta):
        db_table = "items"


class Location(InventoryModel):
    id = models.UUIDField(primary_key=True, db_default=models.Func(function="gen_random_uuid"))
    name = models.TextField()

    class Meta(InventoryModel.Meta):
        db_table = "locations"


class LedgerEntry(InventoryModel):
    id = models.BigAutoField(primary_key=True)
    item_id = models.UUIDField()
    location_id = models.UUIDField()
    qty_canonical = models.DecimalField(max_digits=20, decimal_places=6)
    reason = models.TextField()

    class Meta(InventoryModel.Meta):
        db_table = "inventory_ledger"


class Balance(InventoryModel):
    pk = models.CompositePrimaryKey("org_id", "item_id", "location_id", "lot_id")
    item_id = models.UUIDField()
    location_id = models.UUIDField()
    lot_id = models.TextField()
    qty_canonical = models.DecimalField(max_digits=20, decimal_places=6)

    class Meta(InventoryModel.Meta):
        db_table = "inventory_balances"


class NotEnough(Exception):
    pass


@transaction.atomic
def move(item_number, quantity):
    """Books a movement, in one transaction."""
    # One movement of an item at a time.
    item = Item.objects.select_for_update().get(item_number=item_number)
    location = Location.objects.get(name="Shelf 1")
    place = {"item_id": item.id, "location_id": location.id}
    LedgerEntry.objects.create(**place, qty_canonical=quantity, reason="moved")
    balance = Balance.objects.get(**place, lot_id="")
    if balance.qty_canonical < 0:
        raise NotEnough
    return {"org": balance.org_id, "balance": int(balance.qty_canonical)}


def refusals(view):
    """What pgwarden refuses says that who asks is not known, or may not."""

    def guarded(request):
        try:
            return JsonResponse(view(request), safe=False)
        except NotEnough:
            return HttpResponse(status=409)
        except DatabaseError as error:
            status = {"28000": 401, "42501": 403}.get(getattr(error.__cause__, "sqlstate", None))
            if status is None:
                raise
            return HttpResponse(status=status)

    return guarded


def shown(items):
    return [{"org": one.org_id, "item": one.item_number, "description": one.description} for one in items]


urlpatterns = [
    path("items", refusals(lambda request: shown(Item.objects.order_by("item_number")))),
    # By its primary key, which somebody of another organisation may have got hold of.
    path("item", refusals(lambda request: shown(Item.objects.filter(id=request.GET["id"])))),
    path("move", refusals(lambda request: [move(request.GET["item"], int(request.GET["qty"]))])),
]


class Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 128


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


make_server("127.0.0.1", int(os.environ.get("PORT", "8000")), get_wsgi_application(), Server, Quiet).serve_forever()
