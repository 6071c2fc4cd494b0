"""Slow, endless and dishonest connections, over real sockets."""

import asyncio
import resource
import socket
import time
from contextlib import asynccontextmanager, suppress

import pytest

from router.process.server import Admin, bind
from router.settings import Settings

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
        await asyncio.wait_for(reader.read(), 5.0)
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


async def test_a_silent_connection_is_closed(port):
    """Connected and never a byte: closed at the head timeout."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert 0.2 < await _closed_after(reader) < 1.0
    writer.close()


@pytest.mark.parametrize(
    "first", [b"POST /v1/classify HTTP/1.1\r\nx-slow: ", HEAD % len(BODY) + BODY]
)
async def test_a_dripping_head_is_closed(port, first):
    """A byte now and then keeps no connection open, on the first request or on a later one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    if first.endswith(BODY):
        await reader.readuntil(b"}")
        writer.write(SLOW)
    dripping = asyncio.create_task(_drip(writer))
    assert 0.2 < await _closed_after(reader) < 1.0
    await dripping


async def test_an_endless_head_is_refused_by_size(port):
    """A head of a megabyte is cut off long before its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /v1/classify HTTP/1.1\r\n" + b"x-big: " + b"a" * 1_000_000)
    reply = b""
    with suppress(ConnectionError):
        reply = await asyncio.wait_for(reader.read(), 1.0)
    assert reply.startswith(b"HTTP/1.1 431")
    writer.close()


async def test_a_slow_body_is_a_408(port):
    """A body that does not arrive in time is refused, and the connection closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HEAD % 100 + b'{"text": "')
    reply = await asyncio.wait_for(reader.read(), 2.0)
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
    reply = await asyncio.wait_for(reader.read(), 2.0)
    assert reply.startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_lying_length_cannot_smuggle_a_second_request(port):
    """Both Content-Length and chunked in one request: 400, and nothing else is read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n"
        b"transfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    reply = await asyncio.wait_for(reader.read(), 2.0)
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
        replies = (await asyncio.wait_for(reader.read(), 2.0)).split(b"HTTP/1.1 ")[1:]
        assert [int(reply[:3]) for reply in replies] == [status, 404], (cut, replies)
        writer.close()


async def test_connect_opens_no_tunnel(port):
    """CONNECT is refused once, and what follows it is not read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"CONNECT x:80 HTTP/1.1\r\nhost: x:80\r\n\r\n" + _INNER)
    reply = await asyncio.wait_for(reader.read(), 2.0)
    assert reply.startswith(b"HTTP/1.1 400")
    assert reply.count(b"HTTP/1.1 ") == 1
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
    assert (await asyncio.wait_for(reader.readline(), 2.0)).startswith(b"HTTP/1.1 200")
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
            await asyncio.wait_for(_ask_for_ever(client, asking * 50), 20.0)
