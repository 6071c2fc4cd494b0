"""/v1/classify: one text or a list, who answered in the body and in the headers."""

from __future__ import annotations

import asyncio

import pytest

from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.settings import Settings

PATH = "/v1/classify"


async def test_one_text_has_one_answer(rig):
    """A text comes back as its label with confidence, provenance and the same facts as headers."""
    made = await rig()
    response = await made.post(PATH, {"text": "help"}, [(b"x-request-id", b"abc")])
    assert response.status == 200
    assert response.json == {
        "id": "abc",
        "model": "urgent",
        "label": "urgent",
        "confidence": pytest.approx(0.98),
        "probabilities": {"urgent": pytest.approx(0.98)},
        "raisehand": {
            "route": "student",
            "reason": "confident",
            "bundle": "bundle000001",
            "cost_usd": 2e-8,
            "degraded": False,
        },
    }
    headers = {k: v for k, v in response.headers.items() if k.startswith("x-")}
    assert headers == {
        "x-request-id": "abc",
        "x-raisehand-route": "student",
        "x-raisehand-reason": "confident",
        "x-raisehand-confidence": "0.980000",
        "x-raisehand-bundle": "bundle000001",
        "x-raisehand-cost-usd": "0.000000020000",
    }
    assert "queue;dur=" in response.headers["server-timing"]
    assert "teacher" not in response.headers["server-timing"]


async def test_an_escalated_text_says_so(rig):
    """The teacher's answer carries both costs and the teacher's time."""
    made = await rig()
    response = await made.post(PATH, {"text": "maybe", "top_k": 2})
    assert response.json["raisehand"]["route"] == "teacher"
    assert response.json["probabilities"] == {"urgent": 1.0, "calm": 0.0}
    assert response.headers["x-raisehand-cost-usd"] == "0.000022020000"
    assert "teacher;dur=" in response.headers["server-timing"]


async def test_a_list_is_answered_in_its_order(rig):
    """Each text gets its own answer and route; the headers sum up."""
    made = await rig()
    response = await made.post(PATH, {"text": ["help", "fine", "maybe"]})
    data = response.json["data"]
    assert [d["label"] for d in data] == ["urgent", "calm", "urgent"]
    assert [d["raisehand"]["route"] for d in data] == ["student", "student", "teacher"]
    assert response.headers["x-raisehand-route"] == "mixed"
    assert response.headers["x-raisehand-cost-usd"] == "0.000022060000"
    assert len(made.ledger.entries) == 3


@pytest.mark.parametrize(("n", "status"), [(0, 400), (1, 200), (3, 200), (4, 400)])
async def test_a_list_is_bounded(rig, n, status):
    """1 to max_items texts are taken."""
    made = await rig(settings=Settings(max_items=3))
    response = await made.post(PATH, {"text": ["help"] * n})
    assert response.status == status


@pytest.mark.parametrize(("n", "status"), [(4, 200), (5, 429)])
async def test_a_list_does_not_get_past_the_queue(rig, n, status):
    """A list needs room for all its texts, or none of them is taken."""
    made = await rig(settings=Settings(max_queue=4))
    response = await made.post(PATH, {"text": ["help"] * n})
    assert response.status == status
    assert len(made.ledger.entries) == (n if status == 200 else 0)


async def test_overload_is_a_429_with_retry_after(rig):
    """The request after the last place is told when to come back, and why."""
    made = await rig(settings=Settings(max_queue=2))
    responses = await asyncio.gather(*[made.post(PATH, {"text": "help"}) for _ in range(3)])
    assert [r.status for r in responses] == [200, 200, 429]
    refused = responses[2]
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["x-raisehand-reason"] == "queue_full"
    assert refused.json["error"]["type"] == "overloaded_error"


@pytest.mark.parametrize(("model", "status"), [("urgent", 200), ("big", 404), ("", 404)])
async def test_model_names_the_task(rig, model, status):
    """`model` may be left out with one task; a wrong one is a 404 that names the tasks."""
    made = await rig()
    response = await made.post(PATH, {"text": "help", "model": model})
    assert response.status == status
    if status == 404:
        assert "urgent" in response.json["error"]["message"]


@pytest.mark.parametrize(
    ("deadline_ms", "status"), [(10.0, 200), (9.9, 400), (1000.0, 200), (1000.1, 400)]
)
async def test_deadlines_have_bounds(rig, deadline_ms, status):
    """A deadline within the limits is taken, one outside is a 400 that names them."""
    made = await rig(settings=Settings(min_deadline_ms=10, max_deadline_ms=1000))
    response = await made.post(PATH, {"text": "help", "deadline_ms": deadline_ms})
    assert response.status == status


async def test_an_unknown_field_is_named(rig):
    """A misspelt field is refused, not ignored."""
    made = await rig()
    response = await made.post(PATH, {"text": "help", "treshold": 0.5})
    assert response.status == 400
    assert "treshold" in response.json["error"]["message"]


async def test_the_student_alone_can_be_asked(rig):
    """`student_only` answers one text and a list without the teacher, and names the reason."""
    made = await rig()
    one = await made.post(PATH, {"text": "maybe", "student_only": True})
    many = await made.post(PATH, {"text": ["maybe", "help"], "student_only": True})
    assert one.headers["x-raisehand-route"] == many.headers["x-raisehand-route"] == "student"
    assert one.headers["x-raisehand-reason"] == "student_only"
    assert {d["raisehand"]["reason"] for d in many.json["data"]} == {"student_only"}
    assert made.teacher.calls == []


async def test_the_student_alone_and_a_threshold_contradict_each_other(rig):
    """One asks no teacher, the other might: 400."""
    made = await rig()
    response = await made.post(PATH, {"text": "maybe", "student_only": True, "threshold": 0})
    assert response.status == 400
    assert "give one" in response.json["error"]["message"]
    assert made.teacher.calls == []


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/systemone"])
async def test_other_surfaces_refuse_the_field(rig, path):
    """Where it would be overlooked the teacher would be asked and paid: 400 instead."""
    made = await rig()
    said = [{"role": "user", "content": "Message: maybe\nUrgent?"}]
    question = {"type": "choice", "criteria": {"NO": None, "YES": None}}
    body = {
        "model": "big" if "chat" in path else "urgent",
        "messages": said,
        "state": said[0]["content"],
        "questions": {"q": question},
        "student_only": True,
    }
    response = await made.post(path, body)
    assert response.status == 400
    assert "`student_only` is a field of /v1/classify alone" in response.json["error"]["message"]
    assert made.teacher.calls == []


@pytest.mark.parametrize(("allowed", "status"), [(True, 200), (False, 403)])
async def test_a_key_can_be_denied_the_student_alone(rig, allowed, status):
    """A key whose owner must not get round certificate and audit is refused, and may still ask."""
    spec = KeySpec(name="app", sha256=sha256_of("rh-x"), student_only=allowed)
    made = await rig(keys=KeyRing([spec]))
    key = [(b"x-api-key", b"rh-x")]
    response = await made.post(PATH, {"text": "maybe", "student_only": True}, key)
    assert response.status == status
    assert (await made.post(PATH, {"text": "help"}, key)).status == 200
