"""The chat teacher reads a soft label out of token probabilities, traps included."""

import math

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from students.errors import TeacherGarbled, TeacherRejected
from students.teachers import make_teacher
from students.teachers.chat import read_distribution


def _listed(**probabilities):
    return [(token, math.log(p)) for token, p in probabilities.items()]


def _choice(listed, content=None, **message):
    top = [{"token": t, "logprob": lp} for t, lp in listed]
    return {
        "index": 0,
        "message": {"role": "assistant", "content": content or listed[0][0], **message},
        "logprobs": {"content": [{**top[0], "top_logprobs": top}]},
        "finish_reason": "length",
    }


def _completion(choice, **usage):
    return {
        "choices": [choice],
        "usage": {"prompt_tokens": 30, "completion_tokens": 1, **usage},
    }


GOOD = [("ur", math.log(0.8)), (" calm", math.log(0.15)), ("I", math.log(0.05))]


@pytest.fixture
async def ask(server, make_task):
    """Ask the chat teacher one text, the server answering with `reply`."""
    teachers = []

    async def ask(reply, **section):
        server.answer = lambda path, body: reply
        teachers.append(make_teacher(make_task(server.base_url, **section)))
        (reply,) = await teachers[-1].label(["help"])
        return reply

    yield ask
    for teacher in teachers:
        await teacher.aclose()


async def test_the_request_asks_for_logprobs_of_one_token(server, ask):
    """Temperature 0, logprobs, the rendered prompt and the fixed extra fields are sent."""
    await ask(
        _completion(_choice(GOOD)),
        prompt={"system": "Sort.", "user": "> {text}"},
        extra_body={"chat_template_kwargs": {"enable_thinking": False}},
    )
    ((path, body),) = server.asked
    assert path == "/v1/chat/completions"
    assert body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Sort."},
            {"role": "user", "content": "> help"},
        ],
        "max_tokens": 1,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 20,
        "chat_template_kwargs": {"enable_thinking": False},
    }


async def test_the_reply_is_read_with_its_usage(ask):
    """Probabilities, other mass, tokens and the whole word come back."""
    details = {"prompt_tokens_details": {"cached_tokens": 16}}
    reply = await ask(_completion(_choice(GOOD), **details))
    assert reply.distribution.probabilities == pytest.approx((0.15, 0.8))
    assert reply.distribution.other == pytest.approx(0.05)
    assert not reply.distribution.truncated
    assert (reply.usage.input_tokens, reply.usage.cached_input_tokens) == (30, 16)
    assert reply.usage.output_tokens == 1
    assert reply.wording == "urgent"


@pytest.mark.parametrize(
    ("said", "wording"), [("Urgent", "Urgent"), ("ur", "urgent"), ("This", "urgent")]
)
async def test_the_wording_is_the_labels_word(ask, said, wording):
    """A whole word keeps its spelling; a cut word or other talk becomes the label's word."""
    reply = await ask(_completion(_choice(GOOD, content=said)))
    assert reply.wording == wording


def test_case_and_space_variants_are_summed():
    """Trap: "Caution: Yes and yes are two different tokens"."""
    listed = _listed(**{"Yes": 0.3, " yes": 0.2, "YES": 0.1, "no": 0.25, " No": 0.05})
    d = read_distribution(listed, ("yes", "no"))
    assert d.probabilities == pytest.approx((0.6, 0.3))
    assert d.other == pytest.approx(0.1)


def test_a_missing_label_is_bounded_and_flagged():
    """Trap: -inf for missing top-k labels. It gets min(p_topk, 1 - sum) and the flag."""
    d = read_distribution(_listed(yes=0.9, maybe=0.04), ("yes", "no"))
    assert d.truncated
    assert d.probabilities == pytest.approx((0.9, 0.04))
    tight = read_distribution(_listed(yes=0.9, maybe=0.09), ("yes", "no"))
    assert tight.probabilities == pytest.approx((0.9, 0.01))


def test_low_label_mass_is_kept_not_renormalised():
    """Trap: renormalising away low label mass. The distribution says that it wanted to say more."""
    d = read_distribution(_listed(I=0.7, yes=0.2, no=0.1), ("yes", "no"))
    assert d.probabilities == pytest.approx((0.2, 0.1))
    assert d.label_mass == pytest.approx(0.3)
    assert d.unsure


def test_a_beginning_shared_by_two_words_counts_for_neither():
    """Trap: first-token collisions. "re" begins refund and return, so it is other mass."""
    d = read_distribution(_listed(re=0.5, refund=0.3, ret=0.2), ("refund", "return"))
    assert d.probabilities == pytest.approx((0.3, 0.2))
    assert d.other == pytest.approx(0.5)


@given(
    st.dictionaries(
        st.sampled_from(["yes", " Yes", "no", "NO", "n", "maybe", "\n", "", "y"]),
        st.floats(1e-9, 1.0),
        min_size=1,
    )
)
def test_every_list_gives_a_distribution(weights):
    """Probabilities are in [0, 1], finite, and sum to 1 with the other mass."""
    total = sum(weights.values())
    d = read_distribution([(t, math.log(w / total)) for t, w in weights.items()], ("yes", "no"))
    assert all(0.0 <= p <= 1.0 for p in d.probabilities)
    assert 0.0 <= d.other <= 1.0
    assert sum(d.probabilities) + d.other == pytest.approx(1.0)


@pytest.mark.parametrize(
    "message",
    [
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
        {"content": "<think>"},
    ],
)
async def test_reasoning_is_refused(ask, message):
    """Trap: reasoning first token. It is refused with the way to switch it off."""
    with pytest.raises(TeacherRejected, match="enable_thinking: false"):
        await ask(_completion(_choice(GOOD, **message)))


async def test_reasoning_that_only_the_bill_shows_is_refused(ask):
    """Hidden reasoning tokens are seen in the usage."""
    usage = {"completion_tokens_details": {"reasoning_tokens": 64}}
    with pytest.raises(TeacherRejected, match="enable_thinking: false"):
        await ask(_completion(_choice(GOOD), **usage))


async def test_white_space_before_the_answer_is_passed_over(ask):
    """A newline token first is no answer; if there is no more, the message says what to raise."""
    choice = _choice(GOOD)
    newline = {"token": "\n", "logprob": -0.1, "top_logprobs": []}
    choice["logprobs"]["content"].insert(0, newline)
    reply = await ask(_completion(choice), max_tokens=2)
    assert reply.distribution.argmax == 1
    choice["logprobs"]["content"] = [newline]
    with pytest.raises(TeacherGarbled, match=r"raise teacher\.max_tokens"):
        await ask(_completion(choice))


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        ({"choices": []}, TeacherGarbled, "no choices"),
        ({"choices": [{"message": None}]}, TeacherGarbled, "no message"),
        ({"choices": [{"message": {"content": "x"}}]}, TeacherGarbled, "no logprobs"),
        (
            _completion({**_choice(GOOD), "logprobs": {"content": [{"token": "x"}]}}),
            TeacherGarbled,
            "not in OpenAI's shape",
        ),
        (
            _completion({**_choice(GOOD), "finish_reason": "content_filter"}),
            TeacherRejected,
            "content filter",
        ),
    ],
)
async def test_other_replies_are_named(ask, reply, error, says):
    """No logprobs, no choice, a filtered answer: each says what it is."""
    with pytest.raises(error, match=says):
        await ask(reply)


def _tokenizing(tokens):
    """A server with /tokenize that cuts words as told."""

    def answer(path, body):
        if path == "/tokenize":
            return {"tokens": [1], "token_strs": tokens[body["prompt"]]}
        return _completion(_choice(GOOD))

    return answer


def _repeating(tokens):
    """A server without /tokenize that repeats a word token by token."""

    def answer(path, body):
        if path == "/tokenize":
            return web.json_response({"detail": "Not Found"}, status=404)
        word = body["messages"][-1]["content"].rpartition(" ")[2]
        if word not in tokens:
            return _completion(_choice(GOOD))
        content = [{"token": t, "logprob": 0.0, "top_logprobs": []} for t in tokens[word]]
        return {"choices": [{"message": {"content": word}, "logprobs": {"content": content}}]}

    return answer


@pytest.mark.parametrize("kind", [_tokenizing, _repeating])
@pytest.mark.parametrize(
    ("tokens", "clash"),
    [
        ({"refund": ["ref", "und"], "return": ["ret", "urn"]}, None),
        ({"refund": ["re", "fund"], "return": ["return"]}, "first token 're'"),
        ({"no": ["no"], "none": ["none"]}, "'no' and 'none' cannot be told apart"),
    ],
)
async def test_words_are_proved_distinct_on_the_real_server(server, make_task, kind, tokens, clash):
    """Words with the same first letter are checked by /tokenize, or by having them repeated."""
    server.answer = kind(tokens)
    teacher = make_teacher(make_task(server.base_url, labels=tuple(tokens)))
    if clash is None:
        await teacher.check()
    else:
        with pytest.raises(TeacherRejected, match=clash):
            await teacher.check()
    await teacher.aclose()


async def test_words_with_different_first_letters_need_no_proof(server, make_task):
    """One question is asked, the ordinary one."""
    server.answer = lambda path, body: _completion(_choice(GOOD))
    teacher = make_teacher(make_task(server.base_url))
    await teacher.check()
    await teacher.aclose()
    assert [path for path, _ in server.asked] == ["/v1/chat/completions"]


async def test_a_server_that_will_not_repeat_proves_nothing(server, make_task):
    """If no proof is possible the check refuses and says which answers need none."""
    server.answer = lambda path, body: (
        web.json_response({}, status=404) if path == "/tokenize" else _completion(_choice(GOOD))
    )
    teacher = make_teacher(make_task(server.base_url, labels=("refund", "return")))
    with pytest.raises(TeacherRejected, match="different first letters"):
        await teacher.check()
    await teacher.aclose()
