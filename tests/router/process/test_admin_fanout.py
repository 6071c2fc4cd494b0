"""Several workers as one for an operator: one is told, all are waited for."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from router.process.admin_fanout import MAX_BODY_BYTES, Relay
from router.process.server import Admin
from router.settings import Settings


class Worker:
    """The admin socket of one worker, that swaps as told and refuses what it is told to."""

    def __init__(self, path):
        self.path = path
        self.bundle = "a"
        self.version = 1
        self.fault = None
        self.refuses = False
        self.told = []

    def go(self, bundle):
        """Be where an operator's change leads."""
        self.bundle, self.version = bundle, 2

    async def __aenter__(self):
        async def look(request):
            task = {"bundle": self.bundle, "version": self.version, "fault": self.fault}
            return JSONResponse({"draining": False, "version": 0, "tasks": {"urgent": task}})

        async def swap(request):
            body = await request.json()
            self.told.append(body["bundle"])
            if self.refuses:
                return JSONResponse({"error": "no such bundle"}, 409)
            self.go(body["bundle"])
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


async def test_a_change_is_answered_when_all_have_followed(workers, tell):
    """One worker is told; the others follow by themselves."""
    changing = asyncio.create_task(tell(*SWAP))
    await asyncio.sleep(0.2)
    assert not changing.done()
    assert (await tell(*SWAP))[0] == 409
    for worker in workers[1:]:
        worker.go("b")
    status, body = await changing
    assert (status, [w["bundle"] for w in body["workers"]]) == (200, ["b"] * 3)
    assert [w.told for w in workers] == [["b"], [], []]
    _, body = await tell("GET", "/state")
    assert [w["tasks"]["urgent"]["bundle"] for w in body["workers"]] == ["b"] * 3


async def test_what_the_first_refuses_is_refused(workers, tell):
    """In the worker's own words; nobody is waited for."""
    workers[0].refuses = True
    assert await tell(*SWAP) == (409, {"error": "no such bundle"})
    assert [w.told for w in workers] == [["b"], [], []]


async def test_a_worker_that_cannot_follow_is_named(workers, tell):
    """The operator learns which worker did not do what the others did, and why."""
    workers[1].go("b")
    workers[2].fault = "bundle b is not here"
    status, body = await tell(*SWAP)
    assert status == 409
    assert "worker 2: bundle b is not here" in body["error"]["message"]


async def test_a_worker_that_is_away_is_not_waited_for(workers, tell):
    """The next one is told; when it is back it goes there by itself."""
    await workers[0].__aexit__()
    workers[2].go("b")
    status, body = await tell(*SWAP)
    assert (status, [w and w["bundle"] for w in body["workers"]]) == (200, [None, "b", "b"])


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
