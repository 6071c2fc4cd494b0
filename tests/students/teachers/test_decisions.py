"""The decisions teacher speaks both dialects and keeps label mass."""

import pytest
from openai.types import Decision

from students.errors import TeacherGarbled
from students.teachers import make_teacher

LABELS = {"calm": "nothing to do", "urgent": ""}


@pytest.fixture
async def ask(server, make_task):
    """Ask the decisions teacher one text, the server answering with `reply`."""
    teachers = []

    async def ask(reply, **section):
        server.answer = lambda path, body: reply
        task = make_task(server.base_url, mode="decisions", **section)
        task = task.model_copy(update={"labels": LABELS})
        teachers.append(make_teacher(task))
        (reply,) = await teachers[-1].label(["help"])
        return reply

    yield ask
    for teacher in teachers:
        await teacher.aclose()


def _systemone(probabilities, **diagnostics):
    answer = {"type": "choice", "choice": "calm", "probabilities": probabilities, "confidence": 0.1}
    reply = {"answers": {"label": answer}, "usage": {"input_tokens": 40, "output_tokens": 1}}
    return {**reply, "diagnostics": {"label": diagnostics}} if diagnostics else reply


def _openai(answer):
    return {
        "answers": [answer],
        "model": "gpt-6-luna",
        "usage": {
            "input_tokens": 50,
            "input_tokens_details": {"cached_tokens": 20, "cache_write_tokens": 0},
            "output_tokens": 0,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 50,
        },
    }


def _choice(**probabilities):
    listed = [{"value": v, "probability": p} for v, p in probabilities.items()]
    return {"type": "choice", "name": "label", "choice": "calm", "confidence": 0.9,
            "probabilities": listed}  # fmt: skip


async def test_systemone_is_asked_one_choice_question(server, ask):
    """State, options with descriptions and instructions stand where vLLM reads them."""
    await ask(
        _systemone({"calm": 0.3, "urgent": 0.7}),
        prompt={"system": "Urgent?", "user": "Mail: {text}"},
        extra_body={"chat_template_kwargs": {}},
    )
    ((path, body),) = server.asked
    assert path == "/v1/systemone"
    question = {
        "type": "choice",
        "instructions": "Urgent?",
        "criteria": {"calm": "nothing to do", "urgent": None},
    }
    assert body == {
        "model": "m",
        "state": "Mail: help",
        "questions": {"label": question},
        "chat_template_kwargs": {},
    }


async def test_label_mass_is_multiplied_in(ask):
    """Probabilities among the labels times label mass, the rest is other; low mass is unsure."""
    reply = await ask(_systemone({"urgent": 0.75, "calm": 0.25}, label_mass=0.4))
    assert reply.distribution.probabilities == pytest.approx((0.1, 0.3))
    assert reply.distribution.other == pytest.approx(0.6)
    assert reply.distribution.unsure
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (40, 1)
    assert reply.wording == "urgent"


async def test_openai_decisions_are_the_same_adapter(server, ask):
    """The OpenAI dialect is asked as its SDK types say and read with cached tokens."""
    raw = _openai(_choice(calm=0.9, urgent=0.1))
    Decision.model_validate(raw)
    reply = await ask(raw, decisions_route="decisions")
    ((path, body),) = server.asked
    assert path == "/v1/decisions"
    assert body["input"] == "help"
    (question,) = body["questions"]
    assert question["choices"] == [
        {"value": "calm", "description": "nothing to do"},
        {"value": "urgent"},
    ]
    assert reply.distribution.probabilities == pytest.approx((0.9, 0.1))
    assert (reply.usage.input_tokens, reply.usage.cached_input_tokens) == (50, 20)


async def test_rounding_is_undone_and_more_is_refused(ask):
    """Two-decimal rounding is normalised; a sum that no rounding explains is garbled."""
    reply = await ask(_systemone({"calm": 0.67, "urgent": 0.34}))
    assert sum(reply.distribution.probabilities) == pytest.approx(1.0)
    with pytest.raises(TeacherGarbled, match=r"sum to 1\.200"):
        await ask(_systemone({"calm": 0.6, "urgent": 0.6}))


async def test_a_refusal_and_low_label_mass_mean_no_label(ask):
    """What the provider refuses, or would rather not say with an option, is no label."""
    refused = await ask(_openai({"type": "refusal", "name": "label", "refusal": "no"}))
    assert (refused.distribution.refused, refused.distribution.label) == (True, None)
    assert (refused.wording, refused.usage.input_tokens) == ("no", 50)
    reply = {
        **_systemone({"calm": 0.9, "urgent": 0.1}),
        "diagnostics": {"label": {"label_mass": 0.2}},
    }
    unsure = await ask(reply)
    assert unsure.distribution.label is None
    assert "label mass is 0.20" in unsure.fault


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (_systemone({"calm": 1.0}), TeacherGarbled, r"differ from the question's in \['urgent'\]"),
        (_systemone({"calm": 2.0, "urgent": -1.0}), TeacherGarbled, "not a probability"),
        ({"choices": []}, TeacherGarbled, "no answers with probabilities"),
        ({"answers": []}, TeacherGarbled, "no answers with probabilities"),
    ],
)
async def test_other_replies_are_named(ask, reply, error, says):
    """A missing option, a non-probability, another API: each says what it is."""
    with pytest.raises(error, match=says):
        await ask(reply)
