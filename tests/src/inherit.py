"""Opens sockets as a service manager does, and becomes the command behind `--`.

Each argument in front of it is NAME=tcp:HOST:PORT or NAME=unix:PATH; NAME=datagram:HOST:PORT and
NAME=file:PATH are there to be refused.
"""

import os
import socket
import sys

separator = sys.argv.index("--")
names, opened = [], []
for argument in sys.argv[1:separator]:
    name, _, place = argument.partition("=")
    kind, _, address = place.partition(":")
    if kind == "file":
        opened.append(os.open(address, os.O_RDWR | os.O_CREAT))
    elif kind == "unix":
        one = socket.socket(socket.AF_UNIX)
        one.bind(address)
        one.listen()
        opened.append(one.detach())
    else:
        host, _, port = address.rpartition(":")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        one = socket.socket(family, socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.bind((host, int(port)))
        if kind == "tcp":
            one.listen()
        opened.append(one.detach())
    names.append(name)

# Out of the way first, so that no number is taken twice.
parked = [os.dup2(one, 100 + index) for index, one in enumerate(opened)]
for index, one in enumerate(parked):
    os.dup2(one, 3 + index, inheritable=True)
    os.close(one)
os.environ["LISTEN_FDS"] = str(len(names))
os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.environ.setdefault("LISTEN_PID", str(os.getpid()))
command = sys.argv[separator + 1 :]
os.execv(command[0], command)
