"""Bodies of both surfaces and where their labels stand."""

import json

import pytest

from loadtests.inputs.spec import LoadSpec
from loadtests.inputs.surface import body_of, label_of

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
