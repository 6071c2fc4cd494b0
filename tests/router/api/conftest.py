"""A router that passes calls on to a teacher behind a real socket."""

from __future__ import annotations

import pytest

from router.process.app import create_app
from router.service.passthrough import Passthrough
from router.service.served import Served


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
