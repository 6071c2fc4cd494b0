"""The express lane over real sockets: the same answers as the application, and nothing lost."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from router.http.lane import FRESH_S, SLICE
from router.http.wire.head import Heads
from router.http.wire.incoming import Incoming
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.process.server import Admin, bind, express_lane
from router.settings import Settings
from tests.waiting import PATIENCE_S

SETTINGS = Settings(max_body_bytes=10_000)
CHAT = {
    "model": "big",
    "messages": [
        {"role": "system", "content": "Say it."},
        {"role": "user", "content": "Message: help\nUrgent?"},
    ],
}
VARIES = {"id", "created"}
VARIES_TOO = {b"server-timing", b"x-request-id", b"date", b"content-length"}


@asynccontextmanager
async def _listening(made, keep_alive_s=5.0):
    """A router with an express lane; yields its port and the lane."""
    listener, lane = bind("127.0.0.1", 0), express_lane(made.service)
    server = Admin(made.app, listener, SETTINGS, lane)
    server.config.timeout_keep_alive = keep_alive_s
    server.start()
    while not server.started:
        await asyncio.sleep(0.001)
    try:
        yield listener.getsockname()[1], lane
    finally:
        await server.stop()


def request(body, path="/v1/classify", method="POST", extra="", length=None):
    """One request as it arrives."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\n{extra}"
        f"Content-Length: {len(data) if length is None else length}\r\n\r\n"
    )
    return head.encode() + data


async def reply(reader):
    """Read one answer: status, headers, body."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n"))[:-4].split(b"\r\n")
    headers = dict(line.lower().split(b": ", 1) for line in lines)
    body = await reader.readexactly(int(headers.get(b"content-length", 0)))
    return int(first.split()[1]), headers, body


def parsed(whole):
    """The request as the connection hands it on."""
    return Incoming(Heads(), 10_000).feed(whole)


async def ask(port, *parts, pause_s=0.02):
    """Send parts on one connection with a pause between them; return the one answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(pause_s)
    answer = await asyncio.wait_for(reply(reader), PATIENCE_S)
    writer.close()
    return answer


def _comparable(answer):
    status, headers, body = answer
    if body.startswith(b"data: "):
        events = [json.loads(e[6:]) for e in body.split(b"\n\n")[:-2]]
    else:
        events = [json.loads(body)]
    for each in [*events, *(item for event in events for item in event.get("data", ()))]:
        for name in VARIES:
            each.pop(name, None)
    return status, {k: v for k, v in headers.items() if k not in VARIES_TOO}, events


async def _seen(student):
    """Wait until the student has a batch."""
    while not student.calls:
        await asyncio.sleep(0.001)


async def _slow_first(made, port):
    """Send a request that keeps the student busy for 0.3 s; return its answer to come."""
    made.student.delay_s = 0.3
    first = asyncio.ensure_future(ask(port, request({"text": "help first"})))
    await _seen(made.student)
    made.student.delay_s = 0.0
    return first


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/classify", {"text": "help"}),
        ("/v1/classify", {"text": "help", "top_k": 2, "model": "urgent"}),
        ("/v1/classify", {"text": "maybe"}),
        ("/v1/classify", {"text": "poison"}),
        ("/v1/classify", {"text": ["help", "calm"]}),
        ("/v1/classify", {"text": ""}),
        ("/v1/classify", {"txt": "help"}),
        ("/v1/classify", b"{"),
        ("/v1/classify", {"text": "help", "deadline_ms": 1e-9}),
        ("/v1/chat/completions", CHAT),
        ("/v1/chat/completions", CHAT | {"stream": True}),
        ("/v1/chat/completions", CHAT | {"model": "nobody"}),
        ("/v1/systemone", {"model": "urgent", "state": "x", "questions": {}}),
    ],
)
async def test_both_lanes_give_the_same_answer(rig, path, body):
    """On the express lane, and through the application: equal but for ids."""
    made = await rig(settings=SETTINGS)
    whole = request(body, path)
    async with _listening(made) as (port, lane):
        express = await ask(port, whole)
        lane._routes = {}
        asgi = await ask(port, whole)
    assert _comparable(express) == _comparable(asgi)
    assert len(made.ledger.entries) % 2 == 0


async def test_pipelined_requests_are_answered_one_by_one_in_order(rig):
    """Five requests sent at once, an escalated one among them, come back in their order."""
    made = await rig(settings=SETTINGS)
    texts = ["help 1", "maybe 2", "calm 3", "help 4", "maybe 5"]
    async with _listening(made) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request({"text": "help 0"}))
        await asyncio.sleep(0)
        for n, text in enumerate(texts):
            writer.write(request({"text": text}, extra=f"X-Request-Id: r-{n}\r\n"))
        answers = [await asyncio.wait_for(reply(reader), PATIENCE_S) for _ in range(6)]
        writer.close()
    assert [headers[b"x-request-id"] for _, headers, _ in answers[1:]] == [
        b"r-0", b"r-1", b"r-2", b"r-3", b"r-4",
    ]  # fmt: skip
    assert {status for status, _, _ in answers} == {200}
    assert len(made.ledger.entries) == 6


@pytest.mark.parametrize(
    "split",
    [
        lambda whole: [whole],
        lambda whole: whole.partition(b"\r\n\r\n"),
        lambda whole: [whole[i : i + 1] for i in range(len(whole))],
        lambda whole: [whole.replace(b"HTTP/1.1", b"HTTP/1.0")],
        lambda whole: [whole.replace(b"Host: x", b"Host: x\r\nConnection: close")],
        lambda whole: [whole.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue")],
        lambda whole: [whole.replace(b"Host: x", b"Host: x\r\nX: " + b"a" * 5_000)],
        lambda whole: [whole.replace(b"/v1/classify", b"/v1/classify?x=1")],
        lambda whole: [whole.replace(b"/v1/classify", b"/v1/%63lassify")],
        lambda whole: [whole.replace(b"/v1/classify", b"http://x/v1/classify")],
        lambda whole: [chunked(whole)],
    ],
)
async def test_the_lane_takes_every_way_a_request_is_written(rig, split):
    """Head and body apart, byte by byte, in chunks, as HTTP/1.0: answered on the lane."""
    made = await rig(settings=SETTINGS)
    async with _listening(made) as (port, lane):
        made.app.edge = None  # the application would not find the path
        status, _, body = await ask(port, *split(request({"text": "help"})), pause_s=0.0)
    assert (status, json.loads(body)["label"]) == (200, "urgent")
    assert lane._in_work == 0


def chunked(whole):
    """The same request in chunks of three bytes."""
    head, _, body = whole.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length")]
    chunks = [b"3;x=y\r\n%b\r\n" % body[i : i + 3] for i in range(0, len(body) // 3 * 3, 3)]
    rest = body[len(chunks) * 3 :]
    last = b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b""
    head = b"\r\n".join([*lines, b"Transfer-Encoding: chunked"])
    return head + b"\r\n\r\n" + b"".join(chunks) + last + b"0\r\nX-Trailer: 1\r\n\r\n"


@pytest.mark.parametrize(
    "whole",
    [request({"text": "help"}, path="/metrics"), request(b"", method="GET", path="/v1/classify")],
)
async def test_what_is_no_post_to_a_hot_route_is_left_alone(rig, whole):
    """Other paths and methods are for the application, full or not."""
    for limit in (1, 256):
        made = await rig(settings=Settings(max_body_bytes=10_000, max_in_work=limit))
        lane = express_lane(made.service)
        lane._in_work = 1
        assert not lane.take(Caller(), parsed(whole))
    assert not made.ledger.entries


@pytest.mark.parametrize("body", [{"text": ["help"]}, {"text": "help"}, b"{"])
async def test_what_is_one_too_many_is_refused_whatever_it_is(rig, body):
    """Lists, bodies in chunks, wrong bodies: admission looks at none of it."""
    made = await rig(settings=Settings(max_body_bytes=10_000, max_in_work=1))
    async with _listening(made) as (port, _):
        first = await _slow_first(made, port)
        assert (await ask(port, chunked(request(body))))[0] == 429
        assert (await first)[0] == 200


async def test_a_client_that_left_is_not_scored(rig):
    """A request whose client hangs up while the student is busy never reaches the student."""
    made = await rig(settings=SETTINGS)
    async with _listening(made) as (port, lane):
        first = await _slow_first(made, port)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request({"text": "help second"}))
        await asyncio.sleep(0.05)
        assert lane._in_work == 2
        writer.close()
        await asyncio.sleep(0.05)
        assert (await first)[0] == 200
        await asyncio.sleep(0.05)
    assert lane._in_work == 0
    assert len(made.ledger.entries) == 1


async def test_one_too_many_is_refused_at_once_and_the_connection_stays(rig):
    """The second of two in work gets a 429 with Retry-After; its connection serves the next."""
    made = await rig(settings=Settings(max_in_work=1))
    async with _listening(made) as (port, _):
        first = await _slow_first(made, port)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request({"text": "help second"}))
        status, headers, _ = await asyncio.wait_for(reply(reader), PATIENCE_S)
        assert (status, headers[b"retry-after"]) == (429, b"1")
        assert (await first)[0] == 200
        writer.write(request({"text": "help second"}))
        assert (await asyncio.wait_for(reply(reader), PATIENCE_S))[0] == 200
        writer.close()


class Caller:
    """A connection that notes what comes of its request."""

    tasks = ()
    disconnected = False
    became = None

    def answer(self, status, fields, body):
        """It was answered."""
        self.became = status

    def leave(self, request):
        """It was left to the application."""
        self.became = request


async def test_many_at_once_are_worked_on_in_slices(rig):
    """Of 100 requests in one tick a slice is begun; what waits may leave or be no plain one."""
    made = await rig(settings=SETTINGS)
    lane = express_lane(made.service)
    callers = [Caller() for _ in range(100)]
    plain, several = parsed(request({"text": "help"})), parsed(request({"text": ["help", "calm"]}))
    for n, caller in enumerate(callers):
        assert lane.take(caller, several if n == 98 else plain)
    assert lane._in_work == 100
    callers[99].disconnected = True
    [served] = made.service.tasks.values()
    assert served.pipeline.slot.current.batcher.depth == SLICE
    while lane._in_work:
        await asyncio.sleep(0.001)
    assert [c.became for c in callers] == [200] * 98 + [several, None]
    assert len(made.ledger.entries) == 98


@pytest.mark.parametrize(
    ("limit", "waited_s", "refused", "order"),
    [
        (50, 0.0, 0, range(72)),
        (50, 2 * FRESH_S, 10, [*range(32), *range(71, 41, -1)]),
        (80, 2 * FRESH_S, 0, range(72)),
    ],
)
async def test_while_too_many_wait_too_long_the_newest_goes_first(
    rig, limit, waited_s, refused, order
):
    """Ten refusals can be afforded and go to the oldest; with fewer in work all keep their turn."""
    made = await rig(settings=Settings(max_in_work=limit))
    lane = express_lane(made.service)
    affordable = iter([False] * (72 - limit) + [True] * 10)
    lane._door.affords = lambda: next(affordable, False)
    callers = [Caller() for _ in range(72)]
    for n, caller in enumerate(callers):
        one = parsed(request({"text": "help"}, extra=f"X-Request-Id: {n}\r\n"))
        assert lane.take(caller, one)
    made.student.delay_s = 0.05  # the first slice is in work until after the pause
    now = lane._clock
    lane._clock = lambda: now() + waited_s
    while lane._in_work:
        await asyncio.sleep(0.001)
    assert [c.became for c in callers] == [200] * 32 + [429] * refused + [200] * (40 - refused)
    assert [int(entry.request_id) for entry in made.ledger.entries] == list(order)


async def test_keys_are_asked_for_on_the_lane_too(rig):
    """Without a key 401, with one 200, over its rate 429: as through the application."""
    spec = KeySpec(name="app", sha256=sha256_of("rh-secret"), requests_per_second=1)
    made = await rig(settings=SETTINGS, keys=KeyRing([spec]))
    known = request({"text": "help"}, extra="Authorization: Bearer rh-secret\r\n")
    async with _listening(made) as (port, _):
        assert (await ask(port, request({"text": "help"})))[0] == 401
        assert (await ask(port, known))[0] == 200
        assert (await ask(port, known))[0] == 429
    assert [entry.client for entry in made.ledger.entries] == ["app"]


async def test_stopping_waits_for_the_request_on_the_lane(rig):
    """A server that stops answers what it took, then closes the connection."""
    made = await rig(settings=SETTINGS)
    async with _listening(made) as (port, _):
        made.student.delay_s = 0.3
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request({"text": "help"}))
        await _seen(made.student)
    status, headers, _ = await asyncio.wait_for(reply(reader), PATIENCE_S)
    assert (status, headers[b"connection"]) == (200, b"close")
    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
    writer.close()


async def test_only_an_idle_connection_is_closed(rig, stalls):
    """Used again within the keep-alive time it stays, also during a long answer; idle it goes."""
    made = await rig(settings=SETTINGS)
    async with _listening(made, keep_alive_s=2.0) as (port, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for delay_s in (0.0, 0.0, 2.5, 0.0, 0.0):
            made.student.delay_s = delay_s
            writer.write(request({"text": "help"}))
            assert (await asyncio.wait_for(reply(reader), PATIENCE_S))[0] == 200
            await asyncio.sleep(0.6)  # four of them are more than the keep-alive time
        idle_since = asyncio.get_running_loop().time()
        assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
        assert asyncio.get_running_loop().time() - idle_since < 2.5 + stalls.worst
        writer.close()


async def test_an_unforeseen_fault_is_a_json_500(rig, caplog):
    """A surface that breaks while it words an answer costs one request, not the batch."""
    made = await rig(settings=SETTINGS)
    async with _listening(made) as (port, lane):
        route, *_ = lane._routes["/v1/classify"]
        route.surface._encode = lambda body: 1 / 0
        status, _, body = await ask(port, request({"text": "help"}))
        assert status == 500
        assert json.loads(body)["error"]["type"] == "internal_error"
        assert (await ask(port, request(CHAT, "/v1/chat/completions")))[0] == 200
    assert "nobody foresaw" in caplog.text
