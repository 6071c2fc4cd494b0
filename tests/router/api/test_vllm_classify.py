"""vLLM's /classify through the router: what a client of it sends and reads, nothing else."""

from __future__ import annotations

import json

import pytest

from students.teachers.classify import ClassifyTeacher

PATH = "/classify"


async def test_the_student_answers_in_vllms_words(rig):
    """One text or a list: index, label, every probability, in the model's order."""
    made = await rig()
    one = await made.post(PATH, {"model": "urgent", "input": "help", "truncate_prompt_tokens": -1})
    assert one.headers["x-raisehand-route"] == "student"
    [found] = one.json["data"]
    assert (found["index"], found["label"], found["num_classes"]) == (0, "YES", 2)
    assert found["probs"] == pytest.approx([0.02, 0.98])
    many = await made.post(PATH, {"input": ["help", "thanks"]})
    assert [row["label"] for row in many.json["data"]] == ["YES", "NO"]
    assert [row["index"] for row in many.json["data"]] == [0, 1]
    assert made.ledger.entries[0].surface == "vllm_classify"


async def test_the_teachers_own_client_can_talk_to_the_router(rig, make_task):
    """What `ClassifyTeacher` sends and reads is what the router takes and gives: a drop-in."""
    task = make_task(teacher={"mode": "classify"})
    made = await rig(task=task)

    class InMemory:
        async def post(self, url, body, timeout_s=None):
            return (await made.post(PATH, json.dumps(body).encode())).json

    replies = await ClassifyTeacher(task, InMemory()).label(["help", "thanks"])
    assert [reply.wording for reply in replies] == ["YES", "NO"]
    assert sum(reply.usage.input_tokens for reply in replies) > 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"model": "nobody", "input": "x"}, 404),
        ({"model": "big", "input": "x"}, 404),
        ({"input": []}, 400),
        ({"input": ""}, 400),
        ({"input": [1, 2, 3]}, 400),
        ({"input": "x", "student_only": True}, 400),
        ({}, 400),
    ],
)
async def test_what_it_does_not_take_is_said_in_openais_shape(rig, body, status):
    """A model whose teacher is asked otherwise is none; token ids are not read."""
    made = await rig()
    response = await made.post(PATH, body)
    assert response.status == status
    assert set(response.json["error"]) >= {"message", "type"}
