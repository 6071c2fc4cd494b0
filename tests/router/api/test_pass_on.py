"""OpenAI's other routes go to the teacher by the rules of what is passed on."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal

import aiohttp
import pytest
from aiohttp import web

from router.policy import Reason, Route
from router.teacher.budget import EscalationBudget
from router.teacher.token_bucket import TokenBucket

pytestmark = pytest.mark.e2e
PATHS = ["/v1/completions", "/v1/embeddings", "/v1/responses"]
QUESTION = {"model": "big", "input": "Hi", "prompt": "Hi"}


@pytest.fixture
def teacher(upstream):
    """A teacher that counts tokens as each route names them, and what it was asked."""

    async def start():
        asked = []

        async def handler(request):
            asked.append((request.path, await request.read()))
            usage = {"prompt_tokens": 1_000, "total_tokens": 1_000}
            if request.path.endswith("responses"):
                usage = {"input_tokens": 1_000, "output_tokens": 0}
            return web.json_response({"model": "big", "usage": usage})

        return await upstream(handler), asked

    return start


@pytest.mark.parametrize("path", PATHS)
async def test_a_call_goes_on_byte_for_byte_and_is_booked(teacher, behind, path):
    """To the same path below the teacher's base URL, under its own surface in the ledger."""
    url, asked = await teacher()
    made = await behind(url)
    body = json.dumps(QUESTION, indent=1).encode()
    response = await made.post(path, body)
    assert (response.status, asked) == (200, [(path, body)])
    assert response.headers["x-raisehand-cost-usd"] == "0.001000000000"
    [entry] = made.ledger.entries
    assert (entry.surface, entry.reason) == (path.rpartition("/")[2], Reason.PASSTHROUGH)
    assert (entry.teacher_usd, entry.model) == (Decimal("0.001"), "big")


@pytest.mark.parametrize("path", PATHS)
async def test_the_same_rules_hold(teacher, behind, path):
    """No other model, no spent budget, no request that forbids the teacher, no hidden bill."""
    url, asked = await teacher()
    bucket = TokenBucket(0 / 3600, 60, time.monotonic())
    made = await behind(url, budget=EscalationBudget(usd=bucket))
    refused = {
        404: QUESTION | {"model": "gpt-6-pro-most-expensive"},
        429: QUESTION,
        400: QUESTION | {"background": True},
    }
    for status, question in refused.items():
        response = await made.post(path, question)
        assert response.status == status
        assert {"message", "type", "param", "code"} == set(response.json["error"])
    assert (await made.post(path, QUESTION | {"student_only": True})).status == 400
    assert asked == []
    assert {entry.route for entry in made.ledger.entries} == {Route.REFUSED}


async def test_off_passes_nothing_on(teacher, behind):
    """The answer says where to allow it."""
    url, asked = await teacher()
    made = await behind(url, passthrough="off")
    response = await made.post("/v1/embeddings", QUESTION)
    assert (response.status, asked) == (404, [])
    assert "teacher.passthrough" in response.json["error"]["message"]


@pytest.mark.parametrize("policy", ["task_model", "off"])
async def test_a_picture_of_twelve_megabytes_reaches_the_teacher(
    upstream, folder_of, serve, tmp_path, policy
):
    """Over a real socket and byte for byte; a router that passes nothing on takes no such body."""
    asked = []

    async def handler(request):
        asked.append(await request.read())
        return web.json_response({"model": "big", "usage": {"prompt_tokens": 9, "total_tokens": 9}})

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/{path:.*}", handler)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    at = folder_of({"base_url": url, "passthrough": policy})
    router = await asyncio.to_thread(serve, "--ledger", str(tmp_path / "l.sqlite"), at=at)
    asked.clear()  # it is tried once at the start
    picture = {
        "type": "image_url",
        "image_url": {"url": "data:image/png;base64," + "A" * 12_000_000},
    }
    message = {"role": "user", "content": [picture]}
    body = json.dumps({"model": "big", "messages": [message]}).encode()
    async with aiohttp.ClientSession() as session:
        async with session.post(router.url + "/v1/chat/completions", data=body) as response:
            assert response.status == (200 if policy == "task_model" else 413)
        async with session.post(router.url + "/v1/classify", data=body) as response:
            assert response.status == 413
    assert asked == ([body] if policy == "task_model" else [])
    assert await asyncio.to_thread(router.stop) == 0
    await runner.cleanup()
