"""A small API over the example call centre, with psycopg 3. One pool serves every organisation.

    DATABASE_URL=postgres://app:…@localhost:6432/calls PORT=3000 python server.py
"""

import contextlib
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

pool = ConnectionPool(os.environ["DATABASE_URL"], min_size=1, max_size=int(os.environ.get("POOL_SIZE", 4)),
                      kwargs={"row_factory": dict_row}, open=True)


@contextlib.contextmanager
def transaction(token):
    """A transaction for who sent the request."""
    with pool.connection() as connection:
        # The one line for pgwarden: the token never reaches the server.
        connection.execute("SELECT set_config('pgwarden.token', %s, true)", [token])
        yield connection


def who_am_i(token, _body):
    with transaction(token) as tx:
        return tx.execute('SELECT current_user AS role, auth.uid()::text AS "user", '
                          "public.auth_org_id()::text AS organization").fetchone()


def list_calls(token, _body):
    with transaction(token) as tx:
        return tx.execute("SELECT id, phone, status FROM calls ORDER BY id").fetchall()


def begin_call(token, body):
    # The user and the organisation of a new row are those of the token.
    with transaction(token) as tx:
        call = tx.execute("INSERT INTO calls (phone) VALUES (%s) RETURNING id, phone, status", [body["phone"]]).fetchone()
        tx.execute("INSERT INTO call_logs (call_id, line) VALUES (%s, 'began')", [call["id"]])
        return call


def change_call(token, body):
    with transaction(token) as tx:
        return tx.execute("UPDATE calls SET status = %s WHERE id = %s RETURNING id, phone, status",
                          [body["status"], body["id"]]).fetchone()


ROUTES = {"GET /whoami": who_am_i, "GET /calls": list_calls, "POST /calls": begin_call, "PATCH /calls": change_call}

# What PostgreSQL or pgwarden refuses, as HTTP says it.
STATUS = {"28000": 401, "42501": 403, "57P03": 503}


class Handler(BaseHTTPRequestHandler):
    def answer(self):
        route = ROUTES.get(f"{self.command} {self.path}")
        if route is None:
            return 404, {"error": "no such route"}
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        try:
            found = route(token, json.loads(body or b"{}"))
            return (404, {"error": "no such call"}) if found is None else (200, found)
        except psycopg.Error as error:
            return STATUS.get(error.sqlstate, 500), {"error": str(error).partition("\n")[0]}

    def respond(self):
        status, found = self.answer()
        body = json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = respond

    def log_message(self, *_arguments):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 3000))), Handler).serve_forever()
