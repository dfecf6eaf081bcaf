"""The inventory over HTTP, on SQLAlchemy. Nothing in it knows of organisations but the line that sets `acting`."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from sqlalchemy import BigInteger, FetchedValue, Numeric, Text, create_engine, select
from sqlalchemy.dialects.postgresql import UUID
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session, mapped_column

from tenants import acting, tell

engine = create_engine(os.environ["DATABASE_URL"].replace("postgres:", "postgresql+psycopg:"), pool_size=8, pool_timeout=60)
tell(engine)


class Base(DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id = mapped_column(UUID(as_uuid=False), primary_key=True, server_default=FetchedValue())
    org_id = mapped_column(UUID(as_uuid=False), server_default=FetchedValue())
    item_number = mapped_column(Text)
    description = mapped_column(Text)


class Location(Base):
    __tablename__ = "locations"
    id = mapped_column(UUID(as_uuid=False), primary_key=True, server_default=FetchedValue())
    org_id = mapped_column(UUID(as_uuid=False), server_default=FetchedValue())
    name = mapped_column(Text)


class LedgerEntry(Base):
    __tablename__ = "inventory_ledger"
    id = mapped_column(BigInteger, primary_key=True)
    org_id = mapped_column(UUID(as_uuid=False), server_default=FetchedValue())
    item_id = mapped_column(UUID(as_uuid=False))
    location_id = mapped_column(UUID(as_uuid=False))
    qty_canonical = mapped_column(Numeric)
    reason = mapped_column(Text)


class Balance(Base):
    __tablename__ = "inventory_balances"
    org_id = mapped_column(UUID(as_uuid=False), primary_key=True)
    item_id = mapped_column(UUID(as_uuid=False), primary_key=True)
    location_id = mapped_column(UUID(as_uuid=False), primary_key=True)
    lot_id = mapped_column(Text, primary_key=True)
    qty_canonical = mapped_column(Numeric)


class NotEnough(Exception):
    pass


def move(item_number, quantity):
    """Books a movement, in one transaction."""
    with Session(engine) as session, session.begin():
        # One movement of an item at a time.
        item = session.scalars(select(Item).where(Item.item_number == item_number).with_for_update()).one()
        location = session.scalars(select(Location).where(Location.name == "Shelf 1")).one()
        place = {"item_id": item.id, "location_id": location.id}
        session.add(LedgerEntry(**place, qty_canonical=quantity, reason="moved"))
        session.flush()
        balance = session.scalars(select(Balance).filter_by(**place, lot_id="")).one()
        if balance.qty_canonical < 0:
            raise NotEnough
        return {"org": balance.org_id, "balance": int(balance.qty_canonical)}


def shown(items):
    return [{"org": one.org_id, "item": one.item_number, "description": one.description} for one in items]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        url = urlsplit(self.path)
        said = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.command == "POST":
            return [move(said["item"], int(said["qty"]))]
        with Session(engine) as session:
            if url.path == "/item":
                # By its primary key, which somebody of another organisation may have got hold of.
                return shown(filter(None, [session.get(Item, said["id"])]))
            return shown(session.scalars(select(Item).order_by(Item.item_number)))

    def handle_request(self):
        organisation, user = self.headers["X-Org-Id"], self.headers["X-User-Id"]
        acting.set((organisation, user) if organisation and user else None)
        try:
            status, body = 200, json.dumps(self.answer())
        except NotEnough:
            status, body = 409, ""
        except DBAPIError as error:
            # What pgwarden refuses says that who asks may not.
            status, body = {"28000": 401, "42501": 403}.get(error.orig.sqlstate, 500), ""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_POST = handle_request

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    request_queue_size = 128


Server(("127.0.0.1", int(os.environ.get("PORT", "8000"))), Handler).serve_forever()
