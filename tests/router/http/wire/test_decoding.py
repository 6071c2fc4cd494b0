"""Compressed bodies: what they hold counts, not what they weigh."""

import gzip
import json
import zlib

import pytest

from router.errors import BadRequest, BodyTooLarge, Refusal, UnknownEncoding
from router.http.loopback import Loopback
from router.http.wire.decoding import MAX_MEMBERS, decode_body
from router.http.wire.head import Heads
from router.http.wire.incoming import Incoming
from router.process.server import express_lane

LIMIT = 10_000


def _packed(body):
    """Compress without a date: a test has the same name in every process."""
    return gzip.compress(body, mtime=0)


def _request(body, encoding, chunked=False, path="/v1/classify"):
    length = f"Content-Length: {len(body)}"
    if chunked:
        length = "Transfer-Encoding: chunked"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Encoding: {encoding}\r\n{length}\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", _packed(b"what it holds")),
        ("x-gzip", _packed(b"what it holds")),
        ("GZIP", _packed(b"what ") + _packed(b"it holds")),
        ("identity", b"what it holds"),
        ("identity, gzip", _packed(b"what it holds")),
        ("", b"what it holds"),
    ],
)
def test_what_a_body_holds_is_what_is_handed_on(encoding, body, step, chunked):
    """Whole or in parts; nothing behind it could take it for compressed still."""
    incoming, sent = Incoming(Heads(), LIMIT), _request(body, encoding, chunked)
    requests = [incoming.feed(sent[at : at + step]) for at in range(0, len(sent), step)]
    assert requests[:-1] == [None] * (len(requests) - 1)
    assert requests[-1].body == b"what it holds"
    assert b"content-encoding" not in requests[-1].head.headers
    assert b"content-encoding" not in dict(requests[-1].head.pairs)


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (_packed(b"x" * LIMIT), None),
        (_packed(b"x" * (LIMIT + 1)), BodyTooLarge),
        (_packed(b"x" * 10**8), BodyTooLarge),
        (_packed(b"x" * 9_000) * 2, BodyTooLarge),
        (_packed(b"") * MAX_MEMBERS, None),
        (_packed(b"") * (MAX_MEMBERS + 1), BadRequest),
        (_packed(b"what it holds")[:-1], BadRequest),
        (_packed(b"what it holds")[:-9] + b"123456789", BadRequest),
        (_packed(b"what it holds") + b"more", BadRequest),
        (zlib.compress(b"what it holds"), BadRequest),
        (b'{"text": "help"}', BadRequest),
    ],
)
def test_the_limit_counts_what_a_body_holds(body, fault):
    """A bomb is cut off at the limit; what is no gzip, or not all of it, is said to be so."""
    if fault is None:
        assert len(decode_body(body, (b"gzip",), LIMIT)) <= LIMIT
        return
    with pytest.raises(fault):
        decode_body(body, (b"gzip",), LIMIT)


@pytest.mark.parametrize("encoding", ["zstd", "br", "deflate", "compress", "gzip, gzip", "x y"])
def test_other_encodings_are_a_415(encoding):
    """Refused before anything of it is read as JSON."""
    with pytest.raises(UnknownEncoding) as refused:
        Incoming(Heads(), LIMIT).feed(_request(b"abc", encoding))
    assert refused.value.status == 415
    assert isinstance(refused.value, Refusal)


async def test_a_compressed_question_is_answered_and_a_strange_one_told_what_is_taken(rig):
    """Gzip gets the student's answer; zstd a 415 with Accept-Encoding, in its surface's words."""
    made = await rig()
    server = Loopback(made.app, made.service.settings, express_lane(made.service))
    client = server.connect()
    client.send(_request(gzip.compress(b'{"text": "help"}'), "gzip"))
    await client.until_idle()
    assert json.loads(client.received.partition(b"\r\n\r\n")[2])["label"] == "urgent"
    client = server.connect()
    client.send(_request(b"abc", "zstd", path="/v1/chat/completions"))
    head, _, body = client.received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 415")
    assert b"accept-encoding: gzip, identity\r\n" in head
    assert json.loads(body)["error"]["param"] is None


CHAT = {
    "model": "big",
    "messages": [
        {"role": "system", "content": "Say it."},
        {"role": "user", "content": "Message: help\nUrgent?"},
    ],
}


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize(
    ("path", "body"), [("/v1/classify", {"text": "help"}), ("/v1/chat/completions", CHAT)]
)
async def test_a_byte_order_mark_is_no_part_of_a_body(rig, path, body, split, encoding):
    """Clients on Windows send one; it changes nothing, on any surface."""
    made = await rig()
    body = b"\xef\xbb\xbf" + json.dumps(body).encode()
    sent = _request(gzip.compress(body) if encoding == "gzip" else body, encoding, path=path)
    client = Loopback(made.app, made.service.settings, express_lane(made.service)).connect()
    for part in (sent[:-5], sent[-5:]) if split else (sent,):
        client.send(part)
    await client.until_idle()
    assert client.received.startswith(b"HTTP/1.1 200")
    assert b"x-raisehand-route: student\r\n" in client.received
