"""Structured classification: an enum, a forced call or declared JSON is answered by the student."""

import json
from enum import StrEnum
from typing import Literal

import pytest
from pydantic import BaseModel

from router.api.answer_shape import OtherShape, shape_of

PATH = "/v1/chat/completions"
MESSAGES = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]


class Urgency(StrEnum):
    """The labels as an application names them."""

    CALM = "calm"
    URGENT = "urgent"


class WithEnum(BaseModel):
    """An application's model with an enumeration: a `$ref`."""

    urgency: Urgency


class WithLiteral(BaseModel):
    """An application's model with the teacher's own words."""

    answer: Literal["YES", "NO"]


class Open(BaseModel):
    """A model that leaves more open than the label."""

    urgency: Urgency
    why: str


class Optional(BaseModel):
    """A model whose label may be left out."""

    urgency: Urgency = Urgency.CALM


def _format(model):
    schema = model.model_json_schema() if isinstance(model, type) else model
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}


def _tool(model, name="classify"):
    return {"type": "function", "function": {"name": name, "parameters": model.model_json_schema()}}


def _request(**changes):
    return {"model": "big", "messages": MESSAGES} | changes


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (WithEnum, {"urgency": "urgent"}),
        (WithLiteral, {"answer": "YES"}),
        ({"type": "string", "enum": ["Calm", "Urgent"]}, "Urgent"),
        (
            {
                "properties": {"l": {"anyOf": [{"const": "NO"}, {"const": "YES"}]}},
                "required": ["l"],
            },
            {"l": "YES"},
        ),
        (
            {
                "$defs": {"U": {"enum": ["calm", "urgent"]}},
                "properties": {"l": {"description": "d", "anyOf": [{"$ref": "#/$defs/U"}]}},
                "required": ["l"],
            },
            {"l": "urgent"},
        ),
        (
            {
                "$ref": "#/$defs/M",
                "$defs": {
                    "N": {"const": "calm"},
                    "M": {
                        "properties": {"l": {"oneOf": [{"$ref": "#/$defs/N"}, {"enum": ["YES"]}]}},
                        "required": ["l"],
                    },
                },
            },
            {"l": "YES"},
        ),
    ],
)
async def test_an_enum_is_answered_by_the_student(rig, model, said):
    """Whoever's schema it is: pydantic's references, literals, a bare enum, constants."""
    made = await rig()
    response = await made.post(PATH, _request(response_format=_format(model)))
    assert response.headers["x-raisehand-route"] == "student"
    choice = response.json["choices"][0]
    assert json.loads(choice["message"]["content"]) == said
    assert choice["finish_reason"] == "stop"


@pytest.mark.parametrize(
    ("choice", "finish"),
    [({"type": "function", "function": {"name": "classify"}}, "stop"), ("required", "tool_calls")],
)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_forced_call_is_answered_by_the_student(rig, choice, finish, stream):
    """The label is the argument, whole or streamed."""
    made = await rig()
    body = _request(tools=[_tool(WithEnum)], tool_choice=choice, stream=stream)
    response = await made.post(PATH, body)
    assert response.headers["x-raisehand-route"] == "student"
    if stream:
        events = [
            json.loads(line[6:])
            for line in response.body.decode().split("\n\n")
            if line.startswith("data: {")
        ]
        deltas = [e["choices"][0]["delta"].get("tool_calls", [{}])[0] for e in events]
        name = deltas[0]["function"]["name"]
        arguments = "".join(d.get("function", {}).get("arguments", "") for d in deltas)
        ended = events[-1]["choices"][0]["finish_reason"]
    else:
        [said] = response.json["choices"]
        [call] = said["message"]["tool_calls"]
        assert said["message"]["content"] is None
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        ended = said["finish_reason"]
    assert (name, json.loads(arguments), ended) == ("classify", {"urgency": "urgent"}, finish)


async def test_an_escalated_answer_has_the_same_shape(rig):
    """Whoever answers, the application reads what it asked for."""
    made = await rig()
    messages = [MESSAGES[0], {"role": "user", "content": "Message: maybe\nUrgent?"}]
    body = _request(messages=messages, response_format=_format(WithEnum))
    response = await made.post(PATH, body)
    assert response.headers["x-raisehand-route"] == "teacher"
    assert set(json.loads(response.json["choices"][0]["message"]["content"])) == {"urgency"}


async def test_declared_json_is_answered_by_the_student(rig, make_task):
    """`json_object` has no schema; the task says under which name the word stands."""
    made = await rig(task=make_task(teacher={"json_key": "urgent"}))
    response = await made.post(PATH, _request(response_format={"type": "json_object"}))
    assert json.loads(response.json["choices"][0]["message"]["content"]) == {"urgent": "YES"}


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": _format(Open)},
        {"response_format": _format(Optional)},
        {"response_format": _format({"type": "string", "enum": ["calm", "urgent", "unknown"]})},
        {"response_format": _format({"type": "string", "enum": ["calm"]})},
        {"response_format": _format({"type": "string"})},
        {"response_format": _format({"$ref": "#/$defs/nowhere"})},
        {"response_format": _format({"$ref": "#"})},
        {"response_format": _format({"$ref": "#/anyOf/0", "anyOf": [{"$ref": "#"}]})},
        {"response_format": _format({"anyOf": [{"const": "calm"}, {"const": "urgent"}, {}]})},
        {"response_format": _format({"anyOf": [{"enum": ["calm", "urgent"]}, {"type": "null"}]})},
        {"response_format": _format({"enum": ["calm", "urgent", None]})},
        {"response_format": _format({"const": {"calm": 1}})},
        {"response_format": _format({"anyOf": "calm urgent"})},
        {"response_format": _format({"properties": [], "required": 3})},
        {"response_format": {"type": "json_schema"}},
        {"response_format": {"type": "json_schema", "json_schema": "x"}},
        {"response_format": {"type": ["json_schema"]}},
        {"response_format": "json_schema"},
        {"response_format": 3},
        {"response_format": _format(Open), "tools": [_tool(WithEnum)], "tool_choice": "required"},
        {"tools": [_tool(WithEnum, ["x"])], "tool_choice": "required"},
        {"response_format": {"type": "json_object"}},
        {"response_format": "text/plain"},
        {"tools": [_tool(WithEnum)]},
        {"tools": [_tool(WithEnum)], "tool_choice": "auto"},
        {"tools": [_tool(WithEnum), _tool(WithEnum, "other")], "tool_choice": "required"},
        {"tools": [_tool(Open)], "tool_choice": "required"},
        {"tools": [{}, 3, {"function": None}], "tool_choice": "required"},
        {"tools": "all", "tool_choice": "required"},
        {"tools": [_tool(WithEnum)], "tool_choice": {"function": {"name": ["x"]}}},
        {"tools": [_tool(WithEnum)], "tool_choice": {"function": {"name": "other"}}},
    ],
)
def test_whatever_leaves_more_open_is_the_teachers(fields):
    """Another property, another value, a call that need not be made, a schema that is none."""
    with pytest.raises(OtherShape):
        shape_of(
            fields.get("response_format"),
            fields.get("tools"),
            fields.get("tool_choice"),
            ("calm", "urgent"),
            ("NO", "YES"),
            None,
        )
