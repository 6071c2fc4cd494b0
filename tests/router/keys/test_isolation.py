"""One tenant cannot take what is everybody's: calls to the teacher, and certainty."""

import asyncio

import pytest

from router.errors import Forbidden
from router.keys.ring import Key, KeyRing, KeySpec, sha256_of
from router.keys.spending import SpendingLedger
from students.errors import TeacherGarbled, TeacherRefused, TeacherUnavailable
from students.testing import ScriptedTeacher

CHAT = {"model": "big", "messages": []}


def spec(name, **limits):
    """A key whose secret is its name."""
    return KeySpec(name=name, sha256=sha256_of(name), **limits)


async def test_a_key_at_its_own_limit_leaves_the_budget_to_others(rig):
    """Its answers are degraded with their reason; the other's escalations go on."""
    made = await rig(keys=KeyRing([spec("greedy", teacher_calls_per_second=2), spec("modest")]))

    async def reasons(key, n):
        headers = [(b"x-api-key", key.encode())]
        body = {"text": "help", "threshold": 1}
        answers = [await made.post("/v1/classify", body, headers) for _ in range(n)]
        return [answer.json["raisehand"]["reason"] for answer in answers]

    assert await reasons("greedy", 4) == ["low_confidence"] * 2 + ["key_escalations"] * 2
    assert await reasons("modest", 4) == ["low_confidence"] * 4
    assert len(made.teacher.calls) == 6


@pytest.mark.parametrize(("threshold", "status"), [(0.9, 200), (0.91, 403), (1, 403), (None, 200)])
async def test_a_key_may_ask_for_so_much_certainty(rig, threshold, status):
    """In the body and in the header; what the certificate asks for is not the key's matter."""
    made = await rig(keys=KeyRing([spec("one", max_threshold=0.9)]))
    headers = [(b"x-api-key", b"one")]
    body = {"text": "help", "threshold": threshold}
    assert (await made.post("/v1/classify", body, headers)).status == status
    if threshold is not None:
        headers.append((b"x-raisehand-threshold", str(threshold).encode()))
        assert (await made.post("/classify", {"input": "help"}, headers)).status == status


def test_the_limit_refills():
    """Calls a second, of the escalations and of what is passed on together."""
    now = [0.0]
    key = Key(spec("one", teacher_calls_per_second=1), lambda: now[0], lambda: now[0])
    assert [key.may_ask_the_teacher() for _ in range(2)] == [True, False]
    now[0] = 1.0
    assert key.may_ask_the_teacher()
    with pytest.raises(Forbidden, match="at most 0"):
        Key(spec("two", max_threshold=0), float, float).check_threshold(0.5)


@pytest.mark.parametrize(
    "fault",
    [None, TeacherUnavailable("away"), TeacherRefused("no"), TeacherGarbled("?"), "cancelled"],
)
async def test_every_call_that_was_begun_is_counted_as_done(rig, make_task, fault):
    """Whatever becomes of it: what never ends would keep the key from the teacher for ever."""
    ring = KeyRing([spec("one", max_usd_per_day=10)])
    answer = fault if isinstance(fault, Exception) else "urgent"
    task = (
        make_task(teacher={"on_failure": "error"}) if isinstance(fault, Exception) else make_task()
    )
    teacher = ScriptedTeacher(task.schema_, answer, latency_s=0.05 if fault == "cancelled" else 0.0)
    made = await rig(teacher=teacher, task=task, keys=ring)
    made.pipeline.booking.ledger = SpendingLedger(made.ledger, ring)
    headers = [(b"x-api-key", b"one")]
    asking = asyncio.create_task(made.post("/v1/classify", {"text": "maybe"}, headers))
    if fault == "cancelled":
        await asyncio.sleep(0.01)
        asking.cancel()
    await asyncio.wait([asking])
    await made.pipeline.close()
    key = ring.identify(headers)
    assert teacher.calls
    assert key.asking == 0
