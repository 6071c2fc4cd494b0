"""The classify teacher reads vLLM's /classify and refuses what it cannot trust."""

import pytest
from aiohttp import web

from students.errors import (
    BadTask,
    TeacherDenied,
    TeacherError,
    TeacherGarbled,
    TeacherRefused,
    TeacherRejected,
    TeacherThrottled,
    TeacherTimeout,
    TeacherUnavailable,
)
from students.teachers import make_teacher
from students.teachers.client import openai_url, server_url


def _row(probs, label=None, index=0, names=("calm", "urgent")):
    label = names[max(range(len(probs)), key=probs.__getitem__)] if label is None else label
    return {"index": index, "label": label, "probs": probs, "num_classes": len(probs)}


def _reply(*rows, tokens=10):
    return {"data": list(rows), "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


@pytest.fixture
async def ask(server, make_task):
    """Ask the classify teacher about texts, the server answering with `reply`."""
    teachers = []

    async def ask(reply, texts=("help",), **section):
        server.answer = lambda path, body: reply
        teachers.append(make_teacher(make_task(server.base_url, mode="classify", **section)))
        return await teachers[-1].label(list(texts), timeout_s=section.get("timeout_s"))

    yield ask
    for teacher in teachers:
        await teacher.aclose()


async def test_a_batch_is_one_request_and_the_bill_adds_up(server, ask):
    """Texts go out together, answers come back by index, shares of the tokens sum to the bill."""
    rows = [_row([0.1, 0.9], index=1), _row([0.75, 0.25], index=0), _row([0.5, 0.5], index=2)]
    replies = await ask(_reply(*rows, tokens=101), ["a", "bb" * 20, "c"])
    assert server.asked == [("/classify", {"model": "m", "input": ["a", "bb" * 20, "c"]})]
    assert [r.distribution.argmax for r in replies] == [0, 1, 0]
    assert [r.wording for r in replies] == ["calm", "urgent", "calm"]
    assert sum(r.usage.input_tokens for r in replies) == 101
    assert replies[1].usage.input_tokens > replies[0].usage.input_tokens
    assert replies[0].usage.requests == 1


async def test_the_servers_own_names_are_mapped(ask):
    """LABEL_0 and LABEL_1 are fine when the task says which is which."""
    answers = {"calm": "LABEL_0", "urgent": "LABEL_1"}
    (reply,) = await ask(_reply(_row([0.1, 0.9], "LABEL_1")), answers=answers)
    assert reply.distribution.argmax == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (_row([0.9, 0.1], "urgent"), "calls class 0 'urgent' where the task has 'calm'"),
        (_row([0.9, 0.1], "LABEL_0"), "give its names in teacher.answers"),
        (_row([0.2, 0.2, 0.6], "x"), "has 3 classes and the task 2 labels"),
    ],
)
async def test_a_mismatch_of_classes_is_refused(ask, row, says):
    """A swapped order, other names or another number of classes is refused, never learnt."""
    with pytest.raises(TeacherRejected, match=says):
        await ask(_reply(row))


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ({"data": []}, "1 texts were sent and 0 answers came back"),
        ({"choices": []}, "no list `data`"),
        (_reply(_row([0.9, 0.9])), r"sum to 1\.800; the classifier must give one label per text"),
        (_reply({"index": 0, "label": "calm", "probs": [None, 1]}), "not a list of probabilities"),
        (_reply({"index": 0, "label": "calm", "probs": "x"}), "not a list of probabilities"),
        ([1], "a JSON list, not an object"),
        (web.Response(body=b"<html>"), "that is not JSON: <html>"),
        (web.Response(body=b'{"data": [{"probs": [NaN, 1.0]}]}'), "not a list of probabilities"),
    ],
)
async def test_a_garbled_reply_is_named(ask, reply, says):
    """Whatever is not in the contract is TeacherGarbled with what was wrong."""
    with pytest.raises(TeacherGarbled, match=says):
        await ask(reply)


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (500, TeacherUnavailable, "answered 500: broke"),
        (503, TeacherUnavailable, "answered 503"),
        (400, TeacherRejected, "answered 400: too long"),
        (422, TeacherRejected, "answered 422"),
        (501, TeacherDenied, "answered 501"),
        (401, TeacherDenied, "answered 401"),
        (402, TeacherDenied, "answered 402"),
        (403, TeacherDenied, "answered 403"),
        (404, TeacherDenied, "answered 404"),
        (405, TeacherDenied, "answered 405"),
        (302, TeacherDenied, "answered 302"),
    ],
)
async def test_a_status_becomes_a_named_error(ask, status, error, says):
    """5xx may pass, 4xx will not, and the server's own words are shown."""
    words = {500: "broke", 400: "too long"}.get(status, "no")
    with pytest.raises(error, match=says):
        await ask(web.json_response({"error": {"message": words}}, status=status))


@pytest.mark.parametrize(
    ("header", "wait"),
    [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), (None, None)],
)
async def test_a_429_carries_its_retry_after(ask, header, wait):
    """Seconds and dates are read; nonsense is no wait."""
    headers = {} if header is None else {"Retry-After": header}
    with pytest.raises(TeacherThrottled) as caught:
        await ask(web.Response(status=429, headers=headers))
    assert caught.value.retry_after_s == wait


@pytest.mark.parametrize(
    ("status", "error", "raised"),
    [
        (429, {"message": "no", "code": "insufficient_quota"}, TeacherDenied),
        (429, {"message": "You exceeded your current quota"}, TeacherDenied),
        (
            429,
            {
                "message": "You exceeded your current quota",
                "details": [{"@type": "type.googleapis.com/RetryInfo", "retryDelay": "7s"}],
            },
            TeacherThrottled,
        ),
        (400, {"message": "Your credit balance is too low to access the API"}, TeacherDenied),
        (400, {"message": "API key not valid", "status": "INVALID_ARGUMENT"}, TeacherDenied),
        (400, {"message": "filtered", "code": "content_filter"}, TeacherRefused),
        (403, {"message": "Your input was flagged", "code": 403}, TeacherRefused),
        (400, {"message": "the text 'billing' is too long"}, TeacherRejected),
    ],
)
async def test_what_is_of_the_account_is_told_from_what_is_of_the_text(ask, status, error, raised):
    """An empty account was taken for a property of each text that was asked after it was empty."""
    with pytest.raises(TeacherError) as caught:
        await ask(web.json_response({"error": error}, status=status))
    assert type(caught.value) is raised


async def test_no_server_and_no_answer_in_time(make_task, server):
    """A closed port and a late answer are told apart."""
    gone = make_teacher(make_task("http://127.0.0.1:9", mode="classify"))
    with pytest.raises(TeacherUnavailable, match="cannot be reached") as caught:
        await gone.check()
    assert not isinstance(caught.value, TeacherTimeout)
    await gone.aclose()
    server.delay_s = 0.3
    late = make_teacher(make_task(server.base_url, mode="classify"))
    with pytest.raises(TeacherTimeout, match=r"did not answer within 0\.05 s"):
        await late.label(["a"], timeout_s=0.05)
    await late.aclose()


async def test_the_key_is_sent_and_a_missing_one_is_named(server, make_task, monkeypatch):
    """The key comes from the environment; without it nothing is sent."""
    task = make_task(server.base_url, mode="classify", api_key_env="RH_TEST_KEY")
    with pytest.raises(BadTask, match="RH_TEST_KEY, which is not set"):
        make_teacher(task)
    monkeypatch.setenv("RH_TEST_KEY", "secret")
    server.answer = lambda path, body: _reply(_row([0.5, 0.5]))
    teacher = make_teacher(task)
    await teacher.check()
    await teacher.aclose()
    assert server.headers[0]["Authorization"] == "Bearer secret"
    assert "secret" not in repr(teacher.descriptor)


@pytest.mark.parametrize(
    ("base", "chat", "classify"),
    [
        ("http://h:1", "http://h:1/v1/x", "http://h:1/y"),
        ("http://h:1/", "http://h:1/v1/x", "http://h:1/y"),
        ("http://h:1/v1/", "http://h:1/v1/x", "http://h:1/y"),
        ("https://h/api/openai", "https://h/api/openai/x", "https://h/api/openai/y"),
    ],
)
def test_addresses(make_task, base, chat, classify):
    """A bare host gets /v1 for OpenAI routes; a base with a path is taken as it is."""
    section = make_task(base).teacher
    assert (openai_url(section, "/x"), server_url(section, "/y")) == (chat, classify)


async def test_no_texts_is_no_request(server, make_task):
    """Asking about nothing sends nothing."""
    teacher = make_teacher(make_task(server.base_url, mode="classify"))
    assert await teacher.label([]) == []
    assert server.asked == []
