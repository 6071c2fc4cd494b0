"""The chat teacher reads a soft label out of token probabilities, traps included."""

import math

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from students.errors import TeacherGarbled, TeacherRejected
from students.teachers import make_teacher
from students.teachers.completion import read_distribution
from students.teachers.tokens import FirstTokens

WHOLE_WORDS = FirstTokens(None, model="m", tokenize_url="", chat_url="", body={}).meant


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
    """Ask the chat teacher one text, the server answering with `reply` and cutting as told."""
    teachers = []

    async def ask(reply, cuts=None, **section):
        cut = {"urgent": ["ur", "gent"], **(cuts or {})}
        server.answer = lambda path, body: (
            {"token_strs": cut.get(body["prompt"], [body["prompt"]])}
            if path == "/tokenize"
            else reply
        )
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
    path, body = server.asked[0]
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
    d = read_distribution(listed, ("yes", "no"), WHOLE_WORDS)
    assert d.probabilities == pytest.approx((0.6, 0.3))
    assert d.other == pytest.approx(0.1)


def test_a_missing_label_is_bounded_and_flagged():
    """Trap: -inf for missing top-k labels. It gets min(p_topk, 1 - sum) and the flag."""
    d = read_distribution(_listed(yes=0.9, maybe=0.04), ("yes", "no"), WHOLE_WORDS)
    assert d.truncated
    assert d.probabilities == pytest.approx((0.9, 0.04))
    tight = read_distribution(_listed(yes=0.9, maybe=0.09), ("yes", "no"), WHOLE_WORDS)
    assert tight.probabilities == pytest.approx((0.9, 0.01))


def test_low_label_mass_is_kept_not_renormalised():
    """Trap: renormalising away low label mass. The distribution says that it wanted to say more."""
    d = read_distribution(_listed(I=0.7, yes=0.2, no=0.1), ("yes", "no"), WHOLE_WORDS)
    assert d.probabilities == pytest.approx((0.2, 0.1))
    assert d.label_mass == pytest.approx(0.3)
    assert d.unsure


@pytest.mark.parametrize("cuts", [{}, {"refund": ["re", "fund"]}, {"return": ["re", "turn"]}])
async def test_a_beginning_shared_by_two_words_counts_for_neither(ask, cuts):
    """Trap: first-token collisions. "re" is other mass, also where the server cuts a word there."""
    listed = _listed(re=0.5, refund=0.3, **{"return": 0.2})
    d = (await ask(_completion(_choice(listed)), cuts, labels=("refund", "return"))).distribution
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
    listed = [(t, math.log(w / total)) for t, w in weights.items()]
    d = read_distribution(listed, ("yes", "no"), WHOLE_WORDS)
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
    ],
)
async def test_other_replies_are_named(ask, reply, error, says):
    """No logprobs, no choice: each says what it is."""
    with pytest.raises(error, match=says):
        await ask(reply)


MARKED = [("**", math.log(0.95)), ("billing", math.log(0.03)), ("I", math.log(0.02))]
LABELS = ("billing", "technical", "other")


@pytest.mark.parametrize("mark", ["**", '"', " `", "“"])
async def test_a_mark_before_the_answer_is_no_label(ask, mark):
    """A teacher that begins with ** was learnt as 300 labels of 300, ties of bounds."""
    listed = [(mark, math.log(0.95)), *MARKED[1:]]
    reply = await ask(_completion(_choice(listed)), labels=LABELS)
    assert reply.distribution.label is None
    assert reply.fault.startswith(
        f"the first token is {mark!r} (0.95), no label: raise teacher.max"
    )


async def test_marks_are_passed_over_where_more_was_read(ask):
    """With max_tokens the answer behind the marks is read."""
    choice = _choice(MARKED, content='**"billing')
    behind = {"token": "billing", "logprob": -0.1, "top_logprobs": []}
    choice["logprobs"]["content"] += [{"token": '"', "logprob": 0.0}, behind]
    reply = await ask(_completion(choice), labels=LABELS, max_tokens=4)
    assert reply.distribution.label == 0
    assert reply.distribution.probabilities[0] == pytest.approx(math.exp(-0.1))


async def test_check_refuses_a_teacher_that_names_no_label(server, make_task):
    """Before money is spent: the first token, its probability and the way out."""
    server.answer = lambda path, body: _completion(_choice(MARKED))
    teacher = make_teacher(make_task(server.base_url, labels=LABELS))
    with pytest.raises(TeacherRejected, match=r"the first token is '\*\*' \(0\.95\), no label: "):
        await teacher.check()
    await teacher.aclose()


@pytest.mark.parametrize(
    ("labels", "opener"),
    [
        (("information", "billing"), "I"),
        (("account", "billing"), "A"),
        (("theft", "billing"), "The"),
        (("information", "billing"), "In"),
    ],
)
async def test_the_beginning_of_a_sentence_is_no_label(ask, labels, opener):
    """Of "I'm sorry", the I was read as information with .98."""
    reply = await ask(_completion(_choice(_listed(**{opener: 0.98, "billing": 0.02}))),
                      labels=labels, cuts={labels[0]: [opener.lower(), "x"]})  # fmt: skip
    assert reply.distribution.other == pytest.approx(0.98)
    assert reply.distribution.label is None


@pytest.mark.parametrize("label", ["it support", "the_rest", "a-b"])
async def test_a_label_that_begins_as_a_sentence_does_is_refused(server, make_task, label):
    """Its first token says nothing; the way out is another word."""
    teacher = make_teacher(make_task(server.base_url, labels=(label, "billing")))
    with pytest.raises(TeacherRejected, match=r"begins with '\w+', as a sentence does.*answers"):
        await teacher.check()
    await teacher.aclose()


@pytest.mark.parametrize(
    ("token", "counts"),
    [
        ("tech", True),
        ("techn", True),
        (" Techn", True),
        ("TECH", True),
        ("te", False),
        ("T", False),
    ],
)
async def test_a_beginning_counts_where_the_server_cuts_the_word(ask, token, counts):
    """Proven first tokens and longer beginnings count, shorter ones may begin anything."""
    cuts = {"technical": ["tech", "nical"], "TECHNICAL": ["TECH", "NICAL"]}
    listed = _listed(**{token: 0.9, "billing": 0.1})
    reply = await ask(_completion(_choice(listed)), labels=("billing", "technical"), cuts=cuts)
    assert (reply.distribution.label == 1) is counts
    assert (reply.distribution.label is None) is not counts


async def test_byte_level_tokens_are_read_as_text(ask):
    """A byte-level vocabulary shows the bytes of a token; they stand for text."""
    cuts = {"日本語": ["æĹ¥", "æľ¬èªŀ"]}
    listed = _listed(**{"日": 0.9, "中国語": 0.1})
    reply = await ask(_completion(_choice(listed)), labels=("日本語", "中国語"), cuts=cuts)
    assert reply.distribution.label == 0


async def test_a_proof_that_costs_is_on_the_bill(server, make_task):
    """A server without /tokenize repeats the word once, and that question is paid for."""
    usage = {"usage": {"prompt_tokens": 12, "completion_tokens": 2}}

    def answer(path, body):
        asked = body.get("messages", [{"content": "help"}])[-1]["content"]
        if path == "/v1/chat/completions" and not asked.startswith("Repeat"):
            return {**_completion(_choice(GOOD)), **usage}
        repeating = _repeating({"urgent": ["ur", "gent"]})(path, body)
        return repeating if isinstance(repeating, web.Response) else {**repeating, **usage}

    server.answer = answer
    teacher = make_teacher(make_task(server.base_url))
    replies = await teacher.label(["help", "again"])
    await teacher.aclose()
    assert [r.distribution.label for r in replies] == [1, 1]
    assert [(r.usage.requests, r.usage.input_tokens) for r in replies] == [(2, 24), (1, 12)]


async def test_an_unproven_beginning_does_not_count(server, make_task):
    """A server that shows nothing leaves "ur" to mean anything; whole words still count."""
    server.answer = lambda path, body: (
        web.json_response({}, status=404) if path == "/tokenize" else _completion(_choice(GOOD))
    )
    teacher = make_teacher(make_task(server.base_url))
    (reply,) = await teacher.label(["help"])
    await teacher.aclose()
    assert reply.distribution.label is None
    assert reply.distribution.probabilities[0] == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"message": {"content": None, "refusal": "I cannot help with that."}}, "I cannot help"),
        ({"finish_reason": "content_filter"}, "ur"),
        ({"finish_reason": "content_filter", "message": None}, "content filter"),
    ],
)
async def test_a_refusal_is_an_answer_without_a_label(ask, change, words):
    """Refused or filtered, it is billed, keeps the teacher's words and means no label."""
    reply = await ask(_completion({**_choice(GOOD), **change}))
    assert reply.distribution.refused
    assert reply.distribution.label is None
    assert reply.distribution.other == 1.0
    assert words in reply.wording
    assert "refused" in reply.fault
    assert reply.usage.input_tokens == 30


@pytest.mark.parametrize("rest", [-9999.0, -1e30])
@pytest.mark.parametrize("top", ["calm", "I"])
async def test_placeholder_probabilities_are_refused(ask, rest, top):
    """0 and -9999 are what servers write that know nothing: a one-hot answer is no soft label."""
    words = dict.fromkeys(["calm", "urgent", "I"], rest) | {top: 0.0}
    with pytest.raises(TeacherRejected, match=r"placeholders .* use teacher\.mode: text"):
        await ask(_completion(_choice(list(words.items()))))


async def test_what_means_no_group_is_not_asked_on(server, make_task):
    """A first answer without a label saves the second question."""
    labels = [f"label {i}" for i in range(40)]
    server.answer = lambda path, body: _completion(_choice(_listed(Sorry=0.9, A=0.1)))
    prompt = {"user": "{labels}\n{text}"}
    task = make_task(server.base_url, labels=labels, answer_with="letter", prompt=prompt)
    teacher = make_teacher(task)
    (reply,) = await teacher.label(["help"])
    await teacher.aclose()
    assert reply.distribution.label is None
    assert len(server.asked) == 1


def _tokenizing(tokens):
    """A server with /tokenize that cuts words as told."""

    def answer(path, body):
        if path == "/tokenize":
            return {"tokens": [1], "token_strs": tokens.get(body["prompt"], [body["prompt"]])}
        return _completion(_choice(_listed(**{next(iter(tokens)): 0.9, "I": 0.1})))

    return answer


def _repeating(tokens):
    """A server without /tokenize that repeats a word token by token."""

    def answer(path, body):
        if path == "/tokenize":
            return web.json_response({"detail": "Not Found"}, status=404)
        word = body["messages"][-1]["content"].rpartition(" ")[2]
        if word not in tokens:
            return _completion(_choice(_listed(**{next(iter(tokens)): 0.9, "I": 0.1})))
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
    listed = _listed(urgent=0.8, calm=0.15, I=0.05)
    server.answer = lambda path, body: _completion(_choice(listed))
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
