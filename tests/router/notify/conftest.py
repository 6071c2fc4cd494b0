"""A receiver of webhooks behind a real socket."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from tests.waiting import PATIENCE_S


@dataclass
class Receiver:
    """Takes posts and answers with the statuses it was given, then with 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    slow_s: float = 0.0
    heads: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    taken: list[dict] = field(default_factory=list)
    """What was answered with 200."""

    async def answer(self, request):
        """Take one post."""
        body = await request.read()
        self.heads.append({name.lower(): value for name, value in request.headers.items()})
        self.bodies.append(body)
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        status = self.statuses.pop(0) if self.statuses else 200
        if status == 307:
            raise web.HTTPTemporaryRedirect(location=f"{self.url}/elsewhere")
        if status == 200:
            self.taken.append(json.loads(body))
        return web.Response(status=status)

    async def got(self, n):
        """Wait until so many were taken."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.taken) < n:
                await asyncio.sleep(0.01)


@pytest.fixture
async def receive():
    """Start receivers; stopped when the test is over."""
    runners = []

    async def start(ssl_context=None, **behaviour):
        receiver = Receiver(**behaviour)
        app = web.Application()
        app.router.add_post("/{path:.*}", receiver.answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context).start()
        scheme = "https" if ssl_context else "http"
        receiver.url = f"{scheme}://127.0.0.1:{runner.addresses[0][1]}/hook"
        return receiver

    yield start
    for runner in runners:
        await runner.cleanup()
