"""Logs in by OAUTHBEARER with a real libpq 18, whose hook for tokens gets one from the environment.

Usage: oauth_bearer.py CONNECTION_STRING SQL. Prints the first value, or the error; the number of times that a token was
asked for goes to standard error with the discovery document that the server named.
"""

import ctypes
import os
import sys

OAUTH_BEARER_TOKEN = 1
GIVEN, NOT_MINE = 1, 0


class Request(ctypes.Structure):
    """PGoauthBearerRequest of libpq-fe.h."""

    _fields_ = [
        ("discovery", ctypes.c_char_p),
        ("scope", ctypes.c_char_p),
        ("flow", ctypes.c_void_p),
        ("cleanup", ctypes.c_void_p),
        ("token", ctypes.c_char_p),
        ("user", ctypes.c_void_p),
    ]


libpq = ctypes.CDLL(os.environ["LIBPQ"])
libpq.PQconnectdb.restype = ctypes.c_void_p
libpq.PQexec.restype = ctypes.c_void_p
for name in ("PQerrorMessage", "PQgetvalue"):
    getattr(libpq, name).restype = ctypes.c_char_p
hook_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Request))
token = os.environ["TOKEN"].encode()


@hook_type
def hook(kind, _connection, request):
    if kind != OAUTH_BEARER_TOKEN:
        return NOT_MINE
    asked = request.contents
    print("asked", asked.discovery.decode(), (asked.scope or b"").decode(), file=sys.stderr)
    asked.token = token
    return GIVEN


libpq.PQsetAuthDataHook(hook)
connection = ctypes.c_void_p(libpq.PQconnectdb(sys.argv[1].encode()))
if libpq.PQstatus(connection) != 0:
    print(libpq.PQerrorMessage(connection).decode().strip())
    sys.exit(1)
result = ctypes.c_void_p(libpq.PQexec(connection, sys.argv[2].encode()))
print((libpq.PQgetvalue(result, 0, 0) or libpq.PQerrorMessage(connection)).decode().strip())
libpq.PQfinish(connection)
