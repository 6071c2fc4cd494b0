"""Requests that are one too many are answered unparsed; whatever is unusual goes to the parser."""

from __future__ import annotations

import json

import pytest

from router.admission import Admission


def post(path=b"/v1/classify", body=b'{"text": "x"}', length=None, extra=b""):
    """A request as it arrives."""
    length = len(body) if length is None else length
    return b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n%b" % (
        path, length, extra, body,
    )  # fmt: skip


@pytest.mark.parametrize(("in_work", "refused"), [(9, False), (10, True), (11, True)])
def test_the_request_after_the_limit_is_refused(in_work, refused):
    """At the limit the next one is turned away, below it is not; refusals are counted."""
    door = Admission(10, lambda: 0)
    assert (door.refusal(post(), in_work) is not None) == refused
    assert door.refused == int(refused)


def test_requests_that_wait_for_a_teacher_keep_nobody_out():
    """Ten in work of which one waits for the teacher leave room for one more."""
    assert Admission(10, lambda: 1).refusal(post(), 10) is None
    assert Admission(10, lambda: 1).refusal(post(), 11) is not None


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        (b"/v1/classify", {"type", "message"}),
        (b"/v1/chat/completions", {"type", "message", "param", "code"}),
    ],
)
def test_a_refusal_is_a_whole_429_in_the_words_of_its_surface(path, keys):
    """Status, Retry-After, reason and a JSON body of the stated length."""
    head, body = Admission(0, lambda: 0).refusal(post(path), 0).split(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ") for line in lines)
    assert first == "HTTP/1.1 429 Too Many Requests"
    assert headers["retry-after"] == "1"
    assert headers["x-raisehand-reason"] == "queue_full"
    assert int(headers["content-length"]) == len(body)
    assert set(json.loads(body)["error"]) == keys


@pytest.mark.parametrize(
    "data",
    [
        post(b"/metrics"),
        post(b"/v1/classify?x=1"),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
        post(length=3),
        post(length=10**12),
        post()[:-1],
        post() + post(),
        post()[:20],
        post(extra=b"Connection: close\r\n"),
        b"POST /v1/classify HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/classify HTTP/1.1\r\nX: 1\r\n\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_what_is_not_exactly_one_plain_request_goes_to_the_parser(data):
    """Other paths, parts, pipelined or odd requests are never refused unparsed."""
    assert Admission(0, lambda: 0).refusal(data, 0) is None
