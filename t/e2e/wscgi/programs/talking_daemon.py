#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that accepts on its stdin and writes without end; a thread for each connection."""
import contextlib
import os
import socket
import threading

DATA = b"x" * (1 << 16)


def talk(connection):
    # write(2), because /proc/PID/io does not count what is sent otherwise
    with connection, contextlib.suppress(OSError):
        while True:
            os.write(connection.fileno(), DATA)


listening = socket.socket(fileno=0)
while True:
    accepted, _ = listening.accept()
    threading.Thread(target=talk, args=(accepted,), daemon=True).start()
