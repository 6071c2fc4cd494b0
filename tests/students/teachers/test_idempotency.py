"""Requests of a call carry idempotency keys where the task names a header for them."""

import pytest
from aiohttp import web

from students.errors import TeacherRejected, TeacherStillAnswering, TeacherUnavailable
from students.teachers import make_teacher
from students.teachers.idempotency import attempt_at

HEADER = "Idempotency-Key"


def _completion(path, body):
    choice = {"message": {"content": "calm"}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 9, "completion_tokens": 2}}


@pytest.fixture
async def ask(server, make_task):
    """Ask a text teacher in one attempt at a named call; return the keys that came."""
    teachers = []

    async def ask(call, texts=("help",), header=HEADER, **section):
        section = {"mode": "text", "idempotency_header": header, **section}
        teachers.append(make_teacher(make_task(server.base_url, **section)))
        before = len(server.headers)
        with attempt_at(call):
            await teachers[-1].label(texts)
        return [headers.get(header or HEADER) for headers in server.headers[before:]]

    server.answer = _completion
    yield ask
    for teacher in teachers:
        await teacher.aclose()


async def test_an_attempt_sends_the_keys_of_the_attempt_before(ask):
    """Also the samples of one question, which are as many keys: else they were one answer."""
    keys = await ask("a", samples=5)
    assert len({*keys}) == 5
    assert sorted(await ask("a", samples=5)) == sorted(keys)
    assert not {*keys} & {*await ask("b", samples=5)}
    assert all(len(key) < 64 and key.isascii() for key in keys)


async def test_each_request_of_a_call_has_its_own(ask):
    """Two texts, or the same one twice, are not one question."""
    assert len({*await ask("a", ("help", "wait", "help"))}) == 3


async def test_no_key_is_sent_that_nobody_asked_for(ask):
    """Without a header in the task, and outside of a call."""
    assert await ask("a", header=None) == [None]
    assert await ask("") == [None]


async def test_the_header_is_the_task_s(ask):
    """Some call it otherwise."""
    [key] = await ask("a", header="X-Request-Key")
    assert key


@pytest.mark.parametrize(
    ("status", "call", "error"),
    [(409, "a", TeacherStillAnswering), (409, "", TeacherRejected), (500, "a", TeacherUnavailable)],
)
async def test_what_a_status_says_of_a_key(server, ask, status, call, error):
    """409: it is being answered; without a key it is a refusal. 500 alone may be kept."""
    server.answer = lambda path, body: web.json_response({}, status=status)
    with pytest.raises(error) as raised:
        await ask(call)
    assert raised.value.kept is (status == 500)
