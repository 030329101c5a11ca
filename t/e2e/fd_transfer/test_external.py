# SPDX-License-Identifier: BSD-3-Clause
"""Workers that run by themselves: lighttpd connects to them, and neither's death ends the other."""
import contextlib
import socket
import subprocess
import threading
import time

import pytest

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
    return service(bin_path="", socket=str(path), **options).replace('"bin-path" => "", ', "")


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
