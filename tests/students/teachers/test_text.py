"""The text teacher reads answers as hard labels, or shares of several as soft ones."""

import re

import pytest

from students.teachers import make_teacher


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


async def test_an_answer_that_is_no_label_is_none(ask):
    """Words that are no label stay the teacher's words, are shown and paid for."""
    reply = await ask(lambda path, body: _completion("This is not urgent."))
    assert reply.distribution.label is None
    assert reply.distribution.other == 1.0
    assert reply.wording == "This is not urgent."
    assert "'This is not urgent.', which is none of calm, urgent" in reply.fault
    assert reply.usage.input_tokens == 9


async def test_a_refusal_is_an_answer_without_a_label(ask):
    """What the refusal says is the answer; nothing else of it is read."""
    reply = await ask(lambda path, body: _completion(None, refusal="I can't help with that."))
    assert reply.distribution.refused
    assert reply.wording == "I can't help with that."


async def test_samples_that_cancel_out_name_no_label(server, ask):
    """As many votes for each of two labels are a vote for none."""
    answers = iter(["calm", "urgent"])
    reply = await ask(lambda path, body: _completion(next(answers)), samples=2)
    assert reply.distribution.label is None
    assert "no label more often than another" in reply.fault


@pytest.mark.parametrize(
    "reply",
    [
        _completion("urgent", reasoning_content="not urgent, or is it?"),
        _completion("<think>calm? no, not calm</think>\n\nurgent"),
        _completion("calm? no</think>urgent"),
        _completion("<|channel|>analysis<|message|>calm?<|channel|>final<|message|>urgent"),
        _completion([{"type": "thinking", "thinking": []}, {"type": "text", "text": "urgent"}]),
    ],
)
async def test_a_teacher_may_think_first(ask, reply):
    """Only the final answer counts; the thoughts stand on the bill as written tokens."""
    reply["usage"]["completion_tokens"] = 64
    answer = await ask(lambda path, body: reply)
    assert answer.distribution.probabilities == (0.0, 1.0)
    assert answer.wording == "urgent"
    assert answer.usage.output_tokens == 64


@pytest.mark.parametrize("content", ["<think>well, it may be calm", "", "card payment fee"])
async def test_an_answer_cut_at_the_limit_has_a_message_of_its_own(ask, content):
    """The limit is named, whether it cut the thinking or the answer."""
    cut = _completion(content)
    cut["choices"][0]["finish_reason"] = "length"
    labels = ("card payment", "card payment fee", "card payment fee charged")
    reply = await ask(lambda path, body: cut, labels=labels)
    assert reply.distribution.label is None
    assert re.search(r"was cut .*teacher\.max_tokens", reply.fault)


@pytest.mark.parametrize(("limit", "sent"), [({}, None), ({"max_tokens": 4096}, 4096)])
async def test_room_to_think_is_what_the_task_says(server, ask, limit, sent):
    """A large limit is sent as it is; without one the model ends where it ends."""
    await ask(lambda path, body: _completion("urgent"), **limit)
    assert server.asked[0][1].get("max_tokens") == sent


async def test_letters_are_read_as_the_options_they_stand_for(ask):
    """A letter means the option it was shown with, in each sample's own order."""

    def calm(path, body):
        listing = body["messages"][0]["content"]
        return _completion(f"({listing[listing.index(': calm') - 1]})")

    prompt = {"user": "{labels}\nText: {text}"}
    reply = await ask(calm, samples=8, prompt=prompt, answer_with="letter")
    assert reply.distribution.probabilities == (1.0, 0.0)
