"""The ledger against the teacher's own invoice: failed, retried and cancelled calls included."""

import asyncio
import itertools
import json
import random
import time
from collections import Counter
from decimal import Decimal

import pytest

from costmodel.money.pricing import TokenUsage
from router.policy import Route
from router.process.app import create_app
from router.service.passthrough import Passthrough
from router.service.served import Served
from router.service.service import Service
from router.settings import Settings
from router.teacher.adaptive_limit import AdaptiveLimit
from router.teacher.guard import EscalationGuard
from router.teacher.throttle import AdaptiveThrottle, RetryBudget
from router.testing import REFUSALS, Fault, FaultServer
from students.teachers.classify import ClassifyTeacher
from tests.waiting import PATIENCE_S

USD_PER_TOKEN = Decimal("0.000002")
CENT = Decimal("0.01")
_LEFT_OUT = {Fault.HUGE, Fault.HALF_OPEN, Fault.THROTTLE_LONG}
"""Slow to read, never read, and a door that would stay closed for 30 s."""


@pytest.fixture
async def server():
    """The teacher, with its own count of what it served."""
    async with FaultServer(["calm", "urgent"]) as server:
        yield server


def _task(make_task, server, **changes):
    teacher = {
        "mode": "classify",
        "base_url": server.url,
        "model": "big",
        "answers": {},
        "price": {"usd_per_mtok_input": "2", "usd_per_mtok_output": "2"},
    }
    return make_task(teacher=teacher | changes)


async def _rig(rig, task, **options):
    teacher = ClassifyTeacher(task)
    made = await rig(task=task, teacher=teacher, teacher_price=_price(task))
    made.pipeline.guard = EscalationGuard(
        teacher,
        max_concurrency=16,
        max_wait_s=0.5,
        throttle=AdaptiveThrottle(min_requests=10**9),
        retries=RetryBudget(reserve=10**6),
        limit=AdaptiveLimit(16, slow_s=100.0, min_limit=16),
        rng=random.Random(5),
        **options,
    )
    return made


def _price(task):
    from costmodel.money.pricebook import price_of

    return price_of(task.teacher.price)


async def _flood(made, server, n=120):
    """Unsure texts of all lengths under every fault in turn; some calls are cancelled half way."""
    rng = random.Random(11)
    faults = itertools.cycle([f for f in Fault if f not in _LEFT_OUT])
    texts = [f"maybe {i} " + "word " * rng.randrange(1, 60) for i in range(n)]
    for start in range(0, n, 8):
        server.fault = next(faults)
        server.latency_s = 0.03
        read = sum(server.seen.values())
        calls = [
            asyncio.create_task(made.post("/v1/classify", {"text": text, "deadline_ms": 800.0}))
            for text in texts[start : start + 8]
        ]
        while sum(server.seen.values()) < read + 8 and not all(call.done() for call in calls):
            await asyncio.sleep(0.001)
        for call in calls[: 0 if server.fault in REFUSALS else 2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    return texts


async def test_escalations_reconcile_to_the_token(rig, make_task, server):
    """With the teacher's tokenizer, ledger and invoice agree to the last token and pico-dollar."""
    made = await _rig(
        rig,
        _task(make_task, server),
        usage_of_lost=lambda text: TokenUsage(len(text.split()), 0),
    )
    await _flood(made, server)
    sums = made.ledger.totals().all
    assert (sums.input_tokens, sums.output_tokens) == (server.billed_input, server.billed_output)
    assert sums.teacher_usd == USD_PER_TOKEN * (server.billed_input + server.billed_output)
    reasons = Counter(entry.reason.value for entry in made.ledger.entries)
    assert {"router_stopped", "teacher_timeout", "teacher_garbled"} <= set(reasons)
    assert "low_confidence" in reasons
    assert sums.attempts > sum(reasons.values())
    assert sums.attempts == sum(server.seen.values())


async def test_escalations_reconcile_to_the_cent_by_estimate(rig, make_task, server):
    """Without a tokenizer the lost calls are estimated: the sum is right to the cent."""
    made = await _rig(rig, _task(make_task, server))
    await _flood(made, server)
    sums = made.ledger.totals().all
    invoice = USD_PER_TOKEN * (server.billed_input + server.billed_output)
    assert abs(sums.teacher_usd - invoice) < CENT
    assert abs(sums.input_tokens - server.billed_input) < 0.1 * server.billed_input
    assert 0 < sums.estimated < sums.requests


async def test_hedged_calls_reconcile_to_the_token(rig, make_task, server):
    """Both calls of a hedge are on the invoice and in the ledger, the one given up too."""
    made = await _rig(
        rig,
        _task(make_task, server),
        hedge=True,
        usage_of_lost=lambda text: TokenUsage(len(text.split()), 0),
    )
    for i in range(40):
        await made.post("/v1/classify", {"text": f"maybe {i}"})
    server.latency_s = 0.15
    for i in range(6):
        answer = await made.post("/v1/classify", {"text": f"maybe {i} and some more words"})
        assert answer.headers["x-raisehand-route"] == "teacher"
    await asyncio.sleep(0.05)
    sums = made.ledger.totals().all
    assert sums.attempts >= server.seen[Fault.NONE] > 40 + 6
    # On a busy machine a hedge may be given up before it has left: booked, not on the invoice.
    unseen = sums.attempts - server.seen[Fault.NONE]
    assert server.billed_input <= sums.input_tokens <= server.billed_input + 6 * unseen
    assert sums.output_tokens == server.billed_output == 0
    assert sums.teacher_usd == USD_PER_TOKEN * sums.input_tokens


@pytest.fixture
async def chat(rig, make_task, server):
    """A router with a chat teacher, whose other questions are passed through."""
    task = _task(make_task, server, mode="chat")
    made = await rig(task=task, teacher_price=_price(task))
    passthrough = Passthrough(task.teacher, made.pipeline, time.monotonic)
    service = Service(
        {task.name: Served(task, made.pipeline, passthrough)},
        made.ledger,
        made.service.metrics,
        Settings(),
    )
    made.app = create_app(service)
    yield made
    await passthrough.aclose()


def _question(words, **more):
    return {
        "model": "big",
        "messages": [{"role": "user", "content": "tell me " + "a word " * words}],
        "stream": True,
        **more,
    }


async def test_a_stream_that_reports_its_usage_is_booked_as_reported(chat, server):
    """What the last event says is what is booked, not an estimate."""
    question = _question(10, stream_options={"include_usage": True})
    response = await chat.post("/v1/chat/completions", question)
    assert response.body.endswith(b"data: [DONE]\n\n")
    [entry] = chat.ledger.entries
    assert (entry.input_tokens, entry.output_tokens) == (server.billed_input, server.billed_output)
    assert (entry.estimated, entry.route) == (False, Route.TEACHER)


async def test_a_stream_without_usage_is_estimated_not_free(chat, server):
    """Not asked for its usage, a stream is booked by its events and its question's length."""
    await chat.post("/v1/chat/completions", _question(200))
    [entry] = chat.ledger.entries
    assert (entry.output_tokens, entry.estimated) == (server.billed_output, True)
    assert entry.teacher_usd > 0


async def test_cancelled_streams_are_billed_and_cut_off_at_the_teacher(chat, server):
    """A client that leaves mid-stream stops the teacher, and what was generated is booked."""
    server.stream_words, server.stream_pause_s = 200, 0.002

    async def leave_half_way(events):
        cycle = chat.Cycle([json.dumps(_question(20)).encode()])
        asyncio.get_running_loop().call_later(0.03 * events, setattr, cycle, "disconnected", True)
        await chat.send("/v1/chat/completions", cycle.chunks, cycle=cycle)

    await asyncio.gather(*(leave_half_way(events) for events in range(1, 7)))
    async with asyncio.timeout(PATIENCE_S):
        while server.cut_off < 6:  # it notices when it writes the next word
            await asyncio.sleep(0.01)
    sums = chat.ledger.totals().all
    assert server.billed_output < 6 * 200
    assert abs(sums.output_tokens - server.billed_output) <= 3 * 6
    invoice = USD_PER_TOKEN * (server.billed_input + server.billed_output)
    assert abs(sums.teacher_usd - invoice) < CENT
    assert sums.estimated == 6
    assert Counter(entry.reason.value for entry in chat.ledger.entries) == {"client_gone": 6}


async def test_a_stream_that_the_teacher_breaks_off_is_billed_so_far(chat, server):
    """Half a stream: the client sees that the end is missing, what came is booked by its events."""
    server.fault = Fault.CUT
    cycle = chat.Cycle([json.dumps(_question(20)).encode()])
    await chat.send("/v1/chat/completions", cycle.chunks, cycle=cycle)
    assert cycle.messages[-1].get("more_body") is True
    [entry] = chat.ledger.entries
    assert (entry.route, entry.reason) == (Route.REFUSED, "teacher_unavailable")
    assert entry.output_tokens == server.billed_output == server.stream_words // 2
    assert entry.estimated
    assert entry.teacher_usd >= USD_PER_TOKEN * server.billed_output


@pytest.mark.parametrize(("fault", "attempts"), [(Fault.ERROR, 1), (Fault.THROTTLE, 1)])
async def test_a_refused_passthrough_costs_nothing(chat, server, fault, attempts):
    """The teacher's own 500 and 429 come back as they are, and are booked as one free attempt."""
    server.fault = fault
    response = await chat.post("/v1/chat/completions", _question(10))
    assert response.status in (429, 500)
    [entry] = chat.ledger.entries
    assert (entry.teacher_usd, entry.estimated, entry.attempts) == (0, False, attempts)
