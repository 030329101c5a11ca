# SPDX-License-Identifier: BSD-3-Clause
"""The parts of the WSGI runner that need no client: heads, variables, framing, command lines."""

import argparse
import io
import socket
import types

import h11
import pytest

from fdworker._wsgi.answer import Answer, FileWrapper, encode_head
from fdworker._wsgi.environ import field_variables, make_environ, split_target
from fdworker._wsgi.options import seconds, whole
from fdworker._wsgi.request import Refused, read_head, with_ascii_target

HEAD = b"GET /a?b HTTP/1.1\r\nHost: t\r\nX-A: 1\r\n\r\n"


def test_a_head_is_read():
    request = read_head(h11.Connection(h11.SERVER), HEAD)
    assert (request.method, request.target) == (b"GET", b"/a?b")


def test_what_is_no_whole_head_is_refused_wherever_it_ends():
    for end in range(len(HEAD)):
        with pytest.raises(Refused) as refused:
            read_head(h11.Connection(h11.SERVER), HEAD[:end])
        assert refused.value.status == 400


@pytest.mark.parametrize("head, status", [
    (b"GET /" + b"x" * 65536 + b" HTTP/1.1\r\nHost: t\r\n\r\n", 414),
    (b"GET / HTTP/1.1\r\nHost: t\r\n" + b"x: y\r\n" * 100 + b"\r\n", 431),
    (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nHost: t\r\nHost: u\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: t\r\nContent-Length: x\r\n\r\n", 400),
    (b"GET / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
    (b"GET / HTTP/1.1\r\nHost: t\r\n: x\r\n\r\n", 400), (b"GET /\r\n\r\n", 400)])
def test_bad_heads_are_refused(head, status):
    with pytest.raises(Refused) as refused:
        read_head(h11.Connection(h11.SERVER), head)
    assert refused.value.status == status


def test_bytes_over_127_are_encoded_in_the_target_only():
    assert with_ascii_target(b"GET /\xc3\xa9 HTTP/1.1\r\nX: \xc3\r\n\r\n") == \
        b"GET /%C3%A9 HTTP/1.1\r\nX: \xc3\r\n\r\n"
    assert with_ascii_target(HEAD) == HEAD


@pytest.mark.parametrize("target, path, query", [
    (b"/a?b?c", b"/a", b"b?c"), (b"/", b"/", b""), (b"*", b"", b""), (b"http://h/a?b", b"/a", b"b"),
    (b"HTTPS://h", b"", b""), (b"//h/a", b"//h/a", b""), (b"/?", b"/", b""), (b"h:80", b"", b"")])
def test_targets(target, path, query):
    assert split_target(target) == (path, query)


@pytest.mark.parametrize("fields", [
    [(b"x-a", b"1"), (b"x_a", b"2")], [(b"x.a", b"1"), (b"x_a", b"2")], [(b"content_length", b"1")],
    [(b"content.type", b"1")], [(b"transfer_encoding", b"chunked")], [(b"x-forwarded_for", b"1")]])
def test_names_that_come_to_one_variable(fields):
    with pytest.raises(Refused):
        field_variables(fields)


def test_names_that_do_not():
    assert field_variables([(b"proxy", b"x"), (b"x-a", b"1"), (b"x-a", b"2"), (b"x_b", b"\xe9"), (b"x-b", b""),
                            (b"content-type", b"t"), (b"content-length", b"1")]) == {
        "HTTP_X_A": "1, 2", "HTTP_X_B": "\xe9", "CONTENT_TYPE": "t"}


@pytest.mark.parametrize("client, scheme, user, expected", [
    (("192.0.2.7", 4711), "https", "jo", {"REMOTE_ADDR": "192.0.2.7", "REMOTE_PORT": "4711",
                                          "REMOTE_USER": "jo", "HTTPS": "on", "wsgi.url_scheme": "https"}),
    (None, "http", None, {"REMOTE_ADDR": "", "REMOTE_PORT": "", "wsgi.url_scheme": "http"})])
def test_who_the_client_is(client, scheme, user, expected):
    """An address that is missing gives no trust in anything."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        handoff = types.SimpleNamespace(sock=ours, client=client, scheme=scheme, user=user)
        head = (b"GET / HTTP/1.1\r\nHost: t\r\nX-Forwarded-For: 6.6.6.6\r\nRemote-User: admin\r\n"
                b"X-Forwarded-Proto: https\r\nHTTPS: on\r\nForwarded: for=6.6.6.6\r\n\r\n")
        environ = make_environ(handoff, read_head(h11.Connection(h11.SERVER), head), io.BytesIO(), None)
    shown = {name: environ[name] for name in
             ("REMOTE_ADDR", "REMOTE_PORT", "REMOTE_USER", "HTTPS", "wsgi.url_scheme") if name in environ}
    assert shown == expected
    assert environ["SERVER_NAME"] and environ["SERVER_PORT"]


@pytest.mark.parametrize("name, value", [
    ("X", "a\nb"), ("X", "a\r\nb"), ("X", "\0"), ("X", "\x7f"), ("", "a"), ("X Y", "a"), ("X:", "a"),
    ("X", "\u20ac"), ("X\n", "a")])
def test_what_no_head_may_hold(name, value):
    with pytest.raises(ValueError):
        encode_head("200 OK", [(name, value)])


class Sent:
    """Stands in for Output."""

    def __init__(self):
        self.sent, self.blocks, self.told = 0, [], False

    def write(self, parts):
        self.blocks.append(b"".join(parts))
        self.sent += len(self.blocks[-1])

    def goes_on(self):
        self.told = True


def answer(application, head=HEAD, keeps=True):
    sent = Sent()
    found = Answer(read_head(h11.Connection(h11.SERVER), head), sent, keeps)
    found.run(application, {})
    return found, sent


def respond(status="200 OK", fields=(), blocks=(b"ab",)):
    def application(environ, start_response):
        start_response(status, list(fields))
        return blocks
    return application


def test_what_is_whole_goes_out_at_once_with_a_length():
    found, sent = answer(respond(blocks=[b"a", b"b"]))
    assert len(sent.blocks) == 1 and not sent.told
    assert b"\r\nContent-Length: 2\r\n" in sent.blocks[0] and sent.blocks[0].endswith(b"\r\n\r\nab")
    assert (found.status, found.size(), found.keeps, found.is_complete) == (200, 2, True, True)


def test_what_comes_piece_by_piece_goes_out_so_in_chunks():
    found, sent = answer(respond(blocks=iter([b"a", b"", b"bc"])))
    assert sent.blocks[0].endswith(b"\r\n\r\n1\r\na\r\n") and sent.told
    assert sent.blocks[1:] == [b"2\r\nbc\r\n", b"0\r\n\r\n"]
    assert found.size() == sum(map(len, [b"1\r\na\r\n", *sent.blocks[1:]]))


@pytest.mark.parametrize("fields, head, keeps", [
    ([("Connection", "close")], HEAD, False), ([("Connection", "keep-alive")], HEAD, True),
    ([("Transfer-Encoding", "chunked"), ("Upgrade", "x"), ("Keep-Alive", "1")], HEAD, True),
    ([], HEAD.replace(b"1.1", b"1.0"), False)])
def test_the_connection_is_the_runners(fields, head, keeps):
    found, sent = answer(respond(fields=fields, blocks=iter([b"ab"])), head)
    text = b"".join(sent.blocks)
    assert found.keeps is keeps and text.lower().count(b"\r\nconnection: close") == (not keeps)
    assert not any(word in text for word in (b"Upgrade", b"Keep-Alive"))
    assert text.count(b"chunked") == (b"1.1" in head)


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_answers_without_a_body_have_none(status):
    _, sent = answer(respond(status, blocks=[b"body"]))
    assert len(sent.blocks) == 1 and sent.blocks[0].endswith(b"\r\n\r\n")
    assert b"Length" not in sent.blocks[0] and b"chunked" not in sent.blocks[0]


def test_head_has_the_length_of_get():
    head = HEAD.replace(b"GET", b"HEAD")
    assert b"Content-Length: 2\r\n" in answer(respond(), head)[1].blocks[0]
    assert b"Content-Length: 9\r\n" in answer(respond(fields=[("Content-Length", "9")]), head)[1].blocks[0]
    assert b"Content-Length" not in answer(respond(blocks=[]), head)[1].blocks[0]


@pytest.mark.parametrize("values", [["x"], ["-1"], ["1", "2"], [""], ["\u0661"]])
def test_bad_lengths_are_the_applications_mistake(values):
    with pytest.raises(ValueError):
        answer(respond(fields=[("Content-Length", value) for value in values]))


def test_a_file_is_read_if_it_has_no_descriptor():
    assert FileWrapper(io.BytesIO(b"abc")).extent() is None
    assert list(FileWrapper(io.BytesIO(b"abc"), 2)) == [b"ab", b"c"]


@pytest.mark.parametrize("kind, text", [
    (whole(1, 3), "0"), (whole(1, 3), "4"), (whole(1), "x"), (whole(1), "1.5"), (seconds(0), "-1"),
    (seconds(0), "nan"), (seconds(0, 5), "6"), (seconds(0), "")])
def test_numbers_out_of_range(kind, text):
    with pytest.raises(argparse.ArgumentTypeError):
        kind(text)


def test_numbers_in_range():
    assert (whole(1, 3)("3"), seconds(0.5)("0.5")) == (3, 0.5)
