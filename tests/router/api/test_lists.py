"""Several texts in one request: one that fails is its own matter, and each of them counts."""

from __future__ import annotations

from decimal import Decimal

import pytest

from router.keys.ring import KeyRing, KeySpec, sha256_of
from students.errors import TeacherUnavailable
from students.testing import ScriptedTeacher

PATH = "/v1/classify"
KEY = [(b"x-api-key", b"secret")]


async def test_one_that_gets_no_answer_has_its_error_in_its_place(rig, make_task):
    """The others are answered, and what they cost is paid for something."""
    task = make_task(teacher={"on_failure": "error"})
    teacher = ScriptedTeacher(task.schema_, TeacherUnavailable("gone"))
    made = await rig(task=task, teacher=teacher)
    response = await made.post(PATH, {"text": ["help", "maybe", "fine"]})
    assert response.status == 200
    first, failed, last = response.json["data"]
    assert (first["label"], last["label"]) == ("urgent", "calm")
    error = failed["error"]
    assert (error["type"], error["code"]) == ("unavailable_error", "teacher_unavailable")
    assert response.headers["x-raisehand-route"] == "mixed"
    booked = sum(e.student_usd + e.teacher_usd for e in made.ledger.entries)
    assert Decimal(response.headers["x-raisehand-cost-usd"]) == round(booked, 12)


async def test_each_text_has_an_id_of_its_own(rig):
    """Answers of one request can be told apart later: in the body and in the ledger."""
    made = await rig()
    response = await made.post(PATH, {"text": ["help", "fine"]}, [(b"x-request-id", b"abc")])
    ids = [item["id"] for item in response.json["data"]]
    assert ids == sorted(entry.request_id for entry in made.ledger.entries) == ["abc.0", "abc.1"]
    assert response.json["id"] == "abc"


@pytest.mark.parametrize("bad", ["", "  ", "x" * 40_000])
async def test_one_that_is_not_taken_has_its_error_in_its_place(rig, bad):
    """An empty line of a file fails nobody's batch."""
    made = await rig()
    response = await made.post(PATH, {"text": ["help", bad]})
    assert response.status == 200
    assert response.json["data"][0]["label"] == "urgent"
    assert response.json["data"][1]["error"]["type"] == "invalid_request_error"


async def test_a_list_of_nothing_but_faults_is_one_fault(rig):
    """And so is what is wrong with all of it."""
    made = await rig()
    assert (await made.post(PATH, {"text": ["", " "]})).status == 400
    assert (await made.post(PATH, {"text": ["help"], "deadline_ms": 0.001})).status == 400
    assert (await made.post(PATH, {"text": []})).status == 400


@pytest.mark.parametrize(
    ("path", "body"),
    [(PATH, {"text": ["help"] * 20}), ("/classify", {"input": ["help"] * 20})],
)
async def test_every_text_is_a_request_to_the_keys_rate(rig, path, body):
    """Posts of 20 texts are no single requests: their debt is refilled before more is taken."""
    spec = KeySpec(name="team", sha256=sha256_of("secret"), requests_per_second=2)
    now = [1_000.0]
    made = await rig(keys=KeyRing([spec], clock=lambda: now[0]))
    assert (await made.post(path, body, KEY)).status == 200
    response = await made.post(path, body, KEY)
    assert response.status == 429
    assert int(response.headers["retry-after"]) == pytest.approx(9.5, abs=0.6)
    now[0] += 9.6
    assert (await made.post(path, body, KEY)).status == 200
    assert len(made.ledger.entries) == 40


async def test_the_budget_is_asked_for_every_text(rig):
    """A list that escalates spends as so many requests."""
    made = await rig(budget=_Calls(3))
    response = await made.post(PATH, {"text": ["maybe"] * 5})
    routes = [item["raisehand"]["route"] for item in response.json["data"]]
    assert (routes.count("teacher"), routes.count("degraded")) == (3, 2)


class _Calls:
    """A budget of so many calls."""

    fill = 1.0

    def __init__(self, allowed):
        self.allowed = allowed

    def allows(self, value):
        self.allowed -= 1
        return self.allowed >= 0

    def spend(self, usd):
        """Only calls count."""
