"""The fake teacher answers by contract and fails on command."""

import asyncio
import json
import math
from collections import Counter

import pytest
from pydantic import ValidationError

from loadtests.servers.fake_teacher import FakeTeacher
from loadtests.servers.knobs import Knobs

LABELS = ("not_urgent", "urgent", "spam")
TEXTS = [f"message number {i}" for i in range(400)]


async def call(app, method, path, body=None, *, headers=(), gone=False):
    """Send one request to an ASGI app in memory: (status, headers, body)."""
    sent, waiting = [], asyncio.Event()
    content = b"" if body is None else json.dumps(body).encode()
    messages = [{"type": "http.request", "body": content}]

    async def receive():
        if not messages and not gone:
            await waiting.wait()
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
    await app(scope, receive, send)
    if not sent:
        return None, {}, b""
    return sent[0]["status"], dict(sent[0]["headers"]), b"".join(m["body"] for m in sent[1:])


async def classify(app, *texts):
    """Ask /classify and return the parsed reply."""
    status, _, body = await call(app, "POST", "/classify", {"model": "m", "input": list(texts)})
    assert status == 200, body
    return json.loads(body)


def teacher(references=None, **knobs):
    """A fake teacher with three labels."""
    return FakeTeacher(Knobs(labels=LABELS, **knobs), references)


async def labels_of(app):
    """What it answers to 400 texts."""
    return [row["label"] for row in (await classify(app, *TEXTS))["data"]]


async def test_classify_has_vllm_s_shape():
    """A reply per input, in order, with probabilities that sum to 1 and name the label."""
    app = teacher({"one": "urgent", "two": "spam"})
    reply = await classify(app, "one", "two")
    assert [row["label"] for row in reply["data"]] == ["urgent", "spam"]
    for row in reply["data"]:
        assert sum(row["probs"]) == pytest.approx(1.0)
        assert LABELS[max(range(3), key=row["probs"].__getitem__)] == row["label"]
        assert row["num_classes"] == 3
    assert reply["usage"]["prompt_tokens"] == 2


async def test_chat_has_openai_s_shape():
    """The word, its logprobs sorted from the top, and the usage; exp(logprobs) sum to 1."""
    app = teacher({"one": "urgent"}, user="Is it? {text}")
    question = {
        "messages": [{"role": "user", "content": "Is it? one"}],
        "logprobs": True,
        "top_logprobs": 20,
    }
    _, _, body = await call(app, "POST", "/v1/chat/completions", question)
    reply = json.loads(body)
    assert reply["choices"][0]["message"]["content"] == "urgent"
    (position,) = reply["choices"][0]["logprobs"]["content"]
    logprobs = [item["logprob"] for item in position["top_logprobs"]]
    assert position["top_logprobs"][0]["token"] == position["token"] == "urgent"
    assert logprobs == sorted(logprobs, reverse=True)
    assert sum(map(math.exp, logprobs)) == pytest.approx(1.0)
    assert reply["usage"]["total_tokens"] == app.served["input_tokens"] + 1


async def test_streamed_chat_is_event_stream():
    """Chunks end with [DONE], spell the word, and carry the usage when asked."""
    app = teacher({"one": "spam"})
    question = {
        "messages": [{"role": "user", "content": "one"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    _, headers, body = await call(app, "POST", "/v1/chat/completions", question)
    assert headers[b"content-type"] == b"text/event-stream"
    lines = [line.removeprefix("data: ") for line in body.decode().split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    chunks = [json.loads(line) for line in lines[:-1]]
    said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
    assert said == "spam"
    assert chunks[-1]["usage"]["completion_tokens"] == 1


async def test_answers_depend_on_text_and_seed_alone():
    """Asked again it says the same; another seed thinks otherwise; every label occurs."""
    assert await labels_of(teacher()) == await labels_of(teacher(latency_ms=0.01))
    assert await labels_of(teacher()) != await labels_of(teacher(seed=1))
    assert set(await labels_of(teacher())) == set(LABELS)


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
async def test_wrong_rate_is_the_share_that_differs_from_the_reference(rate):
    """So many answers differ from the references, always the same ones."""
    references = dict.fromkeys(TEXTS, "urgent")
    said = await labels_of(teacher(references, wrong_rate=rate))
    wrong = sum(label != "urgent" for label in said)
    assert abs(wrong - rate * 400) <= 4 * math.sqrt(400 * rate * (1 - rate))
    assert said == await labels_of(teacher(references, wrong_rate=rate))


async def test_unsteady_teacher_contradicts_itself():
    """At an unsteady rate of 30 %, a third of the answers differ when asked again."""
    app = teacher(unsteady_rate=0.3)
    first, second = await labels_of(app), await labels_of(app)
    differing = sum(a != b for a, b in zip(first, second, strict=True)) / 400
    # P(same) = 0.7² + rest · chance; the two answers differ in ≈ 2·0.7·0.3·⅔ + 0.09·⅔ = 0.34.
    assert differing == pytest.approx(0.34, abs=0.08)


async def test_keywords_decide_without_a_reference():
    """A keyword gives its label; a text without one gets the label that has no keywords."""
    app = teacher(keywords={"urgent": ("help",), "spam": ("offer",)})
    reply = await classify(app, "HELP us", "an offer", "thanks")
    assert [row["label"] for row in reply["data"]] == ["urgent", "spam", "not_urgent"]


async def test_rate_limit_says_429_and_when_to_come_back():
    """One second's worth passes at once, the next is refused, a second later it passes again."""
    now = [100.0]
    app = FakeTeacher(Knobs(labels=LABELS, rate_limit_rps=5), clock=lambda: now[0])
    ask = ("POST", "/classify", {"input": "x"})
    statuses = [(await call(app, *ask))[0] for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    now[0] += 0.19
    assert (await call(app, *ask))[0] == 429
    now[0] += 0.02
    status, headers, _ = await call(app, *ask)
    assert status == 200
    _, headers, _ = await call(app, *ask)
    assert headers[b"retry-after"] == b"1"


@pytest.mark.parametrize(("at_s", "status"), [(0.9, 200), (1.0, 503), (1.9, 503), (2.0, 200)])
async def test_outage_has_a_beginning_and_an_end(at_s, status):
    """Within the window 503, outside of it answers."""
    now = [0.0]
    app = FakeTeacher(Knobs(labels=LABELS, outages=((1, 2),)), clock=lambda: now[0])
    now[0] = at_s
    assert (await call(app, "POST", "/classify", {"input": "x"}))[0] == status


async def test_hanging_teacher_never_answers():
    """An outage of kind `hang` sends nothing until the client has gone."""
    app = teacher(outages=((0, 9),), outage_kind="hang")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(app, "POST", "/classify", {"input": "x"}), 0.05)
    status, _, _ = await call(app, "POST", "/classify", {"input": "x"}, gone=True)
    assert status is None


@pytest.mark.parametrize("knob", ["garbage_rate", "throttle_rate", "error_rate", "truncated_rate"])
async def test_faults_come_at_their_rate(knob):
    """At a rate of 25 %, a quarter of 400 requests fail, and the counter knows how many."""
    app, failed = teacher(**{knob: 0.25}), 0
    for text in TEXTS:
        try:
            status, _, body = await call(app, "POST", "/classify", {"input": text})
            failed += status != 200 or not body.startswith(b"{")
        except ConnectionAbortedError:
            failed += 1
    assert failed == pytest.approx(100, abs=4 * math.sqrt(400 * 0.25 * 0.75))
    assert app.served["answered"] == 400 - failed


async def test_served_is_what_was_billed():
    """Requests, texts, tokens and labels of everything answered, and nothing of what was not."""
    app = teacher({"aaaa": "urgent", "bbbbb": "spam"})
    await classify(app, "aaaa", "bbbbb")
    await call(app, "POST", "/classify", {"nothing": 1})
    await call(app, "POST", "/classify", {"input": "aaaa"}, gone=True)
    _, _, body = await call(app, "GET", "/control/served")
    assert json.loads(body) == {
        "requests": 3,
        "answered": 1,
        "texts": 2,
        "input_tokens": 3,
        "output_tokens": 0,
        "label_urgent": 1,
        "label_spam": 1,
        "rejected_400": 1,
        "abandoned": 1,
        "abandoned_texts": 1,
        "abandoned_input_tokens": 1,
        "abandoned_output_tokens": 0,
        "abandoned_label_urgent": 1,
    }


async def test_knobs_turn_while_it_runs():
    """A posted knob holds from the next request on; the others stay."""
    app = teacher(wrong_rate=0.2)
    status, _, _ = await call(app, "POST", "/control/knobs", {"error_rate": 1})
    assert status == 200
    assert app.knobs.wrong_rate == 0.2
    assert (await call(app, "POST", "/classify", {"input": "x"}))[0] == 500
    await call(app, "POST", "/control/reset")
    assert app.served == Counter()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error_rate": 2}, "error_rate"),
        ({"eror_rate": 1}, "eror_rate"),
        ({"outages": [[2, 1]]}, ""),
    ],
)
async def test_wrong_knob_is_refused_by_name(change, words):
    """A knob that does not exist or cannot be is a 422 that names it, and nothing changes."""
    app = teacher()
    status, _, body = await call(app, "POST", "/control/knobs", change)
    assert status == 422
    assert words in json.loads(body)["error"]["message"]
    assert app.knobs == Knobs(labels=LABELS)


async def test_key_is_asked_for_when_set():
    """Without the right bearer key nothing is answered but health and control."""
    app = FakeTeacher(Knobs(labels=LABELS), api_key="k")
    assert (await call(app, "GET", "/v1/models"))[0] == 401
    right = [(b"authorization", b"Bearer k")]
    assert (await call(app, "GET", "/v1/models", headers=right))[0] == 200
    assert (await call(app, "GET", "/health"))[0] == 200


def test_keywords_of_an_unknown_label_are_refused():
    """Knobs that contradict each other do not start."""
    with pytest.raises(ValidationError, match="not among"):
        Knobs(labels=LABELS, keywords={"nope": ("x",)})


def _under(key):
    return {"headers": [(b"idempotency-key", key)]}


@pytest.mark.parametrize("gone", [False, True])
async def test_a_question_under_the_same_key_is_billed_once(gone):
    """The reply is the first one, also where nobody waited for it; another key, another call."""
    app = teacher()
    question = {"model": "m", "input": ["one two"]}
    await call(app, "POST", "/classify", question, gone=gone, **_under(b"a"))
    said = [await call(app, "POST", "/classify", question, **_under(b"a")) for _ in range(2)]
    assert said[0] == said[1]
    assert said[0][1][b"idempotent-replayed"] == b"true"
    assert json.loads(said[0][2])["id"] == "classify-1"
    assert app.served["input_tokens"] + app.served["abandoned_input_tokens"] == 2
    await call(app, "POST", "/classify", question, **_under(b"b"))
    assert app.served["replayed"] == 2
    assert app.served["input_tokens"] + app.served["abandoned_input_tokens"] == 4


async def test_a_key_is_one_question_s_and_waits_for_its_answer():
    """400 with another body, as Stripe says it, and 409 until there is something to repeat."""
    app = teacher(latency_ms=50)
    question = {"model": "m", "input": "one"}
    first = asyncio.create_task(call(app, "POST", "/classify", question, **_under(b"a")))
    await asyncio.sleep(0)
    status, _, _ = await call(app, "POST", "/classify", question, **_under(b"a"))
    assert status == 409
    await first
    status, _, _ = await call(app, "POST", "/classify", question, **_under(b"a"))
    assert status == 200
    other = {"model": "m", "input": "two"}
    status, _, body = await call(app, "POST", "/classify", other, **_under(b"a"))
    assert status == 400
    assert b"another request" in body
    assert app.served["input_tokens"] == 1


@pytest.mark.parametrize("knobs", [{"keys_kept": 0}, {"keys_kept": 1}, {"garbage_rate": 1.0}])
async def test_what_is_not_remembered_is_answered_anew(knobs):
    """With no memory, after too many other keys, and where no answer was given."""
    app = teacher(**knobs)
    question = {"model": "m", "input": "one"}
    for key in (b"a", b"b", b"a"):
        await call(app, "POST", "/classify", question, **_under(key))
    assert app.served["replayed"] == 0
    assert app.served["answered"] + app.served["garbage"] == 3
