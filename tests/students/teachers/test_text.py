"""The text teacher reads answers as hard labels, or shares of several as soft ones."""

import pytest

from students.errors import TeacherGarbled, TeacherRejected
from students.teachers import make_teacher
from students.teachers.text import read_answer


def _completion(content, **message):
    choice = {"message": {"content": content, **message}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


@pytest.fixture
async def ask(server, make_task):
    """Ask the text teacher one text, the server answering with `answer(path, body)`."""
    teachers = []

    async def ask(answer, **section):
        server.answer = answer
        teachers.append(make_teacher(make_task(server.base_url, mode="text", **section)))
        (reply,) = await teachers[-1].label(["help"])
        return reply

    yield ask
    for teacher in teachers:
        await teacher.aclose()


async def test_one_answer_is_a_hard_label(server, ask):
    """One request at temperature 0 without logprobs; its answer gets all the mass."""
    reply = await ask(lambda path, body: _completion(" Urgent.\n"))
    assert reply.distribution.probabilities == (0.0, 1.0)
    assert reply.distribution.other == 0.0
    assert reply.wording == "Urgent."
    ((_, body),) = server.asked
    assert body["temperature"] == 0
    assert "logprobs" not in body


async def test_samples_with_shuffled_options_become_shares(server, ask):
    """Trap: option-order bias. Each sample lists the options in an order of its own."""

    def first_listed(path, body):
        listing = body["messages"][0]["content"]
        return _completion("calm" if listing.index("- calm") < listing.index("- urgent") else "?")

    prompt = {"user": "{labels}\nText: {text}"}
    reply = await ask(first_listed, samples=16, prompt=prompt)
    assert len(server.asked) == 16
    assert {body["temperature"] for _, body in server.asked} == {1}
    calm, urgent = reply.distribution.probabilities
    assert urgent == 0.0
    assert 0.0 < calm < 1.0
    assert calm + reply.distribution.other == pytest.approx(1.0)
    assert reply.usage.requests == 16
    again = await ask(first_listed, samples=16, prompt=prompt)
    assert again.distribution == reply.distribution


async def test_an_answer_that_is_no_label_is_garbled_and_billed(ask):
    """Words that are no label are shown, and the call is paid for."""
    with pytest.raises(TeacherGarbled, match="'I cannot say', which is none of calm, urgent") as e:
        await ask(lambda path, body: _completion("I cannot say"))
    assert e.value.usage.input_tokens == 9


async def test_reasoning_is_refused(ask):
    """A teacher that thinks first is told how to stop."""
    with pytest.raises(TeacherRejected, match="enable_thinking: false"):
        await ask(lambda path, body: _completion("urgent", reasoning_content="hm"))


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("urgent", 1),
        ("**Not urgent**", 0),
        ("The answer is: urgent!", 1),
        ("It is not urgent at all", 0),
        ("urgent, I would not say not urgent", None),
        ("insurgent", None),
        ("", None),
        ("either", None),
    ],
)
def test_answers_are_read_strictly(said, label):
    """Alone or as the only label word; words within words and two labels at once do not count."""
    assert read_answer(said, ("not urgent", "urgent")) == label
