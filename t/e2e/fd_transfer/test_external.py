# SPDX-License-Identifier: BSD-3-Clause
"""Workers that run by themselves: lighttpd connects to them, and neither's death ends the other."""
import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from fuller_worker import HEADER, HELLO, RETURN, WITHOUT_SOCKET, note
from service import (HERE, STATUS, counters, get, read_response, request, service,
                     wait_for_counter)


@pytest.fixture
def run(tmp_path):
    """run("program.py", *arguments): an external worker that listens; its socket's path."""
    processes = []

    def begin(program, *arguments, name="worker.sock"):
        path = tmp_path / name
        path.unlink(missing_ok=True)
        process = subprocess.Popen([HERE / program, *arguments, str(path)],
                                   stdout=subprocess.PIPE)
        processes.append(process)
        assert process.stdout.readline() == b"listening\n"
        return process, path
    yield begin
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def external(path, **options):
    return service(socket=str(path), **options)


def test_requests_reach_an_external_worker(start, stage, run):
    worker, path = run("fuller_worker.py", "listen")
    server = start(STATUS + external(path, stage=stage), modules=["mod_status"])
    with server.connect() as sock:
        for _ in range(10):
            sock.sendall(get("/hot/"))
            assert read_response(sock)[2] == b"worker %d\n" % worker.pid
    assert wait_for_counter(server, "returned", 10)["workers"] == 1


def test_a_worker_that_comes_later_is_found(start, stage, run, tmp_path):
    server = start(STATUS + external(tmp_path / "worker.sock", stage=stage, deadline=15),
                   modules=["mod_status"])
    server.wait_for(r'cannot connect to "socket" => ".*worker.sock": No such file or directory')
    with server.connect() as sock:
        sock.sendall(get("/hot/"))
        wait_for_counter(server, "waiting", 1)
        run("fuller_worker.py", "listen")
        assert read_response(sock)[0] == 200


def test_requests_of_a_dead_external_worker_go_to_its_successor(start, stage, run):
    worker, path = run("fuller_worker.py", "listen")
    server = start(STATUS + external(path, stage=stage), modules=["mod_status"])
    assert request(server, get("/hot/"))[0] == 200
    wait_for_counter(server, "returned", 1)  # so its hello has been heard
    with server.connect() as one, server.connect() as two:
        one.sendall(get("/hot/pause/1000"))  # received, not answered
        wait_for_counter(server, "handed-over", 2)
        two.sendall(get("/hot/"))  # in the queue
        wait_for_counter(server, "handed-over", 3)
        worker.kill()
        worker.wait()
        server.wait_for("has closed the queue; connecting again")
        successor, _ = run("fuller_worker.py", "patient")
        for sock in (one, two):
            assert read_response(sock)[2] == b"worker %d\n" % successor.pid
    assert counters(server)["repeated"] >= 2


def test_streams_outlive_lighttpd(start, stage, run):
    """kill -9 of lighttpd during 100 event streams: they go on."""
    _, path = run("stream_worker.py")
    server = start(external(path, stage=stage))
    streams = [server.connect() for _ in range(100)]
    for stream in streams:
        stream.sendall(get("/hot/events"))
        assert stream.recv(1000).startswith(b"HTTP/1.1 200")
    server.kill()
    for stream in streams:
        with stream:
            seen = b""
            while seen.count(b"data: ") < 40:  # two seconds' worth: more than any buffer held
                more = stream.recv(4096)
                assert more
                seen += more


def test_what_a_deaf_worker_says_is_heard(start, tmp_path):
    """It shuts its connection down for reading while it answers; lighttpd's timers come before its
    word."""
    path = tmp_path / "worker.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        server = start(STATUS + external(path, stage="uri", workers=1, deadline=20),
                       modules=["mod_status"])
        (server.root / "style.css").write_text("css")
        queue = listener.accept()[0]
    with queue, server.connect() as client, server.connect() as vain:
        queue.send(note(HELLO))
        time.sleep(1.2)  # lighttpd hears it
        client.sendall(get("/hot/"))
        message, (fd, *_), _, _ = socket.recv_fds(queue, 69664, 2)
        number, index = HEADER.unpack(message[:HEADER.size])[4:6]
        fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        queue.shutdown(socket.SHUT_RD)
        while not 0.02 < time.monotonic() % 1 < 0.1:
            time.sleep(0.005)
        vain.sendall(get("/hot/"))
        wait_for_counter(server, "waiting", 1)
        server.send_signal(signal.SIGSTOP)
        with socket.socket(fileno=fd) as sock:
            sock.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            queue.send(note(RETURN, number, index, flags=WITHOUT_SOCKET))
        time.sleep(1)  # lighttpd's clock goes on
        server.send_signal(signal.SIGCONT)
        assert read_response(client)[2] == b"ok"
        client.sendall(get("/style.css"))
        assert read_response(client)[2] == b"css"


def test_a_worker_that_accepts_and_closes_is_not_asked_without_a_pause(start, stage, tmp_path):
    path = tmp_path / "worker.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(path))
        listener.listen()
        connections = []

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    listener.accept()[0].close()
                    connections.append(time.monotonic())
        thread = threading.Thread(target=accept)
        thread.start()
        server = start(STATUS + external(path, stage=stage, workers=1), modules=["mod_status"])
        server.wait_until(lambda: len(connections) >= 4, "connections")
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert connections[-1] - connections[0] > 1
    assert server.log_text().count("has closed the queue") < 10
