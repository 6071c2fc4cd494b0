"""Whatever arrives is answered with a 2xx or a 4xx in one sentence that repeats nothing of it."""

from __future__ import annotations

import json
import re

import pytest

CLASSIFY, CHAT = "/v1/classify", "/v1/chat/completions"
CANARY = "SECRET-CANARY"
CORPUS = [
    b"",
    b"null",
    b"[]",
    b"0",
    b'"text"',
    b"{",
    b'{"text": NaN}',
    b'{"text": "x", "threshold": NaN}',
    b'{"text": "x", "threshold": 1e999}',
    b'{"text": "x", "threshold": -1}',
    b'{"text": "x", "threshold": 1.5}',
    b'{"text": "x", "threshold": "0.5"}',
    b'{"text": "x", "deadline_ms": 1e999}',
    b'{"text": "x", "deadline_ms": 0}',
    b'{"text": "x", "deadline_ms": 1e12}',
    b'{"text": "x", "top_k": 0}',
    b'{"text": "x", "top_k": ' + b"9" * 5000 + b"}",
    b'{"text": "\\ud800"}',
    b'{"text": "\\ud800\\u0000"}',
    b'{"text": "\xff\xfe"}',
    b'{"text": "\xed\xa0\x80"}',
    b"\xef\xbb\xbf{}",
    b'{"text": ""}',
    b'{"text": " \\n\\t\\u2003"}',
    b'{"text": 1}',
    b'{"text": null}',
    b'{"text": {}}',
    b'{"text": []}',
    b'{"text": [""]}',
    b'{"text": [1]}',
    b'{"text": [["x"]]}',
    b'{"text": "x", "model": 3}',
    b'{"text": "x", "model": "SECRET-CANARY"}',
    b'{"text": "SECRET-CANARY", "treshold": 0.5}',
    b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    json.dumps({"text": "x" * 40_000}).encode(),
    json.dumps({"text": ["x"] * 65}).encode(),
    b'{"model": "big"}',
    b'{"model": "big", "messages": null}',
    b'{"model": "big", "messages": [null]}',
    b'{"model": "big", "messages": [{"role": "user", "content": {"a": 1}}]}',
    b'{"model": "big", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
    b'{"model": "nobody", "messages": [{"role": "user", "content": "SECRET-CANARY"}]}',
    b'{"model": "urgent", "messages": [{"role": "user", "content": "SECRET-CANARY"}]}',
    b'{"model": "big", "messages": [], "n": 1e999, "stream": "yes"}',
    b'{"model": "big", "messages": [{"role": "\\ud800", "content": "x"}]}',
]


@pytest.mark.parametrize("path", [CLASSIFY, CHAT])
async def test_no_body_is_a_server_error(rig, path):
    """Every body of the fuzz corpus gets a 4xx with a JSON sentence and no echo."""
    made = await rig()
    for body in CORPUS:
        response = await made.post(path, body)
        assert 400 <= response.status < 500, body[:80]
        message = response.json["error"]["message"]
        assert CANARY not in message
        assert message.endswith(".")
        assert len(message) < 400
    assert made.ledger.entries == []


@pytest.mark.parametrize("text", ["\u0000", "a\u0000b", "\U0001f600", "x" * 32_768, "\ufffe", "1"])
async def test_odd_but_legal_texts_are_answered(rig, text):
    """NULs, emoji, the longest text allowed: legal JSON strings get an answer."""
    made = await rig()
    response = await made.post(CLASSIFY, {"text": text})
    assert response.status == 200


async def test_a_client_that_left_gets_nothing_written(rig):
    """A disconnect while the body is read ends the request without an answer or a forward."""
    made = await rig()
    assert await made.send(CLASSIFY, []) is None
    assert made.student.calls == []


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (b"abc-123", True),
        (b"a" * 64, True),
        (b"a" * 65, False),
        (b"", False),
        (b"a b", False),
        (b"a\nb", False),
        (b"../x", False),
        (b"a_b", False),
    ],
)
async def test_a_request_id_is_taken_only_when_it_is_harmless(rig, given, kept):
    """1 to 64 letters, digits and hyphens are kept; anything else is replaced."""
    made = await rig()
    response = await made.post(CLASSIFY, {"text": "x"}, [(b"x-request-id", given)])
    answered = response.headers["x-request-id"]
    assert (answered == given.decode()) == kept
    assert re.fullmatch("[A-Za-z0-9-]{1,64}", answered)
    assert made.ledger.entries[-1].request_id == answered


async def test_request_ids_differ(rig):
    """Requests without an id get different ones."""
    made = await rig()
    responses = [await made.post(CLASSIFY, {"text": "x"}) for _ in range(50)]
    assert len({r.headers["x-request-id"] for r in responses}) == 50


async def test_an_unforeseen_fault_is_a_json_500_that_says_nothing(rig, caplog):
    """A bug answers 500 in JSON without details; the details are in the log."""
    made = await rig()
    made.pipeline.answer = None
    response = await made.post(CLASSIFY, {"text": CANARY})
    assert response.status == 500
    assert CANARY not in response.body.decode()
    assert "TypeError" not in response.body.decode()
    assert "TypeError" in caplog.text


@pytest.mark.parametrize(("path", "status"), [("/nope", 404), ("/v1/classify/", 404), ("//", 404)])
async def test_unknown_paths_are_404_in_our_words(rig, path, status):
    """A path that is not there is a 404 in the error format of the router."""
    made = await rig()
    response = await made.post(path, {})
    assert response.status == status
    assert response.json["error"]["type"] == "not_found_error"


@pytest.mark.parametrize("path", [CLASSIFY, CHAT])
async def test_hot_routes_take_post_only(rig, path):
    """A GET on a hot route is a 405 in our words."""
    made = await rig()
    response = await made.get(path)
    assert response.status == 405
    assert "message" in response.json["error"]
