"""Slow, endless and dishonest connections, over real sockets."""

import asyncio
import resource
import socket
import time
from contextlib import asynccontextmanager, suppress

import pytest

from router.http.loopback import Loopback
from router.process.server import Admin, bind, within_descriptors
from router.settings import Settings
from tests.waiting import PATIENCE_S

SETTINGS = Settings(
    head_timeout_s=0.3, body_timeout_s=0.3, answer_timeout_s=0.3, max_body_bytes=10_000
)
BODY = b'{"text": "help"}'
SLOW = b"POST /v1/classify HTTP/1.1\r\nx-slow: "
HEAD = (
    b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n"
)


@asynccontextmanager
async def _listening(app):
    """The application behind the real protocol, on a free port of this loop."""
    listener = bind("127.0.0.1", 0)
    server = Admin(app, listener, SETTINGS)
    server.start()
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield listener.getsockname()[1]
    finally:
        await server.stop()


@pytest.fixture
async def port(rig):
    """Port of a router with short timeouts."""
    made = await rig(settings=SETTINGS)
    async with _listening(made.app) as port:
        yield port


async def _closed_after(reader):
    """Seconds until the server hangs up."""
    started = time.monotonic()
    with suppress(ConnectionError):
        await asyncio.wait_for(reader.read(), PATIENCE_S)
    return time.monotonic() - started


async def _drip(writer, interval_s=0.05):
    """Header bytes, one at a time, for ever: slowloris."""
    try:
        while True:
            writer.write(b"a")
            await writer.drain()
            await asyncio.sleep(interval_s)
    except ConnectionError:
        pass


async def test_a_normal_client_is_served_and_kept(port):
    """Two requests on one connection, with a pause longer than the head timeout between them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(2):
        writer.write(HEAD % len(BODY) + BODY)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert head.startswith(b"HTTP/1.1 200")
        await reader.readexactly(length)
        await asyncio.sleep(0.4)
    writer.close()


async def test_a_silent_connection_is_closed(port, stalls):
    """Connected and never a byte: closed at the head timeout."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert 0.2 < await _closed_after(reader) < 1.0 + stalls.worst
    writer.close()


@pytest.mark.parametrize(
    "first", [b"POST /v1/classify HTTP/1.1\r\nx-slow: ", HEAD % len(BODY) + BODY]
)
async def test_a_dripping_head_is_closed(port, first, stalls):
    """A byte now and then keeps no connection open, on the first request or on a later one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    if first.endswith(BODY):
        await reader.readuntil(b"}")
        writer.write(SLOW)
    dripping = asyncio.create_task(_drip(writer))
    assert 0.2 < await _closed_after(reader) < 1.0 + stalls.worst
    await dripping


async def test_an_endless_head_is_refused_by_size(port):
    """A head of a megabyte is cut off long before its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/classify HTTP/1.1\r\n" + b"x-big: " + b"a" * 1_000_000)
    reply = b""
    with suppress(ConnectionError):
        reply = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert reply.startswith(b"HTTP/1.1 431")
    writer.close()


async def test_a_slow_body_is_a_408(port):
    """A body that does not arrive in time is refused, and the connection closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD % 100 + b'{"text": "')
    reply = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert reply.startswith(b"HTTP/1.1 408")
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        HEAD % 30_000_000 + b"x" * 50_000,
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        + b"2710\r\n" + b"x" * 10_000 + b"\r\n" + b"2710\r\n" + b"x" * 10_000 + b"\r\n",
    ],
)  # fmt: skip
async def test_too_many_bytes_are_a_413_whatever_was_announced(port, sent):
    """What arrives is counted, with and without a Content-Length."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    reply = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert reply.startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_lying_length_cannot_smuggle_a_second_request(port):
    """Both Content-Length and chunked in one request: 400, and nothing else is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    reply = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert reply.startswith(b"HTTP/1.1 400")
    assert reply.count(b"HTTP/1.1") == 1
    writer.close()


_INNER = HEAD % len(BODY) + BODY
_OFFERS = [
    b"connection: Upgrade\r\nupgrade: foo\r\n",
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n",
    b"connection: keep-alive, upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n",
]


def _offering(method, path, offer, chunked):
    """A request that offers another protocol, and whose body looks like a second request."""
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(_INNER), _INNER) if chunked else _INNER
    length = b"transfer-encoding: chunked" if chunked else b"content-length: %d" % len(_INNER)
    head = b"%b %b HTTP/1.1\r\nhost: x\r\n%b%b\r\n\r\n" % (method, path, offer, length)
    return head, body


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("offer", _OFFERS)
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        (b"POST", b"/v1/classify", 400),
        (b"POST", b"/v1/chat/completions", 400),
        (b"PUT", b"/v1/classify", 405),
        (b"GET", b"/healthz", 200),
        (b"POST", b"/healthz", 405),
        (b"POST", b"/none", 404),
    ],
)
async def test_a_body_behind_an_offer_to_upgrade_is_no_request(
    port, path, method, status, offer, chunked
):
    """T23: the offer is ignored and the body read as one, wherever the bytes are cut."""
    head, body = _offering(method, path, offer, chunked)
    sent = head + body
    for cut in (len(head), len(head) - 1, len(head) + 1, len(head) // 2, len(sent) - 1, len(sent)):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent[:cut])
        await writer.drain()
        await asyncio.sleep(0.005)
        writer.write(sent[cut:] + b"GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        replies = (await asyncio.wait_for(reader.read(), PATIENCE_S)).split(b"HTTP/1.1 ")[1:]
        assert [int(reply[:3]) for reply in replies] == [status, 404], (cut, replies)
        writer.close()


async def test_connect_opens_no_tunnel(port):
    """CONNECT is refused once, and what follows it is not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n" + _INNER)
    reply = await asyncio.wait_for(reader.read(), PATIENCE_S)
    assert reply.startswith(b"HTTP/1.1 400")
    assert reply.count(b"HTTP/1.1 ") == 1
    writer.close()


async def test_a_request_in_work_outlasts_every_time_of_its_connection():
    """The first head, the body and one that follows have a time; who works on them has another."""

    async def slow(scope, receive, send):
        await asyncio.sleep(0.5)
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})

    async with _listening(slow) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for sent in (HEAD % len(BODY) + BODY, HEAD % len(BODY), HEAD % len(BODY)):
            writer.write(sent)
            if sent.endswith(b"\r\n\r\n"):
                await asyncio.sleep(0.1)
                writer.write(BODY)
            answer = await asyncio.wait_for(reader.readuntil(b"ok"), PATIENCE_S)
            assert answer.startswith(b"HTTP/1.1 200")
        writer.close()


@pytest.mark.parametrize("n", [1_000, pytest.param(10_000, marks=pytest.mark.e2e)])
async def test_idle_connections_do_not_keep_others_out(port, n):
    """T23: idle connections are closed in time, and a client beside them is answered meanwhile."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = min(n, (soft - 200) // 2)  # both ends are in this process
    idle = []
    for _ in range(n):
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        idle.append(sock)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD % len(BODY) + BODY)
    assert (await asyncio.wait_for(reader.readline(), PATIENCE_S)).startswith(b"HTTP/1.1 200")
    await asyncio.sleep(0.5)
    closed = 0
    for sock in idle:
        try:
            closed += sock.recv(1) == b""
        except BlockingIOError:
            pass
        except ConnectionError:
            closed += 1
        sock.close()
    assert closed == n
    writer.close()


async def _ask_for_ever(client, requests):
    while True:
        await asyncio.get_running_loop().sock_sendall(client, requests)


async def test_a_client_that_never_reads_is_cut_off(port):
    """It asks and asks and takes no answer: once the buffers are full it has 0.3 s to read."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", port))
        asking = HEAD % len(BODY) + BODY
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(_ask_for_ever(client, asking * 50), PATIENCE_S)


async def _said(port, *parts, pause_s=0.0):
    """Send parts and read until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await asyncio.sleep(pause_s)
    reply = await asyncio.wait_for(reader.read(), PATIENCE_S)
    writer.close()
    return reply


CLOSING = b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"


@pytest.mark.parametrize(
    "path",
    [b"/healthz", b"/readyz", b"/metrics", b"/v1/models", b"/docs", b"/openapi.json", b"/none",
     b"/v1/classify"],
)  # fmt: skip
async def test_head_is_get_without_its_body_on_every_path(port, path):
    """Same status and headers, and nothing behind them; monitors and balancers probe so."""
    head, nothing = (await _said(port, b"HEAD " + path + CLOSING)).split(b"\r\n\r\n")
    got, body = (await _said(port, b"GET " + path + CLOSING)).split(b"\r\n\r\n", 1)
    names = [[line.split(b":")[0] for line in answer.split(b"\r\n")[1:]] for answer in (head, got)]
    assert head.split(b"\r\n")[0] == got.split(b"\r\n")[0]
    assert names[0] == names[1]
    assert (nothing, body != b"") == (b"", True)


@pytest.mark.parametrize("path", [b"/v1/models/", b"/docs/", b"/healthz/", b"/v1/classify/"])
async def test_no_address_is_built_from_the_host_header(port, path):
    """A path with a slash too many is not there; it was a redirect to wherever Host said."""
    reply = await _said(port, b"GET " + path + CLOSING.replace(b"host: x", b"host: evil.test"))
    assert reply.startswith(b"HTTP/1.1 404")
    assert b"evil.test" not in reply


@pytest.mark.parametrize(
    "unfinished",
    [
        b"PUT /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc",
        b"POST /none HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        b"POST /none HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-t: ",
    ],
)
async def test_a_body_that_never_ends_has_its_time_on_every_path(port, unfinished):
    """Whatever the method, path and status would be: one 408 in time, and the end."""
    reply = await _said(port, unfinished)
    assert reply.startswith(b"HTTP/1.1 408")
    assert reply.count(b"HTTP/1.1 ") == 1


async def test_a_refusal_reaches_a_client_that_is_still_sending(port):
    """Two megabytes are sent to the end before the 413 is read: no reset takes it away."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD % 2_000_000)
    for _ in range(20):
        writer.write(b"x" * 100_000)
        await writer.drain()
    assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_refused_client_that_holds_on_is_cut_off(port):
    """It reads its 413 and neither sends nor closes: the connection ends in time all the same."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD % 2_000_000)
    assert (await asyncio.wait_for(reader.read(), PATIENCE_S)).startswith(b"HTTP/1.1 413")
    with pytest.raises(ConnectionError):  # noqa: PT012 the write that fails is not the first
        for _ in range(100):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)


async def test_a_client_waits_for_100_only_while_its_body_is_missing(port):
    """Expect: 100-continue gets its 100 before the body, and none when the body is there."""
    head = (HEAD % len(BODY)).replace(
        b"\r\n\r\n", b"\r\nexpect: 100-continue\r\nconnection: close\r\n\r\n"
    )
    waited = await _said(port, head, BODY, pause_s=0.05)
    assert waited.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200")
    assert (await _said(port, head + BODY)).startswith(b"HTTP/1.1 200")


async def _streaming(scope, receive, send):
    """An application that does not know how long its answer is."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for part in (b"one ", b"", b"two"):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def test_only_a_client_that_knows_chunks_gets_them():
    """HTTP/1.1 gets chunks, HTTP/1.0 what they hold and then the end, HEAD neither."""
    async with _listening(_streaming) as port:
        modern = await _said(port, b"GET /" + CLOSING)
        old = await _said(port, b"GET / HTTP/1.0\r\n\r\n")
        head = await _said(port, b"HEAD /" + CLOSING)
    assert modern.endswith(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
                           b"4\r\none \r\n3\r\ntwo\r\n0\r\n\r\n")  # fmt: skip
    assert old.endswith(b"\r\n\r\none two")
    assert b"transfer-encoding" not in old
    assert head.endswith(b"\r\n\r\n")


def _application(*messages, fault=None):
    async def answer(scope, receive, send):
        for message in messages:
            await send(message)
        if fault is not None:
            raise fault

    return answer


_START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]}
_PART = {"type": "http.response.body", "body": b"two", "more_body": True}


@pytest.mark.parametrize(
    ("application", "starts", "ends"),
    [
        (_application(fault=ZeroDivisionError()), b"HTTP/1.1 500", b'its log says why."}}'),
        (_application(fault=asyncio.CancelledError()), b"HTTP/1.1 503", b'ask again."}}'),
        (_application(_PART), b"HTTP/1.1 500", b'its log says why."}}'),
        (_application(_START | {"headers": [(b"a", b"b\r\nc: d")]}), b"HTTP/1.1 500", b'why."}}'),
        (_application(_START, _PART), b"HTTP/1.1 200", b"\r\n\r\ntwo"),
        (_application(_START, _PART | {"more_body": False}), b"HTTP/1.1 200", b"\r\n\r\n"),
        (_application(_START, _PART, _PART), b"HTTP/1.1 200", b"\r\n\r\ntwo"),
        (_application(), b"", b""),
    ],
)
async def test_an_application_that_breaks_off_is_never_taken_for_a_whole_answer(
    application, starts, ends
):
    """One answer in our words, or what it had said and the end of the connection."""
    async with _listening(application) as port:
        try:
            reply = await _said(port, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + b"GET /" + CLOSING)
        except ConnectionError:
            reply = b""
    first = reply.split(b"HTTP/1.1 ")
    assert reply.startswith(starts)
    assert len(first) <= 3
    if starts != b"HTTP/1.1 500" and starts != b"HTTP/1.1 503":
        assert reply.endswith(ends)


async def test_after_each_answer_the_next_client_of_a_connection_is_served(port):
    """400, 404 and 405 cost a request, not the connection."""
    asked = (
        HEAD % 1
        + b"{"
        + b"GET /none HTTP/1.1\r\nhost: x\r\n\r\n"
        + b"PUT /v1/classify HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    reply = await _said(port, asked + b"GET /healthz" + CLOSING)
    statuses = [int(part[:3]) for part in reply.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [400, 404, 405, 200]


async def test_one_connection_too_many_is_closed_at_once(rig):
    """It keeps none of those that are there from being answered, and its place is free again."""
    made = await rig(settings=Settings(max_connections=2))
    server = Loopback(made.app, made.service.settings)
    first, second, third = (server.connect() for _ in range(3))
    assert [client.closed for client in (first, second, third)] == [False, False, True]
    third.hang_up()
    first.hang_up()
    fourth = server.connect()
    fourth.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
    await fourth.until_idle()
    assert fourth.received.startswith(b"HTTP/1.1 200")


def test_connections_leave_room_for_the_files_of_the_process():
    """However many may be asked for, fewer are open than the process may open files."""
    allowed = within_descriptors(Settings(max_connections=10**9)).max_connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft == hard
    assert allowed < hard or hard == resource.RLIM_INFINITY
    assert within_descriptors(Settings(max_connections=5)).max_connections == 5
