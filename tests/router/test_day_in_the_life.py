"""A day in the life: real clients, a teacher with moods, operators at work; then the invoice."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import signal
from collections import Counter
from decimal import Decimal
from enum import StrEnum

import aiohttp
import httpx2
import openai
import pytest
import requests
from aiohttp import web
from pydantic import BaseModel

from router.keys.ring import KeySpec, save_keys, sha256_of
from router.ledger.read import read_entries
from students.runtime.bundle import find_bundle
from students.task import load_task
from tests.router.api.sdks.run import CASES, ask_with
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.e2e, pytest.mark.sdks]
KEYS = ("team-a", "team-b")
TOKEN = "a-long-enough-admin-token"
ROUNDS = 4
OWN = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]
OTHER = [{"role": "user", "content": "Tell me a story"}]
TOP = [{"token": "YES", "logprob": -0.01}, {"token": "NO", "logprob": -5}]
USAGE_ASKED = {"stream": True, "stream_options": {"include_usage": True}}
NAMED = {"teacher_throttled", "teacher_busy", "breaker_open"}
"""What a client may be refused with on such a day."""
REQUESTS = [
    ("/v1/classify", {"text": "help"}, {}),
    ("/v1/classify", {"text": "help", "threshold": 1}, {}),
    ("/v1/classify", {"text": ["help", "", "me"]}, {}),
    ("/v1/classify", {"text": ["help", "me"], "threshold": 1}, {}),
    ("/v1/chat/completions", {"model": "big", "messages": OWN}, {}),
    ("/v1/chat/completions", {"model": "big", "messages": OWN}, {"x-raisehand-threshold": "1"}),
    ("/v1/chat/completions", {"model": "big", "messages": OTHER}, {}),
    ("/v1/chat/completions", {"model": "big", "messages": OTHER, **USAGE_ASKED}, {}),
    ("/v1/embeddings", {"model": "big", "input": "help"}, {}),
]
"""What plain clients send: of the task and past it, single and lists, whole and streamed."""


class Teacher:
    """Compresses for whoever takes it, throttles every ninth call, and writes its invoice.

    No two calls use the same number of tokens, so that each line of the invoice can be found.
    """

    def __init__(self):
        self.invoice = []
        self._calls = itertools.count(1)
        self.slow = asyncio.Event()
        self.slow_asked = asyncio.Event()

    async def handle(self, request):
        """Serve one call."""
        if request.method == "GET":
            return web.json_response({"data": [{"id": "big"}]})
        number = next(self._calls)
        body = await request.json()
        slow = "SLOW" in json.dumps(body)
        if number % 9 == 0 and not slow:
            return web.json_response({"error": {}}, status=429, headers={"retry-after": "0.05"})
        if slow:
            self.slow_asked.set()
            await self.slow.wait()
        self.invoice.append((1_000 + number, number))
        usage = {"prompt_tokens": 1_000 + number, "completion_tokens": number}
        if body.get("stream"):
            return await self._stream(request, usage)
        logprobs = {"content": [{"token": "YES", "logprob": -0.01, "top_logprobs": TOP}]}
        message = {"role": "assistant", "content": "YES"}
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": "stop"}
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": "big-2026-05-01"}
        vectors = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        answer |= {"choices": [choice], "data": vectors, "usage": usage}
        content = json.dumps(answer).encode()
        headers = {"content-type": "application/json", "x-ratelimit-remaining-requests": "7"}
        if "gzip" in request.headers.get("accept-encoding", ""):
            content, headers["content-encoding"] = gzip.compress(content), "gzip"
        return web.Response(body=content, headers=headers)

    async def _stream(self, request, usage):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        base = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "big"}
        for choices in ([{"index": 0, "delta": {"content": "Once"}}], []):
            event = base | {"choices": choices} | ({} if choices else {"usage": usage})
            await response.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


class Urgency(StrEnum):
    """The labels as an application names them."""

    CALM = "calm"
    URGENT = "urgent"


class Verdict(BaseModel):
    """What an application wants to read."""

    urgency: Urgency


def by_requests(url, key):
    """Ask everything with `requests`."""
    with requests.Session() as session:
        session.headers["authorization"] = f"Bearer {key}"
        for path, body, headers in REQUESTS:
            response = session.post(url + path, json=body, headers=headers, timeout=60)
            yield response.status_code, response.headers, response.content


def by_httpx(url, key):
    """Ask everything with `httpx2`."""
    with httpx2.Client(headers={"x-api-key": key}, timeout=60) as client:
        for path, body, headers in REQUESTS:
            response = client.post(url + path, json=body, headers=headers)
            yield response.status_code, response.headers, response.content


async def by_aiohttp(url, key):
    """Ask everything with aiohttp, at once."""
    async with aiohttp.ClientSession(headers={"api-key": key}) as session:

        async def ask(path, body, headers):
            async with session.post(url + path, json=body, headers=headers) as response:
                return response.status, response.headers, await response.read()

        return await asyncio.gather(*(ask(*request) for request in REQUESTS))


def by_openai(url, key):
    """Ask as applications do: whole, parsed, called, streamed, past the task."""
    client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=60)
    chat = client.chat.completions
    tool = openai.pydantic_function_tool(Verdict)
    choice = {"type": "function", "function": {"name": "Verdict"}}
    with client:
        yield _done(lambda: chat.create(model="big", messages=OWN).choices[0].message.content)
        yield _done(lambda: chat.parse(model="big", messages=OWN, response_format=Verdict))
        yield _done(lambda: chat.parse(model="big", messages=OWN, tools=[tool], tool_choice=choice))
        yield _done(lambda: list(chat.create(model="big", messages=OWN, stream=True)))
        yield _done(lambda: chat.create(model="big", messages=OTHER))
        yield _done(lambda: list(chat.create(model="big", messages=OTHER, **USAGE_ASKED)))
        yield _done(lambda: client.embeddings.create(model="big", input="help"))


def _done(call):
    try:
        call()
    except openai.APIStatusError as error:
        return error.status_code, error.response.headers, error.response.content
    return 200, {}, b""


async def by_async_openai(url, key):
    """The same SDK without threads."""
    async with openai.AsyncOpenAI(base_url=url + "/v1", api_key=key, max_retries=0) as client:
        found = []
        for messages in (OWN, OTHER):
            try:
                await client.chat.completions.create(model="big", messages=messages)
                found.append((200, {}, b""))
            except openai.APIStatusError as error:
                found.append((error.status_code, error.response.headers, error.response.content))
        return found


async def everybody(url):
    """All clients and SDKs with both keys, clients `ROUNDS` times; return what clients got."""

    async def by_sdk(name, key):
        answers = await ask_with(name, url + "/v1", key)
        assert [answer for answer in answers if answer["error"]] == []
        assert {answer["label"] for answer in answers} <= {"calm", "urgent"}
        return []

    async def keep_asking(client, key):
        answers = []
        for _ in range(ROUNDS):
            if asyncio.iscoroutinefunction(client):
                answers += await client(url, key)
            else:
                answers += await asyncio.to_thread(lambda: list(client(url, key)))
        return answers

    clients = [by_requests, by_httpx, by_aiohttp, by_openai, by_async_openai]
    jobs = [keep_asking(client, key) for client in clients for key in KEYS]
    jobs += [by_sdk(name, key) for name in CASES for key in KEYS]
    return list(itertools.chain.from_iterable(await asyncio.gather(*jobs)))


@pytest.fixture
async def day(upstream, folder_of, publish_bundle, serve, tmp_path):
    """A teacher and a router in front of it with two keys, two bundles, audits, an admin port."""
    teacher = Teacher()
    url = await upstream(teacher.handle)
    at = folder_of(
        {"base_url": url, "timeout_s": 30, "max_concurrency": 16, "passthrough": "task_model"},
        audit_rate=0.3,
    )
    first = find_bundle(load_task(at / "task.yaml").work_dir, None).id
    other = publish_bundle(at, "calm").id
    keys = tmp_path / "keys.yaml"
    save_keys(keys, [KeySpec(name=name, sha256=sha256_of(name)) for name in KEYS])
    router = await asyncio.to_thread(
        serve, "--bundle", first, "--keys", str(keys), "--admin-port", "0",
        "--ledger", str(tmp_path / "l.sqlite"), at=at, admin_token=TOKEN,
    )  # fmt: skip
    started_with = len(teacher.invoice)  # it is tried once at the start, before any client
    return teacher, router, other, started_with


async def test_the_ledger_equals_the_teachers_invoice_row_by_row(day, tmp_path):
    """Nobody gets a 5xx that has no name, whatever operators do, and every cent is booked once."""
    teacher, router, other, started_with = day
    operator = {"authorization": f"Bearer {TOKEN}"}
    async with aiohttp.ClientSession(headers=operator) as session:

        async def tell(method, path, body=None):
            async with session.request(method, router.admin + path, json=body) as response:
                assert response.status == 200, await response.text()

        asking = asyncio.create_task(everybody(router.url))
        while not asking.done():
            await asyncio.wait([asking], timeout=0.5)
            for _ in range(2):  # tools ask twice
                await tell("POST", "/tasks/urgent/bundle", {"bundle": other})
            await asyncio.wait([asking], timeout=0.5)
            await tell("POST", "/tasks/urgent/rollback")
        answers = await asking
        late = {"model": "big", "messages": [{"role": "user", "content": "SLOW"}]}
        key = {"authorization": "Bearer team-a"}
        chat = router.url + "/v1/chat/completions"
        asked = asyncio.create_task(teacher.slow_asked.wait())
        while not asked.done():  # until the throttle lets it through
            last = asyncio.create_task(
                asyncio.to_thread(requests.post, chat, json=late, headers=key, timeout=60)
            )
            await asyncio.wait([asked, last], return_when=asyncio.FIRST_COMPLETED)
        await tell("PUT", "/drain", {"draining": True})
        router.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.3)
        teacher.slow.set()
        assert (await last).status_code == 200
    assert await asyncio.to_thread(router.process.wait, PATIENCE_S) == 0

    refusals = [(status, headers) for status, headers, _ in answers if status != 200]
    assert {headers.get("x-raisehand-reason") for _, headers in refusals} <= NAMED, refusals
    assert len(refusals) < len(answers) / 2
    entries = list(read_entries(tmp_path / "l.sqlite"))
    assert {entry.client for entry in entries} == {"team-a", "team-b"}
    assert {entry.bundle for entry in entries} >= {other}
    assert any(entry.audited for entry in entries)
    paid = Counter((e.input_tokens, e.output_tokens) for e in entries if e.output_tokens)
    assert paid == Counter(teacher.invoice[started_with:])
    assert not any(entry.estimated for entry in entries)
    for entry in entries:
        usd = Decimal(entry.input_tokens + 2 * entry.output_tokens) / 1_000_000
        assert entry.teacher_usd == usd, entry
