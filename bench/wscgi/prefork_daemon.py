#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A daemon in Python that has paid the interpreter's start before the first session comes: so many
processes, each of which echoes the bytes of a session at a time.

Usage: prefork_daemon.py PATH PROCESSES"""
import os
import signal
import socket
import sys


def serve(listener):
    while True:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(65536):
                connection.sendall(data)


def main():
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
    listener.listen(1024)
    children = []

    def end(*_):
        for child in children:
            os.kill(child, signal.SIGKILL)
        sys.exit()
    signal.signal(signal.SIGTERM, end)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # until all are known
    for _ in range(int(sys.argv[2])):
        pid = os.fork()
        if pid == 0:
            serve(listener)
        children.append(pid)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    for child in children:
        os.waitpid(child, 0)


main()
