"""Whatever arrives is answered with a 2xx or a 4xx in one sentence that repeats nothing of it."""

from __future__ import annotations

import gzip
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


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (gzip.compress(b"{}", mtime=0), "in gzip, and no Content-Encoding says so"),
        (b"\x28\xb5\x2f\xfd\x04\x00", "in zstd, and no Content-Encoding says so"),
        ('{"text": "help"}'.encode("utf-16"), "UTF-16"),
        ('{"text": "help"}'.encode("utf-16-be"), "UTF-16"),
        ('{"text": "help"}'.encode("utf-32-le"), "UTF-16"),
        ('{"text": "caf\xe9"}'.encode("latin-1"), "not UTF-8: byte 13"),
        (b'{"text": "\\ud800"}', "half of a surrogate pair"),
        (b'{"text": "\\ud800 and more than that"}', "half of a surrogate pair"),
        (b'{"text": "\\udc00 and more than that"}', "half of a surrogate pair"),
        (b'{"text": "help"', "truncated"),
        (b'{"text": "help", "treshold": 1}', "unknown field `treshold`"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_by_its_true_cause(rig, body, words):
    """Whatever is wrong with the bytes is said in a sentence a sender can act on."""
    made = await rig()
    response = await made.post(CLASSIFY, body)
    assert response.status == 400
    assert words in response.json["error"]["message"]


@pytest.mark.parametrize("name", ["tre<script>", "a`b", "a b", "x" * 65, "\u202e"])
async def test_a_made_up_field_name_is_not_repeated(rig, name):
    """A name that is no name could be anything: it is called unknown, and not said."""
    made = await rig()
    for path in (CLASSIFY, "/v1/systemone"):
        response = await made.post(path, {"text": "x", name: 1})
        assert response.status == 400
        assert name not in response.json["error"]["message"]


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


async def test_unknown_paths_of_openais_api_are_refused_in_its_shape(rig):
    """Its SDKs read `param` and `code`, whatever the path is."""
    made = await rig()
    for path in ("/v1/chat/completions/", "/v1/audio/speech", "/v1/"):
        response = await made.post(path, {})
        assert response.status == 404
        assert response.json["error"].keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", [CLASSIFY, CHAT])
async def test_hot_routes_take_post_only(rig, path):
    """A GET on a hot route is a 405 in our words."""
    made = await rig()
    response = await made.get(path)
    assert response.status == 405
    assert "message" in response.json["error"]
