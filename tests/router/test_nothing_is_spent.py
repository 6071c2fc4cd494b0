"""`teacher.max_usd_per_hour: 0` spends nothing at the teacher, whatever is sent."""

from __future__ import annotations

import asyncio
import itertools
import json

import aiohttp
import pytest
from aiohttp import web

from router.ledger.read import read_entries
from students.runtime.bundle import find_bundle
from students.task import load_task

pytestmark = pytest.mark.e2e
TOKEN = "a-long-enough-admin-token"
OWN = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]
OTHER = [{"role": "user", "content": "Hi"}]
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["calm", "urgent"]}},
    "required": ["label"],
}
TOOL = {"type": "function", "function": {"name": "sort", "parameters": SCHEMA}}
QUESTIONS = {"label": {"type": "choice", "criteria": {"NO": None, "YES": None}}}
SURFACES = [
    ("/v1/classify", {"text": "help"}, [{"threshold": 1}, {"student_only": True}, {"top_k": 2}]),
    ("/v1/classify", {"text": ["help", "", "me"]}, [{"threshold": 1}]),
    ("/classify", {"input": ["help", "me"]}, [{"model": "urgent"}, {"model": "big"}]),
    (
        "/v1/systemone",
        {"model": "urgent", "state": "Message: help\nUrgent?", "questions": QUESTIONS},
        [{"state": "Hi"}],
    ),
    (
        "/v1/chat/completions",
        {"model": "big", "messages": OWN},
        [
            {"messages": OTHER}, {"model": "another"}, {"n": 2}, {"logprobs": True}, {"stop": "Y"},
            {"tools": [TOOL]}, {"tools": [TOOL], "tool_choice": "required"},
            {"response_format": {"type": "json_object"}}, {"unheard_of": 1},
        ],
    ),
    (
        "/v1/responses",
        {"model": "big", "instructions": "Say it.", "input": "Message: help\nUrgent?"},
        [{"input": "Hi"}, {"store": True}, {"previous_response_id": "resp_1"}],
    ),
    ("/v1/completions", {"model": "big", "prompt": "Hi"}, [{"logprobs": 5}, {"model": "other"}]),
    ("/v1/embeddings", {"model": "big", "input": "Hi"}, [{"input": ["a", "b"]}]),
]  # fmt: skip
"""Every surface with what it is asked, and what may stand beside it."""
HEADERS = [{}, {"x-raisehand-threshold": "1"}]


def requests():
    """Every body with none, one or two of the fields beside it, whole and streamed."""
    for path, body, beside in SURFACES:
        pairs = [{}, *beside, *(a | b for a, b in itertools.combinations(beside, 2))]
        for extra, stream, headers in itertools.product(pairs, ({}, {"stream": True}), HEADERS):
            yield path, body | extra | stream, headers


@pytest.mark.parametrize("workers", [1, 2])
async def test_with_no_budget_no_call_reaches_the_teacher(
    upstream, folder_of, publish_bundle, serve, tmp_path, workers
):
    """At the start, for requests, past the student, in audits, from a canary, beside a shadow."""
    asked = []

    async def handler(request):
        asked.append(request.path)
        return web.json_response({})

    teacher = {"base_url": await upstream(handler), "max_usd_per_hour": 0}
    at = folder_of(teacher, audit_rate=1, promotion={"steps": [0.5], "step_audits": 5})
    first = find_bundle(load_task(at / "task.yaml").work_dir, None).id
    other, third = publish_bundle(at, "calm").id, publish_bundle(at, "urgent", rungs=(0.9,)).id
    ledger = tmp_path / "l.sqlite"
    router = await asyncio.to_thread(
        serve, "--ledger", str(ledger), "--workers", str(workers), "--bundle", first,
        "--admin-port", "0", at=at, admin_token=TOKEN,
    )  # fmt: skip
    async with aiohttp.ClientSession() as session:
        await _told(session, router, "canary", {"bundle": other, "share": 0.5})
        statuses = await _all_asked(session, router.url)
        await _told(session, router, "canary/end", {"promote": False})
        await _told(session, router, "shadow", {"bundle": third})
        statuses |= await _all_asked(session, router.url)
    assert await asyncio.to_thread(router.stop) == 0
    assert asked == []
    assert statuses <= {200, 400, 404, 429}
    entries = list(read_entries(ledger))
    assert {entry.surface for entry in entries} >= {
        "classify", "vllm_classify", "systemone", "chat", "responses", "completions", "embeddings",
    }  # fmt: skip
    assert {entry.bundle for entry in entries} >= {first, other}
    assert {entry.teacher_usd for entry in entries} == {0}
    assert {entry.attempts for entry in entries} == {0}


async def _told(session, router, what, body):
    headers = {"authorization": f"Bearer {TOKEN}"}
    url = f"{router.admin}/tasks/urgent/{what}"
    async with session.post(url, json=body, headers=headers) as response:
        assert response.status == 200, await response.text()


async def _all_asked(session, url):
    statuses = set()
    for path, body, headers in requests():
        async with session.post(url + path, json=body, headers=headers) as response:
            said = await response.read()
            assert response.status < 500, (path, json.dumps(body), said)
            statuses.add(response.status)
    return statuses
