"""However bytes are cut over reads, the same requests come of them, and nothing else."""

from __future__ import annotations

import asyncio
import gzip
import json

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from router.errors import BodyTooLarge, Refusal
from router.http.loopback import Loopback
from router.http.wire.head import Heads
from router.http.wire.incoming import Incoming
from router.process.server import express_lane
from router.settings import Settings

LIMIT = 10_000
INNER = b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n" + b'{"text": "help"}'
METHODS = [b"POST", b"GET", b"PUT", b"HEAD", b"DELETE", b"OPTIONS", b"QUERY"]
PATHS = [
    b"/v1/classify", b"/v1/chat/completions", b"/v1/systemone", b"/v1/models", b"/healthz",
    b"/readyz", b"/metrics", b"/none", b"/v1/classify/", b"/v1/classify?a=b", b"http://y/healthz",
]  # fmt: skip
HEADERS = [
    b"upgrade: h2c", b"connection: Upgrade, HTTP2-Settings", b"http2-settings: AAMAAABk",
    b"upgrade: websocket", b"connection: keep-alive", b"expect: 100-continue", b"te: trailers",
    b"x-request-id: a-1", b"content-type: application/json", b"x-long: " + b"a" * 5_000,
    b"authorization: Bearer none", b"cookie: a=b", b"x-empty:", b"accept-encoding: gzip",
]  # fmt: skip
BODIES = [
    b"",
    b'{"text": "help"}',
    b'{"text": ["help", "calm"]}',
    b"{",
    INNER,
    INNER * 3,
    b"\r\n" * 9,
]


@st.composite
def _requests(draw):
    """One request, and the sizes of the reads it arrives in."""
    body = draw(st.sampled_from(BODIES))
    lines = draw(st.lists(st.sampled_from(HEADERS), max_size=5, unique=True))
    if draw(st.booleans()):
        sizes = draw(st.lists(st.integers(1, 60), min_size=1, max_size=4))
        body, rest = b"", body
        while rest:
            size = sizes[len(rest) % len(sizes)]
            body += b"%x;a=b\r\n%b\r\n" % (len(rest[:size]), rest[:size])
            rest = rest[size:]
        body += b"0\r\n" + draw(st.sampled_from([b"", b"x-trailer: 1\r\n"])) + b"\r\n"
        lines.append(b"transfer-encoding: chunked")
    elif body or draw(st.booleans()):
        lines.append(b"content-length: %d" % len(body))
    method, path = draw(st.sampled_from(METHODS)), draw(st.sampled_from(PATHS))
    head = b"\r\n".join([b"%b %b HTTP/1.1" % (method, path), b"host: x", *lines])
    whole = draw(st.sampled_from([b"", b"\r\n"])) + head + b"\r\n\r\n" + body
    cuts = draw(st.lists(st.integers(1, len(whole) - 1), max_size=6, unique=True))
    every = draw(st.sampled_from([0, 0, 0, 1, 7]))
    ends = range(every, len(whole), every) if every else sorted(cuts)
    return method, [whole[a:b] for a, b in zip([0, *ends], [*ends, len(whole)], strict=True)]


async def test_any_split_of_any_request_gives_exactly_one_answer(rig):
    """T23: 2,000 requests, each over reads of its own; behind each a second one is answered too."""
    made = await rig(settings=Settings(max_body_bytes=LIMIT))
    examples = []

    @settings(max_examples=2_000, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_requests())
    def collect(example):
        examples.append(example)

    collect()
    server = Loopback(made.app, made.service.settings, express_lane(made.service))
    for method, parts in examples:
        client = server.connect()
        for part in parts:
            client.send(part)
            await asyncio.sleep(0)
        await client.until_idle()
        assert len(answers(client.received, method)) == 1, (parts, client.received)
        client.send(b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n")
        await client.until_idle()
        statuses = answers(client.received, method)
        assert len(statuses) == 2, (parts, client.received)
        assert statuses[1] == 404, (parts, client.received)
        client.hang_up()
    assert len(examples) >= 2_000


def answers(received, method):
    """Read answers as an independent client does; return their statuses."""
    client, found = h11.Connection(h11.CLIENT), []
    methods = iter([method, b"GET", b"GET"])
    client.receive_data(received)
    while client.trailing_data[0]:
        if client.our_state is h11.IDLE:
            client.send(h11.Request(method=next(methods), target="/", headers=[("host", "x")]))
            client.send(h11.EndOfMessage())
        event = client.next_event()
        if isinstance(event, h11.Response):
            found.append(event.status_code)
        elif isinstance(event, h11.EndOfMessage):
            client.start_next_cycle()
        elif event is h11.NEED_DATA:
            break
    return found


MALFORMED = [
    b"GET / HTTP/1.1\nhost: x\n\n",
    b"GET / HTTP/1.1\r\nhost: x\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\n y: folded\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nname : 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nna me: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nname\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\na: \0\r\n\r\n",
    b"GET  / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET / HTTP/1.1 \r\nhost: x\r\n\r\n",
    b"GET / http/1.1\r\nhost: x\r\n\r\n",
    b"GET /\r\nhost: x\r\n\r\n",
    b"GET x HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /#a HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: x, y\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: user@x\r\n\r\n",
    b"GET / HTTP/1.0\r\nhost: x\r\nhost: x\r\n\r\n",
    *(
        b"POST / HTTP/1.1\r\nhost: x\r\n%b\r\n\r\n%b" % (lines, body)
        for lines, body in [
            (b"content-length: -1", b""),
            (b"content-length: +1", b"a"),
            (b"content-length: 0x1", b"a"),
            (b"content-length: 1_0", b"a" * 10),
            (b"content-length: 1 1", b"a"),
            (b"content-length: 1, 1", b"a"),
            (b"content-length:", b""),
            (b"content-length: 1\r\ncontent-length: 1", b"a"),
            (b"content-length: " + b"9" * 40, b""),
            (b"content-length: 5\r\ntransfer-encoding: chunked", b"0\r\n\r\n"),
            (b"transfer-encoding: chunked\r\ntransfer-encoding: chunked", b"0\r\n\r\n"),
            (b"transfer-encoding: chunked, chunked", b"0\r\n\r\n"),
            (b"transfer-encoding: chunked", b"g\r\n"),
            (b"transfer-encoding: chunked", b" 1\r\na\r\n0\r\n\r\n"),
            (b"transfer-encoding: chunked", b"1\na\r\n0\r\n\r\n"),
            (b"transfer-encoding: chunked", b"1\r\nab\r\n0\r\n\r\n"),
            (b"transfer-encoding: chunked", b"-1\r\n"),
            (b"transfer-encoding: chunked", b"0x1\r\na\r\n"),
            (b"transfer-encoding: chunked", b"1;a\nb\r\na\r\n0\r\n\r\n"),
            (b"transfer-encoding: chunked", b"1;" + b"a" * 300),
            (b"transfer-encoding: chunked", b"0\r\nx y: 1\r\n\r\n"),
            (b"transfer-encoding: chunked", b"0\r\n" + b"x: " + b"a" * 9_000),
        ]
    ),
    b"POST / HTTP/1.0\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
]
OTHERWISE = [
    (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: xchunked\r\n\r\n", 501),
    (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: identity\r\n\r\n", 501),
    (b"GET / HTTP/2.0\r\nhost: x\r\n\r\n", 505),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    (b"GET / HTTP/0.9\r\nhost: x\r\n\r\n", 505),
    (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"a" * 70_000, 431),
    (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10001\r\n\r\n", 413),
    (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2711\r\n", 413),
]


@pytest.mark.parametrize(("sent", "status"), [*((sent, 400) for sent in MALFORMED), *OTHERWISE])
@pytest.mark.parametrize("step", [1, 100_000])
def test_what_is_no_request_is_refused_however_it_is_cut(sent, status, step):
    """Each by its own status, at the latest with its last byte."""
    incoming = Incoming(Heads(), LIMIT)
    with pytest.raises(Refusal) as refused:
        _feed(incoming, sent, step)
    assert refused.value.status == status


def _feed(incoming, sent, step):
    for at in range(0, len(sent), step):
        assert incoming.feed(sent[at : at + step]) is None


PIECES = [
    "GET", "/", " ", "HTTP/1.", "1", "\r", "\n", "\r\n", "host", ":", "x", "content-length",
    "5", ",", "\t", "\0", "é", "connection", "close", "transfer-encoding", "chunked",
]  # fmt: skip


@settings(max_examples=1_000, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=20))
def test_a_head_that_is_taken_is_one_for_others_too(pieces):
    """h11, strict and written by others, takes every head taken here, and reads the same."""
    lines = "".join(pieces)
    raw = f"POST /a HTTP/1.1\r\nhost: x\r\n{lines}\r\n\r\n".encode()
    try:
        request = Incoming(Heads(), LIMIT).feed(raw)
    except Refusal:
        return
    other = h11.Connection(h11.SERVER)
    other.receive_data(raw)
    event = other.next_event()
    assert isinstance(event, h11.Request)
    if request is not None:
        assert list(event.headers) == list(request.head.pairs)


def test_heads_are_remembered_and_forgotten():
    """The same bytes give the same head; a long one is not kept, and not more than a thousand."""
    heads = Heads()
    one = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"
    assert heads.read(one % 1) is heads.read(one % 1)
    long = one % 1 + b""
    long = long[:-2] + b"x: " + b"a" * 5_000 + b"\r\n\r\n"
    assert heads.read(long) is not heads.read(long)
    first = heads.read(one % 1)
    for n in range(2, 1_100):
        heads.read(one % n)
    assert heads.read(one % 1) is not first


@pytest.mark.parametrize(
    ("line", "keeps_alive"),
    [
        (b"", True),
        (b"connection: close\r\n", False),
        (b"connection: keep-alive, Close\r\n", False),
        (b"connection: x\r\nconnection: close\r\n", False),
    ],
)
def test_connection_is_a_list_over_all_its_lines(line, keeps_alive):
    """`close` counts wherever it stands."""
    head = Heads().read(b"GET / HTTP/1.1\r\nhost: x\r\n" + line + b"\r\n")
    assert head.keeps_alive == keeps_alive
    assert not Heads().read(b"GET / HTTP/1.0\r\n" + line + b"\r\n").keeps_alive


def test_secrets_are_kept_apart():
    """Where a key may be is not among the headers that go on."""
    head = Heads().read(
        b"GET / HTTP/1.1\r\nhost: x\r\nAuthorization: Bearer s\r\nX-API-Key: t\r\n\r\n"
    )
    assert b"Bearer s" not in json.dumps([k.decode() for k in head.headers]).encode()
    assert [value for _, value in head.secrets] == [b"Bearer s", b"t"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("step", [1_000, 100_000])
def test_a_path_may_take_larger_bodies_than_the_others(chunked, step):
    """What is passed on has a limit of its own, compressed bodies too; the next request has its."""
    limits = Settings(max_body_bytes=2_000, max_passed_body_bytes=50_000)

    def request(path, body, *headers):
        framing = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(body)
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        lines = b"\r\n".join([b"POST %b HTTP/1.1" % path, b"host: x", framing, *headers])
        return lines + b"\r\n\r\n" + sent

    def read(sent):
        for at in range(0, len(sent), step):
            if (found := incoming.feed(sent[at : at + step])) is not None:
                return found
        raise AssertionError("no request")

    incoming = Incoming(Heads(), limits.max_body_bytes, limits.body_limit)
    large, gzip_ = b"a" * 40_000, b"content-encoding: gzip"
    assert read(request(b"/v1/chat/completions", large)).body == large
    assert read(request(b"/v1/responses", gzip.compress(large), gzip_)).body == large
    for path, body in ((b"/v1/classify", large), (b"/v1/embeddings", large * 2)):
        with pytest.raises(BodyTooLarge):
            read(request(path, body))
        incoming = Incoming(Heads(), limits.max_body_bytes, limits.body_limit)
    assert limits.without_passing().body_limit("/v1/embeddings") == 2_000
