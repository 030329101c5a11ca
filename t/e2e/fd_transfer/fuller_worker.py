#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A worker that speaks the fuller protocol, and misbehaves when a URL asks it to. Standard library
only, written from doc/handoff-record.md.

fuller_worker.py close|return [batches|undecided]
fuller_worker.py listen|patient PATH
close: says taken, ends each connection. return: gives each connection back. listen: as `return`,
on a socket of its own at PATH (an external worker). patient: the same, deaf to URLs.
batches: takes several requests in one message, and answers with one. undecided: says that it does,
and that it does not.

/…/pause/SECONDS   sleeps before it answers; /…/pause/SECONDS/WHAT: before it does one of those below
/…/linger/         sleeps after it has answered, and before it returns the connection
/…/die             kills itself before it answers
/…/die-once/NAME   the same, if the file /tmp/NAME is not there yet; makes it
/…/die-blocking    makes the client's socket blocking, and kills itself
/…/die-half        kills itself within the answer
/…/die-after       kills itself when it has answered, and said so
/…/slow            says taken within the answer, and sleeps for 3 seconds there
/…/with-socket     returns the connection with its socket, though the server has kept it
/…/back            returns the request unanswered
/…/half-back       the same, and has shut the client's socket down for writing
/…/elsewhere       the same, with the URL of a file
/…/back-once/NAME  the same, if /tmp/NAME is not there yet
/…/shut            shuts the queue down when it has answered
/…/unclaimed/NAME  stops before it makes itself the socket's owner, if /tmp/NAME is not there yet
/…/collect         answers when SIGUSR1 comes: says so of all of them, and kills itself
anything else      answers with its process id
"""
import contextlib
import fcntl
import os
import select
import signal
import socket
import struct
import sys
import time

HEADER = struct.Struct("<4sBBHQIIII")
HELLO, TAKEN, RETURN = 2, 3, 4
IN_MEMFD, WANTS_TAKEN, WITHOUT_SOCKET, TAKES_BATCHES = 1, 4, 8, 16


def note(kind, number=0, index=0, data=b"", flags=0):
    return HEADER.pack(b"LFDT", 2, kind, flags, number, index, 0, len(data), 0) + data


collected = []  # the queue, the client, the response, the record's id and index


class Queue:
    """What is said to lighttpd: at once, or all that a batch of requests gives rise to together."""

    def __init__(self, sock):
        self.sock = sock
        self.batches = sys.argv[2:] == ["batches"]
        self.unsaid = []

    def tell(self, message):
        self.unsaid.append(message)
        if not self.batches:
            self.flush()

    def flush(self):
        message, self.unsaid = b"".join(self.unsaid), []
        with contextlib.suppress(OSError):  # lighttpd may have gone
            if message:
                self.sock.send(message)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def is_first(name):
    try:
        os.close(os.open(f"/tmp/{name}", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def obey(path, client, response):
    if sys.argv[1] == "patient":
        return
    what, _, argument = path.rpartition("/")
    action = what.rpartition("/")[2]
    if "/pause/" in path:
        time.sleep(float(path.partition("/pause/")[2].partition("/")[0]))
    if argument == "die":
        die()
    elif argument == "die-blocking":
        client.setblocking(True)
        die()
    elif argument == "die-half":
        client.send(response[:20])
        die()
    elif action == "die-once" and is_first(argument):
        die()


def give_socket_back(queue, client, kept, number, index, rest):
    """Without the socket, if the server has kept it."""
    if kept:
        queue.tell(note(RETURN, number, index, rest, WITHOUT_SOCKET))
    else:
        socket.send_fds(queue.sock, [note(RETURN, number, index, rest)], [client.fileno()])


def answer(queue, message, fds, give_back):
    _, _, _, flags, number, index, head_length, length, _ = HEADER.unpack(message[:32])
    data = os.pread(fds[1], length, 0) if flags & IN_MEMFD else message[32:32 + length]
    for memfd in fds[1:]:
        os.close(memfd)
    with socket.socket(fileno=fds[0]) as client:
        head, rest = data[:head_length], data[head_length:]
        keep = give_back and b"\r\nConnection: close" not in head
        body = b"worker %d\n" % os.getpid()
        response = (b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: %s\r\n"
                    b"Content-Length: %d\r\n\r\n%s"
                    % (b"keep-alive" if keep else b"close", len(body), body))
        if b"/collect " in head:
            collected.append((queue, client.dup(), response, number, index))
            return
        obey(head.split()[1].decode(), client, response)
        if b"/elsewhere " in head:
            data = data.replace(b"/hot/elsewhere ", b"/style.css ")
        once = head.partition(b"/back-once/")[2].split(b" ")[0]
        if b"/half-back " in head:
            client.shutdown(socket.SHUT_WR)
        if b"/half-back " in head or b"/back " in head or b"/elsewhere " in head or once and is_first(once.decode()):
            give_socket_back(queue, client, flags & WANTS_TAKEN, number, index, data)
            return
        try:
            if b"/slow " in head:
                client.send(response[:-5])
                queue.tell(note(TAKEN, number))
                time.sleep(3)
                client.send(response[-5:])
                return
            if keep:
                # So many seconds of "timeout": if we die now, the server sees whether all of the
                # answer has been written. The socket does not block, so the option does nothing.
                if b"/linger/" not in head:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack(
                        "ll", (number & 0xfffff) << 32 | len(response), 0))
            client.send(response)
            if keep:
                if b"/linger/" in head:
                    time.sleep(1.5)
                kept = flags & WANTS_TAKEN and b"/with-socket " not in head
                give_socket_back(queue, client, kept, number, index, rest)
                if b"/die-after " in head:
                    die()
                if b"/shut " in head:
                    queue.sock.shutdown(socket.SHUT_RDWR)
                return
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the client has left
        if flags & WANTS_TAKEN:
            queue.tell(note(TAKEN, number))


def answer_what_was_collected(*_):
    for queue, client, response, number, index in collected:
        client.send(response)
        give_socket_back(queue, client, True, number, index, b"")
    die()


def records(message, fds):
    """The records of a message, each with its fds."""
    while message:
        _, _, _, flags, _, _, _, length, fields = HEADER.unpack(message[:32])
        size = 32 + fields + (0 if flags & IN_MEMFD else length)
        count = 2 if flags & IN_MEMFD else 1
        yield message[:size], fds[:count]
        message, fds = message[size:], fds[count:]


def say_hello(queue):
    if sys.argv[2:] in (["batches"], ["undecided"]):
        queue.tell(note(HELLO, flags=TAKES_BATCHES))
    if sys.argv[2:] != ["batches"]:
        queue.tell(note(HELLO))
    queue.flush()


def serve(sock, give_back):
    queue = Queue(sock)
    say_hello(queue)
    while True:
        select.select([sock], [], [])
        try:
            message, fds, _, _ = socket.recv_fds(sock, 69664, 64, socket.MSG_DONTWAIT)
        except BlockingIOError:
            continue
        if not message:
            return
        unclaimed = message.partition(b"/unclaimed/")[2].split(b" ")[0]
        if unclaimed and is_first(unclaimed.decode()):
            os.kill(os.getpid(), signal.SIGSTOP)
        for fd in fds:
            fcntl.fcntl(fd, fcntl.F_SETOWN, os.getpid())
        for record, its_fds in records(message, fds):
            answer(queue, record, its_fds, give_back)
        queue.flush()


def listen(path):
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    listener.bind(path)
    listener.listen()
    print("listening", flush=True)
    while True:
        serve(listener.accept()[0], True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    signal.signal(signal.SIGUSR1, answer_what_was_collected)
    if sys.argv[1] in ("listen", "patient"):
        listen(sys.argv[2])
    else:
        serve(socket.socket(fileno=0), sys.argv[1] == "return")
