"""What is not the task's goes to the teacher byte for byte and comes back as it arrives."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest
from aiohttp import web

from router.policy import Reason, Route
from router.process.app import create_app
from router.process.server import Admin, bind
from router.service.passthrough import Passthrough
from router.service.served import Served
from router.settings import Settings
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
PATH = "/v1/chat/completions"
OTHER = b'{"model": "big",  "messages": [{"role": "user", "content": "Hi"}], "tools": [] }'
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500}


async def test_bytes_go_on_untouched_and_the_answer_comes_back_whole(upstream, behind):
    """The body is not re-encoded, the client's key goes along, tokens are booked and priced."""
    seen = {}

    async def handler(request):
        seen.update(body=await request.read(), key=request.headers["authorization"])
        return web.json_response({"choices": [], "usage": USAGE}, status=200)

    made = await behind(await upstream(handler))
    response = await made.post(PATH, OTHER, [(b"authorization", b"Bearer mine")])
    assert seen == {"body": OTHER, "key": "Bearer mine"}
    assert response.json["usage"] == USAGE
    assert response.headers["x-raisehand-reason"] == "passthrough"
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason) == (Route.TEACHER, Reason.PASSTHROUGH)
    assert (entry.input_tokens, entry.output_tokens) == (1_000, 500)
    assert float(entry.teacher_usd) == pytest.approx(0.002)
    assert made.student.calls == []


def gzipping(document, **headers):
    """A teacher that compresses for whoever takes it, as hosted ones do."""

    async def handler(request):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        sent = {"content-type": "application/json"} | headers
        if "gzip" in request.headers.get("accept-encoding", ""):
            body, sent["content-encoding"] = gzip.compress(body), "gzip"
        return web.Response(body=body, headers=sent)

    return handler


@pytest.mark.parametrize("offered", [None, "identity", "gzip", "gzip, br", "br", "gzip;q=0, *"])
@pytest.mark.parametrize("size", [1, 2_000])
async def test_a_compressed_answer_is_whole_and_its_bill_right(upstream, behind, offered, size):
    """The client gets what it can read, labelled as what it is; the teacher's tokens are booked."""
    document = {"model": "big", "choices": [{"logprobs": "long " * 50}] * size, "usage": USAGE}
    made = await behind(await upstream(gzipping(document)))
    headers = [] if offered is None else [(b"accept-encoding", offered.encode())]
    response = await made.post(PATH, OTHER, headers)
    compressed = response.headers.get("content-encoding") == "gzip"
    assert compressed is (offered in ("gzip", "gzip, br"))
    body = gzip.decompress(response.body) if compressed else response.body
    assert json.loads(body) == document
    assert int(response.headers["content-length"]) == len(response.body)
    [entry] = made.ledger.entries
    assert (entry.input_tokens, entry.output_tokens, entry.estimated) == (1_000, 500, False)
    assert response.headers["x-raisehand-cost-usd"] == "0.002000000000"


async def test_a_stream_is_asked_for_plain_and_tells_its_cost(upstream, behind):
    """Its cost is known at its end: a comment before [DONE], however the two arrive."""
    events = [b'data: {"choices": []}\n\n', b"data:" + json.dumps({"usage": USAGE}).encode()]

    async def handler(request):
        assert request.headers["accept-encoding"] == "identity"
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for part in [*events, b"\n", b"\n", b"data: [DONE]\n\n"]:
            await response.write(part)
            await asyncio.sleep(0.01)
        return response

    made = await behind(await upstream(handler))
    question = json.dumps(json.loads(OTHER) | {"stream": True}).encode()
    response = await made.post(PATH, question, [(b"accept-encoding", b"gzip")])
    assert response.headers["x-raisehand-cost-usd"] == "later"
    comment = b": x-raisehand-cost-usd: 0.002000000000\n\n"
    assert response.body == b"".join([*events, b"\n\n", comment, b"data: [DONE]\n\n"])


async def test_all_headers_go_both_ways_but_those_of_one_hop(upstream, behind):
    """Ids, limits and vendors' headers pass; hops, cookies and what names a place do not."""
    seen = {}

    async def handler(request):
        seen.update({name.lower(): value for name, value in request.headers.items()})
        back = {
            "x-ratelimit-remaining": "7",
            "retry-after-ms": "3",
            "x-should-retry": "true",
            "openai-version": "2",
            "x-request-id": "theirs",
            "set-cookie": "a=b",
            "alt-svc": "h3",
            "connection": "x-hop",
            "x-hop": "1",
            "x-raisehand-route": "student",
        }
        return web.json_response({"usage": USAGE}, headers=back)

    made = await behind(await upstream(handler))
    passed = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "openai-organization": "us",
        "idempotency-key": "k",
        "x-stainless-lang": "python",
        "user-agent": "mine",
        "authorization": "Bearer mine",
    }
    kept = {
        "cookie": "c=d",
        "te": "trailers",
        "x-hop": "1",
        "connection": "close, x-hop",
        "x-raisehand-threshold": "1",
        "expect": "100-continue",
    }
    given = {**passed, **kept, "x-request-id": "abc-1"}
    headers = [(name.encode(), value.encode()) for name, value in given.items()]
    response = await made.post(PATH, OTHER, headers)
    assert passed.items() <= seen.items()
    assert not kept.keys() - {"connection"} & seen.keys()
    assert seen["x-request-id"] == "abc-1"
    got = response.headers
    assert (got["x-ratelimit-remaining"], got["retry-after-ms"]) == ("7", "3")
    assert (got["x-should-retry"], got["openai-version"]) == ("true", "2")
    assert not {"set-cookie", "alt-svc", "connection", "x-hop"} & got.keys()
    assert (got["x-request-id"], got["x-raisehand-teacher-request-id"]) == ("abc-1", "theirs")
    assert (got["x-raisehand-route"], got["x-raisehand-bundle"]) == ("teacher", "bundle000001")
    assert made.ledger.entries[0].request_id == "abc-1"


async def test_the_routers_own_key_replaces_the_clients(upstream, behind, monkeypatch):
    """Where the router pays, no key of a client reaches the teacher, whatever its header."""
    seen = {}

    async def handler(request):
        seen.update(request.headers)
        return web.json_response({})

    monkeypatch.setenv("TEACHER_KEY", "ours")
    made = await behind(await upstream(handler), api_key_env="TEACHER_KEY")
    keys = [(name, b"mine") for name in (b"authorization", b"api-key", b"x-api-key")]
    await made.post(PATH, OTHER, keys)
    assert seen["Authorization"] == "Bearer ours"
    assert "mine" not in seen.values()


async def test_the_teachers_own_refusal_comes_back_as_it_is(upstream, behind):
    """A 422 of the teacher is the client's to see, body and Retry-After included."""

    async def handler(request):
        return web.json_response({"error": "no"}, status=422, headers={"Retry-After": "7"})

    made = await behind(await upstream(handler))
    response = await made.post(PATH, OTHER)
    assert (response.status, response.json) == (422, {"error": "no"})
    assert response.headers["retry-after"] == "7"


async def test_a_stream_is_not_held_back(upstream, behind):
    """The first event reaches the client while the teacher is still working on the second."""
    reached = asyncio.Event()

    async def handler(request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": [{"delta": {"content": "A"}}]}\n\n')
        await asyncio.wait_for(reached.wait(), PATIENCE_S)
        await response.write(b"data: " + json.dumps({"usage": USAGE}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response

    made = await behind(await upstream(handler))

    class Listening(made.Cycle):
        async def send(self, message):
            await super().send(message)
            if b'"A"' in message.get("body", b""):
                reached.set()

    response = await made.send(PATH, [], cycle=Listening([OTHER]))
    assert response.body.endswith(b"[DONE]\n\n")
    assert made.ledger.entries[0].output_tokens == 500


async def test_a_client_that_leaves_ends_the_call_and_the_bill_is_kept(upstream, behind):
    """When the client hangs up mid-stream the teacher is cut off, and the entry says why."""
    cut = asyncio.Event()

    async def handler(request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            for _ in range(500):
                await response.write(b"data: {}\n\n")
                await asyncio.sleep(0.01)
        except (ConnectionError, asyncio.CancelledError):
            cut.set()
            raise
        return response

    made = await behind(await upstream(handler))

    class Leaving(made.Cycle):
        async def send(self, message):
            await super().send(message)
            self.disconnected = len(self.messages) > 3

    await made.send(PATH, [], cycle=Leaving([OTHER]))
    await asyncio.wait_for(cut.wait(), PATIENCE_S)
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason) == (Route.REFUSED, Reason.CLIENT_GONE)
    assert entry.estimated
    assert entry.attempts == 1


async def test_an_unreachable_teacher_is_a_503_with_its_reason(behind):
    """Nothing listens: one sentence, OpenAI-shaped, booked."""
    made = await behind("http://127.0.0.1:9/v1")
    response = await made.post(PATH, OTHER)
    assert response.status == 503
    assert response.json["error"]["code"] == "teacher_unavailable"
    assert made.ledger.entries[0].reason is Reason.TEACHER_UNAVAILABLE


async def test_a_client_that_reads_nothing_is_given_up(upstream, rig, make_task):
    """Over a real socket: the teacher's slot is free again, what was generated is booked."""
    cut = asyncio.Event()

    async def handler(request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            while True:
                await response.write(b"data: {}\n\n" + b": padding\n" * 10_000)
        except (ConnectionError, asyncio.CancelledError):
            cut.set()
            raise

    url = await upstream(handler)
    task = make_task(teacher={"base_url": url})
    made = await rig(task=task)
    passthrough = Passthrough(task.teacher, made.pipeline, made.pipeline.clock)
    made.service.tasks[task.name] = Served(task, made.pipeline, passthrough)
    listener = bind("127.0.0.1", 0)
    server = Admin(create_app(made.service), listener, Settings(answer_timeout_s=0.2))
    server.start()
    while not server.started:
        await asyncio.sleep(0.001)
    _, writer = await asyncio.open_connection("127.0.0.1", listener.getsockname()[1], limit=1)
    head = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(OTHER)}\r\n\r\n"
    writer.write(head.encode() + OTHER)
    await asyncio.wait_for(cut.wait(), PATIENCE_S)
    await asyncio.sleep(0.05)
    assert passthrough.guard.bulkhead.inflight == 0
    [entry] = made.ledger.entries
    assert (entry.reason, entry.estimated) == (Reason.CLIENT_GONE, True)
    assert entry.output_tokens > 0
    writer.transport.abort()
    await server.stop()
