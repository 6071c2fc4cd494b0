"""Applications that use the SDK's own helpers are answered by the student, as they wrote them."""

import json
from enum import StrEnum

import openai
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.e2e

MESSAGES = [
    {"role": "system", "content": "Say it."},
    {"role": "user", "content": "Message: help\nUrgent?"},
]


class Urgency(StrEnum):
    """The labels as an application names them."""

    CALM = "calm"
    URGENT = "urgent"


class Verdict(BaseModel):
    """What an application wants to read."""

    urgency: Urgency


@pytest.fixture(name="client")
def client_fixture(serve, tmp_path):
    """Return the SDK, pointed at a router of its own."""
    router = serve("--ledger", str(tmp_path / "l.sqlite"))
    yield openai.OpenAI(base_url=router.url + "/v1", api_key="none", max_retries=0)
    assert router.stop() == 0


def test_the_sdk_parses_what_the_student_says(client):
    """`parse` with a model, whole and streamed, and a function that must be called."""
    completions = client.chat.completions
    whole = completions.parse(model="big", messages=MESSAGES, response_format=Verdict)
    assert whole.choices[0].message.parsed == Verdict(urgency=Urgency.URGENT)
    with completions.stream(model="big", messages=MESSAGES, response_format=Verdict) as stream:
        last = stream.get_final_completion()
    assert last.choices[0].message.parsed == Verdict(urgency=Urgency.URGENT)
    called = completions.parse(
        model="big",
        messages=MESSAGES,
        tools=[openai.pydantic_function_tool(Verdict)],
        tool_choice={"type": "function", "function": {"name": "Verdict"}},
    )
    [call] = called.choices[0].message.tool_calls
    assert call.function.parsed_arguments == Verdict(urgency=Urgency.URGENT)


def test_the_sdk_parses_a_response_of_the_student(client):
    """The Responses API: words, a model and a function, whole and streamed."""
    asked = {"model": "big", "instructions": "Say it.", "input": "Message: help\nUrgent?"}
    responses = client.responses
    assert responses.create(**asked).output_text == "YES"
    whole = responses.parse(**asked, text_format=Verdict)
    assert whole.output_parsed == Verdict(urgency=Urgency.URGENT)
    assert (whole.status, whole.usage.total_tokens, whole.store) == ("completed", 17, False)
    with responses.stream(**asked, text_format=Verdict) as stream:
        assert stream.get_final_response().output_parsed == Verdict(urgency=Urgency.URGENT)
    tool = openai.pydantic_function_tool(Verdict)["function"] | {"type": "function"}
    called = responses.parse(**asked, tools=[tool], tool_choice="required")
    [call] = called.output
    assert (call.name, json.loads(call.arguments)) == ("Verdict", {"urgency": "urgent"})
    with responses.stream(**asked, tools=[tool], tool_choice="required") as stream:
        [call] = stream.get_final_response().output
    assert json.loads(call.arguments) == {"urgency": "urgent"}


def test_the_answer_says_who_gave_it(client):
    """Neutral fields, as applications send them by habit, do not cost a teacher's call."""
    raw = client.chat.completions.with_raw_response.create(
        model="big",
        messages=MESSAGES,
        temperature=0,
        logprobs=False,
        tools=[],
        stop=["\n\n"],
        extra_body={"logit_bias": {}, "functions": None},
    )
    assert raw.headers["x-raisehand-route"] == "student"
    assert raw.parse().choices[0].message.content == "YES"
