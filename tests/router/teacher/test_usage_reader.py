"""Whatever an answer's size, encoding or pieces: its own usage is what is read."""

import gzip
import json
import random

import pytest

from costmodel.money.pricing import TokenUsage
from router.teacher.usage_reader import UsageReader

USAGE = {"prompt_tokens": 20, "completion_tokens": 70, "total_tokens": 90}
TOLD = TokenUsage(20, 70)


def whole(content="Hi", **more):
    """A chat completion whose usage stands where the caller puts it."""
    message = {"role": "assistant", "content": content}
    return {"id": "c", "model": "big-2", "choices": [{"index": 0, "message": message}], **more}


def logprobs(tokens):
    """As much of them as makes an answer long."""
    top = [{"token": '"usage"', "logprob": -0.5, "bytes": [34] * 5}] * 20
    return {"content": [{"token": "x", "logprob": -0.1, "top_logprobs": top}] * tokens}


def event(separator, **fields):
    """One server-sent event."""
    return b"data:" + separator + json.dumps(fields).encode() + b"\n\n"


def read(body, encoding="", seed=3):
    """Feed a body in pieces of any size."""
    reader, pieces = UsageReader(encoding), random.Random(seed)
    while body:
        size = pieces.randrange(1, 2_000)
        reader.feed(body[:size])
        body = body[size:]
    return reader


ANSWERS = {
    "short": json.dumps(whole(usage=USAGE)),
    "usage first": json.dumps({"usage": USAGE} | whole()),
    "over 64 KB": json.dumps(whole(logprobs=logprobs(200), usage=USAGE)),
    "over 64 KB after it": json.dumps(whole(usage=USAGE, logprobs=logprobs(200))),
    "without a space": json.dumps(whole(usage=USAGE), separators=(",", ":")),
    "indented": json.dumps(whole(usage=USAGE), indent=4),
    "a usage with many details": json.dumps(
        whole(usage={f"tokens_of_kind_{i}": 0 for i in range(200)} | USAGE)
    ),
    "with usage in its words": json.dumps(
        whole('"usage": {"prompt_tokens": 9, "completion_tokens": 9}\\"usage":{', usage=USAGE)
    ),
    "responses": json.dumps(
        {"type": "response.completed", "response": {"usage": {"input_tokens": 20,
         "output_tokens": 70, "input_tokens_details": {"cached_tokens": 0}}}, "model": "big-2"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("encoding", ["", "gzip", "x-gzip"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_whole_answer_is_read_whatever_its_size_and_encoding(answer, encoding):
    """The teacher's count, to the token, and the model it names."""
    body = answer.encode()
    reader = read(gzip.compress(body) if encoding else body, encoding)
    assert (reader.usage, reader.model) == (TOLD, "big-2")


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("space", [b"", b" "])
@pytest.mark.parametrize("seed", range(20))
def test_a_stream_is_read_however_it_is_cut(space, encoding, seed):
    """The last usage counts (some servers send a running one); every event is seen once."""
    words = [event(space, model="big-2", choices=[{"delta": {"content": "w"}}], usage=None)] * 50
    running = event(space, choices=[], usage={"prompt_tokens": 20, "completion_tokens": 1})
    body = b"".join([*words, running, event(space, choices=[], usage=USAGE), b"data: [DONE]\n\n"])
    reader = read(gzip.compress(body) if encoding else body, encoding, seed)
    assert (reader.usage, reader.model) == (TOLD, "big-2")
    assert reader.estimate(b"four" * 3) == TokenUsage(3, 52)


@pytest.mark.parametrize(
    "usage",
    [None, {}, [], "many", {"prompt_tokens": -1, "completion_tokens": 2}, {"prompt_tokens": "x"}],
)
def test_what_is_no_usage_is_none(usage):
    """Then what was consumed is estimated, four bytes a token, and never 0."""
    body = json.dumps(whole(usage=usage)).encode()
    reader = read(body)
    assert reader.usage is None
    assert reader.estimate(b"") == TokenUsage(1, len(body) // 4)


def test_more_cached_than_read_is_all_read_from_the_cache():
    """A server that counts cached tokens apart is not a fault of ours."""
    usage = USAGE | {"prompt_tokens_details": {"cached_tokens": 500}}
    assert read(json.dumps(whole(usage=usage)).encode()).usage == TokenUsage(20, 70, 20)


@pytest.mark.parametrize(("encoding", "body"), [("br", b"\x0b\x02"), ("gzip", b"no gzip at all")])
def test_what_cannot_be_decoded_is_not_read(encoding, body):
    """It goes by all the same: reading never fails an answer."""
    assert read(body, encoding).usage is None


def test_an_answer_that_unpacks_to_a_huge_one_stays_small():
    """A megabyte that unpacks to a gigabyte is never in memory as a whole."""
    reader = UsageReader("gzip")
    for piece in range(4):
        reader.feed(gzip.compress(b" " * 2**24 + (json.dumps({"usage": USAGE}).encode() * piece)))
    assert reader.usage == TOLD
    assert len(reader._carried) + len(reader._found) < 2**16


def test_members_of_gzip_one_after_the_other_are_one_answer():
    """As servers send them that flush by ending a member."""
    parts = [b'{"choices": [], "usa', b'ge": ', json.dumps(USAGE).encode(), b"}"]
    assert read(b"".join(map(gzip.compress, parts)), "gzip").usage == TOLD
