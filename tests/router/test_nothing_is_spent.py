"""`teacher.max_usd_per_hour: 0` spends nothing at the teacher, whatever is sent."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import web

from router.ledger.read import read_entries

pytestmark = pytest.mark.e2e
OWN = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]
CHAT = "/v1/chat/completions"
OTHER = {"model": "big", "messages": [{"role": "user", "content": "Hi"}]}
REQUESTS = [
    ("/v1/classify", {"text": "help"}),
    ("/v1/classify", {"text": "help", "threshold": 1}),
    ("/v1/classify", {"text": ["help", "me"], "threshold": 1}),
    ("/classify", {"input": ["help", "me"]}),
    (CHAT, {"model": "big", "messages": OWN}),
    (CHAT, {"model": "big", "messages": OWN, "stream": True}),
    (CHAT, {"model": "big", "messages": OWN, "n": 2}),
    (CHAT, {"model": "big", "messages": OWN, "logprobs": True}),
    (CHAT, OTHER),
    (CHAT, OTHER | {"stream": True}),
    (CHAT, OTHER | {"model": "another"}),
    ("/v1/completions", {"model": "big", "prompt": "Hi"}),
    ("/v1/embeddings", {"model": "big", "input": "Hi"}),
    ("/v1/responses", {"model": "big", "input": "Hi"}),
]


@pytest.mark.parametrize("workers", [1, 2])
async def test_with_no_budget_no_call_reaches_the_teacher(
    upstream, folder_of, serve, tmp_path, workers
):
    """At the start, for requests, past the student, in audits, whatever threshold is asked for."""
    asked = []

    async def handler(request):
        asked.append(request.path)
        return web.json_response({})

    teacher = {"base_url": await upstream(handler), "max_usd_per_hour": 0}
    at = folder_of(teacher, audit_rate=1)
    ledger = tmp_path / "l.sqlite"
    router = await asyncio.to_thread(
        serve, "--ledger", str(ledger), "--workers", str(workers), at=at
    )
    async with aiohttp.ClientSession() as session:
        for path, body in REQUESTS:
            for headers in ({}, {"x-raisehand-threshold": "1"}):
                url = router.url + path
                async with session.post(url, json=body, headers=headers) as response:
                    assert response.status in (200, 404, 429), await response.text()
    assert await asyncio.to_thread(router.stop) == 0
    assert asked == []
    entries = list(read_entries(ledger))
    assert len(entries) >= len(REQUESTS)
    assert {entry.teacher_usd for entry in entries} == {0}
    assert {entry.attempts for entry in entries} == {0}
