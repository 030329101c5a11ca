#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that accepts on its stdin and echoes bytes, or packets; a thread for each connection."""
import os
import socket
import sys
import threading


def echo(connection):
    with connection:
        while data := connection.recv(1 << 20):
            connection.sendall(data)


listening = socket.socket(fileno=0)
print("daemon", os.getpid(), *sys.argv[1:], file=sys.stderr, flush=True)
while True:
    accepted, _ = listening.accept()
    threading.Thread(target=echo, args=(accepted,), daemon=True).start()
