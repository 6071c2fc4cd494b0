"""Several workers as one for an operator: all or none, and latecomers catch up."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from router.process.admin_fanout import MAX_BODY_BYTES, Relay, steps
from router.process.server import Admin
from router.settings import Settings

TASK = {
    "bundle": "a", "previous": None, "canary": None, "canary_share": 0.0, "raised_threshold": None,
}  # fmt: skip


def state(draining=False, **changes):
    """State of a worker with one task."""
    return {"draining": draining, "tasks": {"urgent": TASK | changes}}


class Worker:
    """The admin socket of one worker, that swaps as told and refuses what it is told to."""

    def __init__(self, path):
        self.path = path
        self.bundle = "a"
        self.refuses = False
        self.told = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def __aenter__(self):
        async def look(request):
            return JSONResponse(state(bundle=self.bundle))

        async def swap(request):
            body = await request.json()
            self.told.append(body["bundle"])
            await self.answers.wait()
            if self.refuses:
                return JSONResponse({"error": "no such bundle"}, 409)
            self.bundle = body["bundle"]
            return JSONResponse({"bundle": self.bundle})

        routes = [
            Route("/state", look),
            Route("/tasks/{name}/bundle", swap, methods=["POST"]),
        ]
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.path))
        listener.setblocking(False)
        self.server = Admin(Starlette(routes=routes), listener, Settings())
        self.server.start()
        while not self.server.started:
            await asyncio.sleep(0.001)
        return self

    async def __aexit__(self, *_):
        await self.server.stop()
        self.path.unlink()


@pytest.fixture
async def workers(tmp_path):
    """Three workers that are there."""
    workers = [Worker(tmp_path / f"{i}.sock") for i in range(3)]
    for worker in workers:
        await worker.__aenter__()
    yield workers
    for worker in workers:
        if worker.path.exists():
            await worker.__aexit__()


@pytest.fixture
async def relay(workers):
    """The relay in front of them."""
    async with Relay([worker.path for worker in workers], "token") as relay:
        yield relay


@pytest.fixture
def tell(relay, request_asgi):
    """Ask the relay; returns status and JSON."""

    async def tell(method, path, body=b""):
        response = await request_asgi(relay, method, path, [body])
        return response.status, response.json

    return tell


SWAP = ("POST", "/tasks/urgent/bundle", b'{"bundle": "b"}')


async def test_a_change_is_made_everywhere(workers, relay, tell):
    """All workers are told, and asked for their state together."""
    status, body = await tell(*SWAP)
    assert (status, body["workers"]) == (200, [{"bundle": "b"}] * 3)
    _, body = await tell("GET", "/state")
    assert [w["tasks"]["urgent"]["bundle"] for w in body["workers"]] == ["b"] * 3


async def test_what_the_first_refuses_reaches_no_other(workers, relay, tell):
    """One refusal, in the worker's own words, and nothing has changed."""
    workers[0].refuses = True
    assert await tell(*SWAP) == (409, {"error": "no such bundle"})
    assert [w.told for w in workers] == [["b"], [], []]
    assert relay.wanted is None


async def test_a_later_refusal_says_who_differs(workers, relay, tell):
    """The operator learns which worker did not do what the others did."""
    workers[2].refuses = True
    status, body = await tell(*SWAP)
    assert status == 409
    assert "worker 2" in body["error"]["message"]
    assert [w.bundle for w in workers] == ["b", "b", "a"]


async def test_a_worker_that_is_away_is_told_when_it_is_back(workers, relay, tell):
    """Nobody waits for it; started again it is brought to where the others are."""
    await workers[0].__aexit__()
    status, body = await tell(*SWAP)
    assert (status, body["workers"]) == (200, [None, {"bundle": "b"}, {"bundle": "b"}])
    bringing = asyncio.create_task(relay.bring(0))
    await asyncio.sleep(0.05)
    await workers[0].__aenter__()
    await bringing
    assert workers[0].bundle == "b"


async def test_a_change_waits_for_a_worker_that_is_being_brought_up(workers, relay, tell):
    """Only another operator's change is in its way."""
    await workers[0].__aexit__()
    await tell(*SWAP)
    await workers[0].__aenter__()
    workers[0].answers.clear()
    bringing = asyncio.create_task(relay.bring(0))
    while not workers[0].told:
        await asyncio.sleep(0.01)
    change = asyncio.create_task(tell(*SWAP[:2], b'{"bundle": "c"}'))
    await asyncio.sleep(0.05)
    assert (await tell(*SWAP))[0] == 409
    workers[0].answers.set()
    assert (await change)[0] == 200
    await bringing
    assert [w.bundle for w in workers] == ["c"] * 3


async def test_without_workers_the_port_says_so(workers, tell):
    """503 in one sentence for a look and for a change."""
    for worker in workers:
        await worker.__aexit__()
    for method, path in (("GET", "/metrics"), SWAP[:2]):
        assert (await tell(method, path))[0] == 503
    assert (await tell("GET", "/state"))[1] == {"workers": [None, None, None]}


async def test_a_body_that_is_too_long_is_not_passed_on(workers, tell):
    """An operator's body has a few bytes; a longer one is a 413."""
    status, _ = await tell(*SWAP[:2], json.dumps({"bundle": "x" * MAX_BODY_BYTES}).encode())
    assert status == 413
    assert workers[0].told == []


@pytest.mark.parametrize(
    ("now", "wanted", "expected"),
    [
        ({}, {}, []),
        ({}, {"bundle": "b"}, [("bundle", "b")]),
        ({}, {"bundle": "b", "previous": "a"}, [("bundle", "a"), ("bundle", "b")]),
        ({}, {"bundle": "a", "previous": "b"}, [("bundle", "b"), ("rollback", None)]),
        ({"previous": "b"}, {"bundle": "a", "previous": "b"}, []),
        ({}, {"canary": "c", "canary_share": 0.1}, [("canary", "c")]),
        ({}, {"raised_threshold": 0.99}, [("threshold", None)]),
        ({}, {"draining": True}, [("drain", None)]),
    ],
)
def test_steps_lead_from_any_start_to_what_is_wanted(now, wanted, expected):
    """Which changes a worker that was just started is told."""
    made = list(steps(state(**now), state(**wanted)))
    assert [(path.rsplit("/", 1)[-1], body.get("bundle")) for _, path, body in made] == expected
