"""The decision surface understands the question that the task's teacher client asks."""

from __future__ import annotations

import json

import pytest

from students.teachers.decisions import DecisionsTeacher

PATH = "/v1/systemone"


def question(state="Message: help\nUrgent?", options=("NO", "YES"), **changes):
    """The task's question, with the given fields changed."""
    asked = {"label": {"type": "choice", "criteria": dict.fromkeys(options)}}
    return {"model": "urgent", "state": state, "questions": asked} | changes


async def test_the_student_answers_with_a_probability_for_each_option(rig):
    """Every option of the task has its probability, in the teacher's words."""
    made = await rig()
    response = await made.post(PATH, question())
    assert response.status == 200
    answer = response.json["answers"]["label"]
    assert answer["choice"] == "YES"
    assert answer["probabilities"] == {"NO": pytest.approx(0.02), "YES": pytest.approx(0.98)}
    assert response.json["diagnostics"]["label"]["label_mass"] == pytest.approx(1.0)
    assert response.json["raisehand"]["route"] == "student"
    assert made.student.calls == [("help",)]
    assert made.ledger.entries[0].surface == "systemone"


async def test_the_teachers_own_client_can_talk_to_the_router(rig, make_task):
    """What `DecisionsTeacher` sends and reads is what the router takes and gives: a drop-in."""
    made = await rig()
    task = make_task(teacher={"mode": "decisions"})

    class InMemory:
        async def post(self, url, body, timeout_s=None):
            return (await made.post(PATH, json.dumps(body).encode())).json

    [reply] = await DecisionsTeacher(task, InMemory()).label(["help"])
    assert reply.wording == "YES"
    assert reply.distribution.probabilities[1] == pytest.approx(0.98)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"model": "big"}, 200),
        ({"model": "nobody"}, 404),
        ({"state": "help"}, 400),
        ({"state": "Message: \nUrgent?"}, 400),
        ({"state": 3}, 400),
        ({"questions": {}}, 400),
        ({"questions": question(options=("NO", "YES", "MAYBE"))["questions"]}, 400),
        ({"questions": question()["questions"] | {"b": {"type": "choice", "criteria": {}}}}, 400),
        ({"questions": {"a": {"type": "number", "criteria": {"NO": 1, "YES": 1}}}}, 400),
    ],
)
async def test_other_questions_are_refused(rig, changes, status):
    """Teacher model or task name, the task's state and options; anything else is a 4xx."""
    made = await rig()
    assert (await made.post(PATH, question() | changes)).status == status


@pytest.mark.parametrize(
    ("header", "value", "status", "route"),
    [
        (b"x-raisehand-threshold", b"0.99", 200, "teacher"),
        (b"x-raisehand-threshold", b"0.5", 200, "student"),
        (b"x-raisehand-threshold", b"1.01", 400, None),
        (b"x-raisehand-threshold", b"nan", 400, None),
        (b"x-raisehand-deadline-ms", b"1000", 200, "student"),
        (b"x-raisehand-deadline-ms", b"soon", 400, None),
    ],
)
async def test_limits_of_one_request_travel_in_headers(rig, header, value, status, route):
    """The body has no place for them; a threshold makes the student raise its hand sooner."""
    made = await rig()
    response = await made.post(PATH, question(), [(header, value)])
    assert response.status == status
    assert response.headers.get("x-raisehand-route") == route
