"""The drop-in: the task's own requests are answered in the teacher's words, streamed or not."""

from __future__ import annotations

import json

import pytest

from costmodel.money.pricing import TokenUsage
from students.labels import LabelDistribution
from students.teachers.protocol import TeacherReply
from students.testing import ScriptedTeacher

PATH = "/v1/chat/completions"


def messages(text="help", system="Say it."):
    """What the task's prompt makes of a text."""
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": f"Message: {text}\nUrgent?"},
    ]


def request(**changes):
    """The task's own request, with the given fields changed."""
    return {"model": "big", "messages": messages()} | changes


async def test_the_student_answers_in_the_teachers_words(rig):
    """A sure answer is a whole chat completion with the teacher's word for the label."""
    made = await rig()
    response = await made.post(PATH, request(), [(b"x-request-id", b"abc")])
    answer = response.json
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "YES", "refusal": None},
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    assert answer["object"] == "chat.completion"
    assert answer["id"] == "chatcmpl-abc"
    assert answer["model"] == "big"
    assert answer["usage"] == {"prompt_tokens": 16, "completion_tokens": 1, "total_tokens": 17}
    assert response.headers["x-raisehand-route"] == "student"
    assert made.student.calls == [("help",)]
    assert made.ledger.entries[0].surface == "chat"


async def test_an_escalated_request_has_the_teachers_wording_and_usage(rig):
    """The teacher's own word comes back, with the tokens it took."""
    made = await rig()
    response = await made.post(PATH, request(messages=messages("maybe")))
    assert response.json["choices"][0]["message"]["content"] == "urgent"
    assert response.json["usage"]["prompt_tokens"] == 20
    assert response.headers["x-raisehand-route"] == "teacher"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("distribution", "said"),
    [
        (LabelDistribution((0.1, 0.2), 0.7), {"content": "It depends."}),
        (LabelDistribution.refusal(2), {"refusal": "It depends."}),
    ],
)
async def test_an_answer_without_a_label_is_given_in_the_teachers_own_words(
    rig, task, distribution, said, stream
):
    """An application gets what the teacher would have said to it, a refusal as a refusal."""
    reply = TeacherReply(distribution, TokenUsage(20, 3), "It depends.", "{}")
    made = await rig(teacher=ScriptedTeacher(task.schema_, reply))
    response = await made.post(PATH, request(messages=messages("maybe"), stream=stream))
    if stream:
        chunks = response.body.decode().split("\n\n")
        assert json.loads(chunks[1].removeprefix("data: "))["choices"][0]["delta"] == said
    else:
        message = response.json["choices"][0]["message"]
        assert message == {"role": "assistant", "content": None, "refusal": None} | said
        assert response.json["usage"]["completion_tokens"] == 3
    assert response.headers["x-raisehand-route"] == "degraded"


@pytest.mark.parametrize("with_usage", [True, False])
async def test_a_stream_has_role_word_finish_usage_done(rig, with_usage):
    """The events of a stream come in OpenAI's order; usage only where it was asked for."""
    made = await rig()
    options = {"stream_options": {"include_usage": True}} if with_usage else {}
    response = await made.post(PATH, request(stream=True, **options))
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, rest = response.body.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert {c["object"] for c in chunks} == {"chat.completion.chunk"}
    assert [c["choices"][0]["delta"] for c in chunks[:3]] == [
        {"role": "assistant", "content": ""},
        {"content": "YES"},
        {},
    ]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:3]] == [None, None, "stop"]
    assert len(chunks) == (4 if with_usage else 3)
    if with_usage:
        assert chunks[3]["choices"] == []
        assert chunks[3]["usage"]["total_tokens"] == 17


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "urgent"},
        {"temperature": 0, "max_tokens": 3, "seed": 1, "user": "u", "n": 1, "logprobs": False},
        {"stream": None, "stream_options": None},
        {
            "messages": [
                {"role": "developer", "content": "Say it."},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "Message: help\nUrgent?"}],
                },
            ]
        },
    ],
)
async def test_the_same_question_may_be_put_differently(rig, changes):
    """Task name or teacher model, sampling parameters, text parts: still the task's request."""
    made = await rig()
    response = await made.post(PATH, request(**changes))
    assert response.status == 200
    assert made.student.calls == [("help",)]


@pytest.mark.parametrize(
    "changes",
    [
        {"messages": messages(system="Say something else.")},
        {"messages": messages()[1:]},
        {"messages": [*messages(), {"role": "assistant", "content": "x"}]},
        {"messages": [{"role": "user", "content": "Hello"}]},
        {"messages": messages("")},
        {"tools": [{"type": "function", "function": {"name": "search"}}]},
        {"n": 2},
        {"logprobs": True},
        {"response_format": {"type": "json_object"}},
        {"stop": ["E"]},
        {"frobnicate": 1},
        {"messages": [messages()[0], messages()[1] | {"tool_calls": [{"id": "x"}]}]},
    ],
)
async def test_what_is_not_the_tasks_never_reaches_the_student(rig, changes):
    """Other prompts, tools, n > 1, logprobs: without a chat teacher behind, a clear 400."""
    made = await rig()
    response = await made.post(PATH, request(**changes))
    assert response.status == 400
    assert made.student.calls == []
    error = response.json["error"]
    assert set(error) == {"message", "type", "param", "code"}


async def test_fixed_extra_fields_of_the_task_are_recognised(rig, make_task):
    """The extra_body of the task file may be sent as it is; with another value it is no match."""
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    made = await rig(task=make_task(teacher={"extra_body": extra}))
    same = await made.post(PATH, request(**extra))
    other = await made.post(PATH, request(chat_template_kwargs={"enable_thinking": True}))
    without = await made.post(PATH, request())
    assert [same.status, other.status, without.status] == [200, 400, 200]


async def test_limits_of_one_request_travel_in_headers(rig):
    """A threshold of 0.99 makes the student raise its hand; nonsense is a 400."""
    made = await rig()
    raised = await made.post(PATH, request(), [(b"x-raisehand-threshold", b"0.99")])
    assert raised.headers["x-raisehand-route"] == "teacher"
    for name, value in (
        (b"x-raisehand-threshold", b"1.1"),
        (b"x-raisehand-threshold", b"nan"),
        (b"x-raisehand-deadline-ms", b"soon"),
        (b"x-raisehand-deadline-ms", b"inf"),
    ):
        assert (await made.post(PATH, request(), [(name, value)])).status == 400


async def test_an_unknown_model_is_a_404_that_names_the_models(rig):
    """A model that nobody has is an OpenAI-shaped 404."""
    made = await rig()
    response = await made.post(PATH, request(model="other"))
    assert response.status == 404
    assert "big, urgent" in response.json["error"]["message"]
