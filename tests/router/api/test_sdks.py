"""Structured classification by the SDKs that write it, in an environment of their own."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from router.ledger.read import read_entries
from tests.router.api.sdks.run import CASES, ask_with

pytestmark = [pytest.mark.e2e, pytest.mark.sdks]
TOKEN = "a-long-enough-admin-token"


@pytest.mark.parametrize("route", ["student", "teacher"])
@pytest.mark.parametrize("name", CASES)
async def test_the_sdk_reads_the_label_in_the_shape_that_it_asked_for(
    upstream, folder_of, serve, tmp_path, name, route
):
    """Sure: the student answers and the teacher hears nothing; unsure: one call, the same shape."""
    asked = []

    async def teacher(request):
        asked.append(await request.json())
        top = [{"token": "YES", "logprob": -0.01}, {"token": "NO", "logprob": -5}]
        logprobs = {"content": [{"token": "YES", "logprob": -0.01, "top_logprobs": top}]}
        message = {"role": "assistant", "content": "YES"}
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
        usage = {"prompt_tokens": 20, "completion_tokens": 1}
        return web.json_response({"choices": [choice], "usage": usage})

    at = folder_of({"base_url": await upstream(teacher), "timeout_s": 30})
    ledger = tmp_path / "l.sqlite"
    router = await asyncio.to_thread(
        serve, "--ledger", str(ledger), "--admin-port", "0", at=at, admin_token=TOKEN
    )
    if route == "teacher":
        headers = {"authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            where = router.admin + "/tasks/urgent/threshold"
            async with session.put(where, json={"threshold": 1}) as response:
                assert response.status == 200, await response.text()
    asked.clear()  # it is tried once at the start
    answers = await ask_with(name, router.url + "/v1", "none")
    assert await asyncio.to_thread(router.stop) == 0
    assert [a for a in answers if a["label"] != "urgent"] == []
    assert [entry.route for entry in read_entries(ledger)] == [route] * len(answers)
    assert len(asked) == (len(answers) if route == "teacher" else 0)
