"""A running router says when its teacher answers as another model."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from router.ledger.read import read_entries

pytestmark = pytest.mark.e2e
TOKEN = "a-long-enough-admin-token"
OWN = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]
TOP = [{"token": "YES", "logprob": -0.01}, {"token": "NO", "logprob": -5}]
NAMES = ["big-2026-05-01", "big-2026-05-01", "big-2026-11-20", "big-2026-05-01"]


async def test_another_name_is_an_event_and_stands_in_answers_and_ledger(
    upstream, folder_of, serve, tmp_path
):
    """Once for each name, with the one before; priced as the same model, because an edition is."""
    asked = []

    async def teacher(request):
        asked.append(await request.json())
        message = {"role": "assistant", "content": "YES"}
        logprobs = {"content": [{"token": "YES", "logprob": -0.01, "top_logprobs": TOP}]}
        choice = {"message": message, "logprobs": logprobs, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1_000, "completion_tokens": 1}
        model = NAMES[max(0, len(asked) - 2)]  # it is tried once at the start
        return web.json_response({"model": model, "choices": [choice], "usage": usage})

    at = folder_of({"base_url": await upstream(teacher), "timeout_s": 30})
    ledger = tmp_path / "l.sqlite"
    router = await asyncio.to_thread(
        serve, "--ledger", str(ledger), "--admin-port", "0", at=at, admin_token=TOKEN
    )
    said = []
    async with aiohttp.ClientSession() as session:
        for _ in NAMES:
            body = {"model": "big", "messages": OWN}
            headers = {"x-raisehand-threshold": "1"}
            url = router.url + "/v1/chat/completions"
            async with session.post(url, json=body, headers=headers) as response:
                said.append((await response.json())["model"])
        events = []
        while not events:
            headers = {"authorization": f"Bearer {TOKEN}"}
            async with session.get(router.admin + "/board", headers=headers) as response:
                found = (await response.json())["events"]
            events = [event for event in found if event["kind"] == "teacher_model"]
            await asyncio.sleep(0.05)
    assert await asyncio.to_thread(router.stop) == 0
    assert said == NAMES
    [event] = events
    assert event["figures"] == {"model": NAMES[2], "before": NAMES[0]}
    entries = list(read_entries(ledger))
    assert [entry.model for entry in entries] == NAMES
    assert all(entry.teacher_usd for entry in entries)
    assert any("answers as 'big-2026-11-20'" in line for line in router.log)
