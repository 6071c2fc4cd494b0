"""Nothing goes past the student for a field that says nothing, and nothing silently."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.api.chat_fields import DEFAULTS, UNREAD, says_nothing
from router.schemas import ChatRequest

PATH = "/v1/chat/completions"
MESSAGES = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]
NEUTRAL = [
    *({name: value} for name, values in DEFAULTS.items() for value in (None, [], {}, *values)),
    *({name: 3} for name in sorted(UNREAD)),
    {"a_field_of_next_year": None},
    {"a_field_of_next_year": []},
    {"stop": None},
    {"stop": []},
    {"stop": ["\n"]},
    {"stop": "###"},
    {"tools": []},
    {"tools": None, "tool_choice": "none"},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"},
    {"response_format": None},
    {"response_format": {"type": "text"}},
    {"stream_options": {"include_obfuscation": False}},
    {"temperature": None, "stop": None, "logit_bias": None},
    {"messages": [MESSAGES[0] | {"content": "Say it.\n"}, MESSAGES[1]]},
    {"messages": [MESSAGES[0], MESSAGES[1] | {"content": "Message: help\nUrgent?\n"}]},
    {"messages": [MESSAGES[0], MESSAGES[1] | {"tool_calls": [], "refusal": None}]},
]


def _request(**changes):
    return {"model": "big", "messages": MESSAGES} | changes


@pytest.mark.parametrize("changes", NEUTRAL, ids=lambda c: json.dumps(c)[:60])
async def test_a_field_that_says_nothing_changes_nothing(rig, changes):
    """null, [], {} and the documented default leave the question the task's."""
    made = await rig()
    response = await made.post(PATH, _request(**changes))
    assert response.status == 200, response.body
    assert response.headers["x-raisehand-route"] == "student"
    assert response.json["choices"][0]["message"]["content"] == "YES"


@given(st.text(min_size=1, max_size=30), st.sampled_from([None, [], {}]))
def test_every_field_may_say_nothing(name, value):
    """The rule is about values, not about a list of names."""
    assert says_nothing(name, value)


@pytest.mark.parametrize("name", sorted(DEFAULTS))
def test_a_value_that_is_no_default_says_something(name):
    """True is not 1, and what is not neutral is never left out."""
    assert not says_nothing(name, {"x": 1})
    assert not says_nothing(name, 7)
    assert not says_nothing("n", True)
    assert not says_nothing("echo", 0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("temperature", 3),
        ("max_tokens", -5),
        ("max_tokens", 1.5),
        ("top_p", "x"),
        ("seed", "x"),
        ("stream", "yes"),
        ("stop", 5),
        ("user", 7),
        ("presence_penalty", "low"),
    ],
)
async def test_a_value_that_cannot_be_is_a_400(rig, field, value):
    """The task's question with a wrong value is refused by the field's name, before a teacher."""
    made = await rig()
    response = await made.post(PATH, _request(**{field: value}))
    assert response.status == 400
    assert field in response.json["error"]["message"]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"logprobs": True}, "`logprobs`"),
        ({"n": 2}, "`n`"),
        ({"logit_bias": {"5": 1}}, "`logit_bias`"),
        ({"a_field_of_next_year": 1}, "`a field`"),
        ({"stop": ["ES"]}, "`stop`"),
        ({"response_format": {"type": "json_object"}}, "`response_format`"),
    ],
)
async def test_what_stands_against_it_is_named(rig, changes, why):
    """Without a teacher to pass it to, the refusal names a known field; never a client's word."""
    made = await rig()
    response = await made.post(PATH, _request(**changes))
    assert response.status == 400
    assert why in response.json["error"]["message"]
    assert "next_year" not in response.json["error"]["message"]


async def test_a_task_may_ignore_fields(rig, make_task):
    """What the task says to ignore is not looked at, whatever its value."""
    task = make_task(teacher={"ignore_fields": ["logit_bias", "my_tag"]})
    made = await rig(task=task)
    response = await made.post(PATH, _request(logit_bias={"5": 1}, my_tag="x"))
    assert response.headers["x-raisehand-route"] == "student"


def test_known_fields_are_in_one_list_only():
    """A field is read, or has defaults, or is not read."""
    read = set(ChatRequest.__struct_fields__)
    assert not set(DEFAULTS) & UNREAD
    assert not read & UNREAD
    assert read & set(DEFAULTS) == {"n", "logprobs"}
