"""Calls passed on are under the teacher's rules: who may ask, how many, how long, for how much."""

from __future__ import annotations

import asyncio
import json
import time
from decimal import Decimal

import pytest
from aiohttp import web

from router.policy import Reason, Route
from router.teacher.budget import EscalationBudget
from router.teacher.token_bucket import TokenBucket
from tests.waiting import PATIENCE_S

pytestmark = pytest.mark.e2e
PATH = "/v1/chat/completions"
OTHER = b'{"model": "big", "messages": [{"role": "user", "content": "Hi"}]}'
USAGE = {"prompt_tokens": 1_000, "completion_tokens": 500}


def asking_for(model):
    """A call for a model that is no question of the task."""
    return json.dumps(json.loads(OTHER) | {"model": model}).encode()


@pytest.fixture
def counting(upstream):
    """A teacher that answers at once, and its calls."""

    async def start(**answer):
        calls = []

        async def handler(request):
            calls.append(await request.json())
            return web.json_response({"model": calls[-1]["model"], "usage": USAGE} | answer)

        return await upstream(handler), calls

    return start


async def held(upstream):
    """A teacher that answers when it is told to, and says which calls were cut off."""
    release, asked, cut = asyncio.Event(), asyncio.Semaphore(0), asyncio.Event()

    async def handler(request):
        asked.release()
        try:
            await release.wait()
        except asyncio.CancelledError:
            cut.set()
            raise
        return web.json_response({"usage": USAGE})

    return await upstream(handler), release, asked, cut


@pytest.mark.parametrize(
    ("passthrough", "passed"),
    [
        ("task_model", {"big"}),
        (["big", "small"], {"big", "small"}),
        ("small", {"small"}),
        (False, set()),
        ("off", set()),
    ],
)
async def test_only_models_that_the_task_names_are_passed_on(counting, behind, passthrough, passed):
    """The operator pays: no client chooses what for."""
    url, calls = await counting()
    made = await behind(url, passthrough=passthrough)
    for model in ("big", "small", "gpt-6-pro-most-expensive", "urgent", ""):
        response = await made.post(PATH, asking_for(model))
        assert (response.status == 200) is (model in passed), model
        assert response.status in (200, 400, 404)
    assert {call["model"] for call in calls} == passed


@pytest.mark.parametrize(
    ("mode", "passed"), [("chat", {"big"}), ("text", {"big"}), ("classify", set())]
)
def test_every_mode_with_an_openai_surface_passes_calls_on(make_task, mode, passed):
    """In text mode, too, there is an endpoint that chats; a classifier has none."""
    assert make_task(teacher={"mode": mode}).teacher.passed_on == passed


async def test_a_misspelt_policy_is_refused(make_task):
    """The task file says what is allowed."""
    with pytest.raises(ValueError, match="passthrough"):
        make_task(teacher={"passthrough": 3})


async def test_a_budget_of_nothing_spends_nothing(counting, behind):
    """Acceptance: whatever is sent, with 0 dollars an hour no call reaches the teacher."""
    url, calls = await counting()
    bucket = TokenBucket(0 / 3600, 60, time.monotonic())
    made = await behind(url, budget=EscalationBudget(usd=bucket))
    for body in (OTHER, b'{"model": "big", "messages": [], "stream": true}'):
        response = await made.post(PATH, body)
        assert response.status == 429
        assert response.json["error"]["code"] == "escalation_budget"
        assert response.headers["x-should-retry"] == "false"
    degraded = await made.post("/v1/classify", {"text": "maybe", "threshold": 1})
    assert degraded.json["raisehand"]["reason"] == "escalation_budget"
    assert calls == []
    assert all(entry.teacher_usd == 0 for entry in made.ledger.entries)


async def test_what_is_passed_on_spends_the_budget_of_escalations(counting, behind):
    """One budget: what a chat cost is gone for everybody."""
    url, calls = await counting()
    bucket = TokenBucket(0.06 / 3600, 60, time.monotonic())
    made = await behind(url, budget=EscalationBudget(usd=bucket))
    assert (await made.post(PATH, OTHER)).status == 200
    assert (await made.post(PATH, OTHER)).status == 429
    assert len(calls) == 1


async def test_the_ledger_has_the_model_that_answered_and_its_price(counting, behind):
    """Another model than the task's is unpriced where only the task's model has a price."""
    url, _ = await counting(model="big-2026-05-01")
    made = await behind(url, passthrough=["big", "small"])
    await made.post(PATH, OTHER)
    url, _ = await counting()
    other = await behind(url, passthrough=["big", "small"])
    await other.post(PATH, asking_for("small"))
    [known], [unknown] = made.ledger.entries, other.ledger.entries
    assert (known.model, known.teacher_usd) == ("big-2026-05-01", Decimal("0.002"))
    assert (unknown.model, unknown.teacher_usd) == ("small", None)


async def test_a_companys_proxy_is_used_as_by_escalations(upstream, behind, monkeypatch):
    """HTTP_PROXY holds for both: an outside teacher was reached by escalations alone."""
    seen = []

    async def handler(request):
        seen.append(request.host)
        return web.json_response({"usage": USAGE})

    proxy = (await upstream(handler)).removesuffix("/v1")
    monkeypatch.setenv("HTTP_PROXY", proxy)
    made = await behind("http://teacher.example/v1")
    assert (await made.post(PATH, OTHER)).status == 200
    assert seen == ["teacher.example"]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (500, Reason.TEACHER_UNAVAILABLE),
        (429, Reason.TEACHER_THROTTLED),
        (400, Reason.TEACHER_REJECTED),
        (408, Reason.TEACHER_UNAVAILABLE),
    ],
)
async def test_a_failure_is_booked_as_one(upstream, behind, status, reason):
    """The client sees the teacher's words; ledger, attempts and headers say that it failed."""

    async def handler(request):
        return web.json_response({"error": {"message": "boom"}}, status=status)

    made = await behind(await upstream(handler))
    response = await made.post(PATH, OTHER)
    assert (response.status, response.json["error"]["message"]) == (status, "boom")
    assert response.headers["x-raisehand-reason"] == reason.value
    assert response.headers["x-raisehand-route"] == "refused"
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason, entry.attempts) == (Route.REFUSED, reason, 1)
    assert (entry.teacher_usd, entry.output_tokens) == (0, 0)
    outcome = {"teacher_unavailable": "unavailable", "teacher_throttled": "throttled"}.get(
        reason.value, "rejected"
    )
    counted = made.count("raisehand_teacher_attempts_total", {"task": "urgent", "outcome": outcome})
    assert counted == 1


async def test_a_retry_after_of_the_teacher_closes_the_door_for_all(upstream, behind):
    """It said so to a chat; the next chat is told by the router, and an escalation does not go."""
    asked = []

    async def handler(request):
        asked.append(request)
        return web.json_response({}, status=429, headers={"retry-after": "20"})

    made = await behind(await upstream(handler))
    await made.post(PATH, OTHER)
    response = await made.post(PATH, OTHER)
    assert response.headers["x-raisehand-reason"] == "teacher_throttled"
    assert 1 <= int(response.headers["retry-after"]) <= 20
    answer = await made.post("/v1/classify", {"text": "maybe"})
    assert answer.json["raisehand"]["reason"] == "teacher_throttled"
    assert len(asked) == 1


async def test_slots_are_its_own_and_their_number_holds(upstream, behind):
    """Long chats leave escalations their slots; beyond its own limit and queue a call is a 429."""
    url, release, asked, _ = await held(upstream)
    made = await behind(url, max_passthrough=2, limits={"max_wait_s": 0.0})
    waiting = [asyncio.create_task(made.post(PATH, OTHER)) for _ in range(2)]
    for _ in waiting:
        await asked.acquire()
    response = await made.post(PATH, OTHER)
    assert (response.status, response.json["error"]["code"]) == (429, "teacher_busy")
    answer = await made.post("/v1/classify", {"text": "maybe"})
    assert answer.json["raisehand"]["route"] == "teacher"
    release.set()
    assert {r.status for r in await asyncio.gather(*waiting)} == {200}


@pytest.mark.parametrize("streams", [False, True])
async def test_a_teacher_that_does_not_begin_is_a_504_that_is_not_repeated(
    upstream, behind, streams
):
    """It WAS reached and it may bill: a client that retried by itself would pay three times."""
    url, _, _, cut = await held(upstream)
    made = await behind(url, limits={"first_byte_s": 0.05})
    body = json.dumps(json.loads(OTHER) | {"stream": streams}).encode()
    response = await made.post(PATH, body)
    assert (response.status, response.json["error"]["code"]) == (504, "teacher_timeout")
    assert "within 0.05 s" in response.json["error"]["message"]
    assert response.headers["x-should-retry"] == "false"
    await asyncio.wait_for(cut.wait(), PATIENCE_S)
    [entry] = made.ledger.entries
    assert (entry.reason, entry.estimated) == (Reason.TEACHER_TIMEOUT, True)


async def test_a_slow_classifier_time_out_does_not_cut_chats(upstream, behind):
    """`timeout_s` is of escalations; a chat has minutes."""

    async def handler(request):
        await asyncio.sleep(0.3)
        return web.json_response({"usage": USAGE})

    made = await behind(await upstream(handler), timeout_s=0.05)
    assert (await made.post(PATH, OTHER)).status == 200


async def test_a_stream_that_pauses_too_long_ends_and_is_booked(upstream, behind):
    """Between two parts of an answer there is a time-out of its own."""

    async def handler(request):
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b'data: {"choices": []}\n\n')
        await asyncio.sleep(30)
        return response

    made = await behind(await upstream(handler), limits={"pause_s": 0.05})
    response = await made.post(PATH, OTHER)
    assert response.status == 200
    [entry] = made.ledger.entries
    assert (entry.route, entry.reason) == (Route.REFUSED, Reason.TEACHER_TIMEOUT)


@pytest.mark.parametrize("path", ["chat", "escalation", "queue"])
async def test_a_client_that_leaves_ends_its_call_at_every_stage(upstream, behind, path):
    """Before the first byte, or before its turn; the slot is free, and the entry says who left."""
    url, release, asked, cut = await held(upstream)
    made = await behind(url, max_passthrough=1, limits={"max_wait_s": 30.0})
    if path == "escalation":
        real, made.pipeline.guard.teacher = made.pipeline.guard.teacher, Slow(asked, cut)
    where, body = PATH, OTHER
    if path == "escalation":
        where, body = "/v1/classify", b'{"text": "maybe"}'
    first = made.Cycle([body])
    leaving = [asyncio.create_task(made.send(where, [], cycle=first))]
    await asked.acquire()
    if path == "queue":
        second = made.Cycle([OTHER])
        leaving = [asyncio.create_task(made.send(PATH, [], cycle=second))]
        while made.service.waiting_for_teachers() < 2:
            await asyncio.sleep(0.01)
        second.disconnected = True
    else:
        first.disconnected = True
    await asyncio.gather(*leaving)
    if path != "queue":
        await asyncio.wait_for(cut.wait(), PATIENCE_S)
    [entry] = made.ledger.entries
    assert entry.reason is Reason.CLIENT_GONE
    assert entry.attempts == (0 if path == "queue" else 1)
    if path == "escalation":
        made.pipeline.guard.teacher = real
    release.set()
    while made.service.waiting_for_teachers():
        await asyncio.sleep(0.01)


class Slow:
    """A teacher that never answers and says when it was cut off."""

    def __init__(self, asked, cut):
        self.asked, self.cut = asked, cut

    async def label(self, texts, timeout_s=None):
        """Wait until nobody wants it any more."""
        self.asked.release()
        try:
            await asyncio.Event().wait()
        finally:
            self.cut.set()

    async def aclose(self):
        """Nothing is open."""
