"""A small real HTTP server that answers as a test tells it, and tasks that point to it."""

import asyncio

import pytest
from aiohttp import web

from students.task import Task


class Server:
    """Answers every POST with `answer(path, body)`; remembers what was asked."""

    def __init__(self):
        self.asked = []
        self.headers = []
        self.queries = []
        self.answer = lambda path, body: {}
        self.base_url = ""
        self.delay_s = 0.0

    async def handle(self, request):
        """Answer one request."""
        await asyncio.sleep(self.delay_s)
        body = await request.json()
        self.asked.append((request.path, body))
        self.headers.append(dict(request.headers))
        self.queries.append(dict(request.query))
        answer = self.answer(request.path, body)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)


@pytest.fixture
async def server():
    """A running server on a free loopback port."""
    server = Server()
    app = web.Application()
    app.router.add_post("/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    server.base_url = f"http://127.0.0.1:{port}"
    yield server
    await runner.cleanup()


@pytest.fixture
def make_task(tmp_path):
    """Build a task around a teacher section."""

    def make(base_url="http://127.0.0.1:9", labels=("calm", "urgent"), **teacher):
        section = {
            "base_url": base_url,
            "model": "m",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
            **teacher,
        }
        return Task.model_validate(
            {
                "name": "t",
                "labels": list(labels),
                "teacher": section,
                "inputs": {"path": tmp_path / "none.csv"},
                "work_dir": tmp_path,
            }
        )

    return make
