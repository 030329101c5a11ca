#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that pays Python's start once: model "daemon", framing "lines".

fd 0 is a listening socket. What is slow (imports, data to load) is done first; then the process
divides itself into WORKERS children, which share what was loaded and all accept on fd 0. Each
session is a thread of its worker. Replace session() by yours.
"""
import os
import socket
import sys
import threading

WORKERS = int(os.environ.get("WORKERS", os.cpu_count()))


def session(lines_in, out):
    """One client: iterate over its messages, print the answers. Echoes."""
    for line in lines_in:
        print(f"{os.getpid()}: {line.rstrip()}", file=out, flush=True)


def serve(connection):
    with connection, connection.makefile("rw", encoding="utf-8", newline="\n") as stream:
        try:
            session(stream, stream)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client went away while we answered


def work(listening):
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


def start_worker(listening):
    if os.fork() == 0:
        work(listening)


listening_socket = socket.socket(fileno=0)
for _ in range(WORKERS):
    start_worker(listening_socket)
while True:
    pid, status = os.wait()
    print(f"worker {pid} ended with status {status}", file=sys.stderr)
    start_worker(listening_socket)
