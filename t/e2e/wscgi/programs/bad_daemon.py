#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A daemon that accepts on its stdin, and then does what a daemon should not. bad_daemon.py HOW"""
import os
import signal
import socket
import sys

how = sys.argv[1]


def half(connection):
    connection.sendall(b"half")
    connection.close()


def reset(connection):  # what was not read makes it one
    connection.sendall(b"whole\nhalf")
    connection.close()


def endless(connection):
    for _ in range(100):
        connection.sendall(b"x" * (1 << 20))
    connection.close()


def nul(connection):
    connection.sendall(b"a\0b\0\n")
    connection.close()


def invalid(connection):
    connection.sendall(b"good\n\xed\xa0\x80\n")
    signal.pause()


def shut(connection):  # its output, and lives
    connection.sendall(b"last\n")
    connection.shutdown(socket.SHUT_WR)
    signal.pause()


def hold(connection):  # for ever, whatever the client does
    connection.sendall(b"held\n")
    signal.pause()


def stderr(connection):
    line = b"x" * 2000 + b"\n"
    for _ in range(5000):
        os.write(2, line)
    connection.sendall(b"done\n")
    connection.close()


def dies(_):
    os.kill(os.getpid(), signal.SIGKILL)


def leaves(_):
    os._exit(3)


if how == "at-once":
    sys.exit(3)
if how == "deaf-to-signals":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    how = "hold"
if how == "forks":  # into the background, as daemons of old did
    if os.fork():
        os._exit(0)
    how = "nul"

listening = socket.socket(fileno=0)
print("up", file=sys.stderr, flush=True)
while True:
    accepted, _ = listening.accept()
    accepted.recv(100, socket.MSG_PEEK if how == "reset" else 0)
    globals()[how](accepted)
