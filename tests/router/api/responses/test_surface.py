"""A task's question by the Responses API is the student's; the rest goes on, and says why."""

import json

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from costmodel.money.pricing import TokenUsage
from router.api.responses.question import NoChat, as_chat
from students.labels import LabelDistribution
from students.teachers.protocol import TeacherReply
from students.testing import ScriptedTeacher

PATH = "/v1/responses"
ASKED = {"model": "big", "instructions": "Say it.", "input": "Message: help\nUrgent?"}
SCHEMA = {
    "type": "object",
    "properties": {"urgency": {"enum": ["calm", "urgent"]}},
    "required": ["urgency"],
}
FORMAT = {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": True}
TOOL = {"type": "function", "name": "sort", "parameters": SCHEMA, "strict": True}
ITEMS = [
    {"role": "developer", "content": "Say it."},
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "{}"}]},
]


def _items(text):
    return json.loads(json.dumps(ITEMS).replace("{}", json.dumps(text)[1:-1]))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"instructions": None, "input": _items(ASKED["input"])},
        {
            "temperature": 0,
            "max_output_tokens": 16,
            "top_p": 1,
            "user": "u",
            "metadata": {"a": "b"},
        },
        {"store": False, "include": ["reasoning.encrypted_content"], "truncation": "disabled"},
        {"reasoning": {"effort": "low"}, "text": {"verbosity": "low", "format": {"type": "text"}}},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "background": False},
        {"previous_response_id": None, "conversation": None, "service_tier": "auto"},
    ],
)
async def test_a_tasks_question_is_answered_by_the_student(rig, fields):
    """However its text is given, and whatever says nothing beside it."""
    made = await rig()
    response = await made.post(PATH, ASKED | fields)
    assert (response.status, response.headers["x-raisehand-route"]) == (200, "student")
    [item] = response.json["output"]
    assert item["content"] == [
        {"type": "output_text", "text": "YES", "annotations": [], "logprobs": []}
    ]
    assert response.json["usage"]["input_tokens"] > 10
    [entry] = made.ledger.entries
    assert entry.surface == "responses"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"text": {"format": FORMAT}}, "text"),
        ({"tools": [TOOL], "tool_choice": "required"}, "arguments"),
        ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "sort"}}, "arguments"),
        ({"tools": [TOOL], "tool_choice": "required", "text": {"format": FORMAT}}, "arguments"),
    ],
)
async def test_a_label_has_the_shape_that_is_asked_for(rig, fields, said):
    """Escalated too; a stream brings the same item, numbered, and its end the whole answer."""
    made = await rig()
    maybe = {"input": "Message: maybe\nUrgent?"}
    for text in ({}, maybe):
        body = ASKED | fields | text
        [item] = (await made.post(PATH, body)).json["output"]
        part = item if said == "arguments" else item["content"][0]
        assert json.loads(part[said]) == {"urgency": "urgent"}
        stream = (await made.post(PATH, body | {"stream": True})).body.decode()
        events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith("data:")]
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert "".join(event.get("delta", "") for event in events) == part[said]
        assert events[-1]["type"] == "response.completed"
        [last] = events[-1]["response"]["output"]
        assert last.keys() == item.keys()
    routes = [entry.route for entry in made.ledger.entries]
    assert routes == ["student", "student", "teacher", "teacher"]


async def test_what_the_teacher_refuses_is_a_refusal(rig, make_task):
    """Its own words, whole and streamed, whatever shape was asked for."""
    schema = make_task().schema_
    refusal = TeacherReply(LabelDistribution.refusal(2), TokenUsage(20, 3), "It depends.", "{}")
    made = await rig(teacher=ScriptedTeacher(schema, refusal))
    body = ASKED | {"input": "Message: maybe\nUrgent?", "text": {"format": FORMAT}}
    [item] = (await made.post(PATH, body)).json["output"]
    assert item["content"] == [{"type": "refusal", "refusal": "It depends."}]
    stream = (await made.post(PATH, body | {"stream": True})).body.decode()
    assert "event: response.refusal.delta" in stream
    assert json.dumps(item["content"][0], separators=(",", ":")) in stream


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"input": "Hi"}, "messages"),
        ({"store": True}, "field store"),
        ({"previous_response_id": "resp_1"}, "field previous_response_id"),
        ({"include": ["message.output_text.logprobs"]}, "field include"),
        ({"truncation": "auto"}, "field truncation"),
        ({"tools": [{"type": "web_search"}]}, "field tools"),
        ({"tools": [TOOL]}, "field tools"),
        ({"text": {"format": {"type": "json_object"}}}, "field response_format"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "field input"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "field input"),
        ({"unheard_of": 1}, "field"),
    ],
)
@pytest.mark.e2e
async def test_the_rest_is_passed_on_and_says_why(upstream, behind, fields, why):
    """Byte for byte, with what stood against it in a header and a counter."""
    asked = []

    async def teacher(request):
        asked.append(await request.json())
        return web.json_response({"model": "big", "usage": {"input_tokens": 1, "output_tokens": 1}})

    made = await behind(await upstream(teacher))
    response = await made.post(PATH, ASKED | fields)
    assert (response.status, asked) == (200, [ASKED | fields])
    assert response.headers["x-raisehand-why"] == why
    assert made.count("raisehand_unmatched_total", {"why": why.split(" ")[0]}) == 1


async def test_where_nobody_takes_it_the_true_cause_is_said(rig):
    """The text fits; it is the field that asks for more."""
    made = await rig()
    response = await made.post(PATH, ASKED | {"store": True})
    assert response.status == 400
    assert "The messages fit the task, but `store`" in response.json["error"]["message"]
    response = await made.post(PATH, ASKED | {"temperature": "hot"})
    assert (response.status, made.ledger.entries) == (400, [])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda of: st.lists(of, max_size=3) | st.dictionaries(st.sampled_from(sorted(ASKED | {
        "type": 0, "role": 0, "content": 0, "text": 0, "format": 0, "name": 0, "tools": 0,
        "tool_choice": 0, "include": 0, "store": 0,
    })), of, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON.filter(lambda body: isinstance(body, dict)))
def test_any_json_is_a_chat_completion_or_is_none(body):
    """No body, however odd, is anything but put in other words or refused."""
    try:
        chat = as_chat(body)
    except NoChat:
        return
    assert isinstance(chat["messages"], list)
    json.dumps(chat)
