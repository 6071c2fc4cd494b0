"""Bodies of both surfaces and where their labels stand."""

import json

import pytest

from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.surface import body_of, events_of, label_of

SPEC = LoadSpec(
    url="http://127.0.0.1:1", inputs="x.csv", rate=1, system="S", user="Q: {text}!", model="m"
)


def test_classify_body_is_the_text():
    """The native surface gets the text and nothing else, whatever characters it holds."""
    assert json.loads(body_of(SPEC, 'é"\n{text}')) == {"text": 'é"\n{text}'}


def test_chat_body_is_the_application_s_prompt():
    """The chat surface gets the template around the text, and the system message when there is."""
    spec = SPEC.model_copy(update={"surface": "chat"})
    body = json.loads(body_of(spec, "hi {text}"))
    assert body["model"] == "m"
    assert body["messages"] == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Q: hi {text}!"},
    ]
    bare = json.loads(body_of(spec.model_copy(update={"system": ""}), "hi"))
    assert [m["role"] for m in bare["messages"]] == ["user"]


@pytest.mark.parametrize(
    ("surface", "body", "label"),
    [
        ("classify", b'{"label": "urgent", "raisehand": {}}', "urgent"),
        ("classify", b'{"label": ""}', None),
        ("classify", b'{"label": 3}', None),
        ("classify", b'{"lab', None),
        ("classify", b"[]", None),
        ("chat", b'{"choices": [{"message": {"content": "yes"}}]}', "yes"),
        ("chat", b'{"choices": []}', None),
        ("chat", b'{"choices": [{"message": {"content": null}}]}', None),
        ("chat", b"null", None),
    ],
)
def test_label_is_found_or_the_reply_is_garbled(surface, body, label):
    """A reply without a label in its place is no valid answer."""
    assert label_of(surface, body) == label


@pytest.mark.parametrize(
    ("labels", "whole"),
    [
        (["a", "b", "c"], True),
        (["a", "b"], False),
        (["a", None, "c"], False),
        (["a", "", "c"], False),
    ],
)
def test_a_list_is_answered_when_each_text_is(labels, whole):
    """Three texts were asked together: one without a label, or none at all, is no answer."""
    body = json.dumps({"data": [{"label": label} for label in labels]}).encode()
    assert label_of("batch", body, 3) == ("a" if whole else None)
    refused = b'{"data": [{"label": "a"}, {"error": {"code": "overloaded"}}]}'
    assert label_of("batch", refused, 2) is None


CHUNKS = [b'{"choices": [{"delta": {"content": "%b"}}]}' % word for word in (b"", b"ur", b"gent")]


@pytest.mark.parametrize(
    "line", [b"data: %b\n\n", b"data: %b\r\n\r\n", b"data:%b\r\r", b"event: message\ndata: %b\n\n"]
)
@pytest.mark.parametrize("last", [b"", b": it goes on\n\n"])
def test_a_stream_is_read_however_its_lines_are_written(line, last):
    """Any end of line, `data:` with and without a space, other fields and comments beside it."""
    events = [*(line % chunk for chunk in CHUNKS), last, line % b"[DONE]"]
    body = b"".join(events)
    assert label_of("chat-stream", body) == "urgent"
    assert label_of("chat-stream", body.rstrip()) == "urgent"
    assert label_of("chat-stream", b"".join(events[:-1])) is None
    spoken = [end for end, data in events_of(body) if data == CHUNKS[1]]
    assert spoken == [len(events[0] + events[1])]


def test_a_stream_that_ends_with_an_error_is_no_answer():
    """An engine that fails after the first words says so in an event, and then [DONE]."""
    said = [b"data: %b\n\n" % part for part in (CHUNKS[1], b'{"error": {"code": 500}}', b"[DONE]")]
    assert label_of("chat-stream", b"".join(said)) is None
