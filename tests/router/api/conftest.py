"""A router that passes calls on to a teacher behind a real socket."""

from __future__ import annotations

import pytest
from aiohttp import web

from router.api.passthrough import Passthrough
from router.api.tasks import Served
from router.process.app import create_app


@pytest.fixture
async def upstream():
    """Start a teacher's server around a handler; stopped when the test is over."""
    runners = []

    async def start(handler):
        app = web.Application()
        app.router.add_post("/v1/{path:.*}", handler)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/v1"

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def behind(rig, make_task):
    """Build a router that passes on to a teacher at a URL."""

    async def build(url, *, limits=None, budget=None, **teacher):
        task = make_task(teacher={"base_url": url, **teacher})
        made = await rig(task=task, budget=budget)
        passthrough = Passthrough(
            task.teacher, made.pipeline, made.pipeline.clock, **(limits or {})
        )
        made.service.tasks[task.name] = Served(task, made.pipeline, passthrough)
        made.app = create_app(made.service)
        return made

    return build
