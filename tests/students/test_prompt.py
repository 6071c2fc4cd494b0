"""Rendering and matching are each other's inverse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from students.prompt import Prompt, match, prompt_sha256, render

PROMPT = Prompt(system="You sort mail.", user="Mail:\n{text}\n\nUrgent?")


@given(st.text())
def test_match_undoes_render(text):
    """Whatever the text, even one that holds the prompt itself, it comes back."""
    assert match(PROMPT, render(PROMPT, text)) == text
    assert match(PROMPT, render(PROMPT, PROMPT.user.replace("{text}", text))) is not None
    assert match(Prompt(), render(Prompt(), text)) == text


def test_an_equivalent_spelling_of_the_messages_matches():
    """Text parts and the developer role mean the same."""
    parts = [{"type": "text", "text": "Mail:\nhi\n\n"}, {"type": "text", "text": "Urgent?"}]
    messages = [
        {"role": "developer", "content": "You sort mail."},
        {"role": "user", "content": parts},
    ]
    assert match(PROMPT, messages) == "hi"


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user", "content": "Mail:\nhi\n\nUrgent?"}],
        [
            {"role": "system", "content": "Other."},
            {"role": "user", "content": "Mail:\n\n\nUrgent?"},
        ],
        [{"role": "system", "content": "You sort mail."}, {"role": "user", "content": "Mail:\nhi"}],
        [{"role": "system", "content": "You sort mail."}, {"role": "user", "content": None}],
        [
            {"role": "system", "content": "You sort mail."},
            {"role": "user", "content": "Mail:\n\nU"},
        ],
        [
            {"role": "system", "content": "You sort mail."},
            {"role": "user", "content": [{"type": "image_url", "image_url": "x"}]},
        ],
        [*render(PROMPT, "hi"), {"role": "assistant", "content": "urgent"}],
    ],
)
def test_anything_else_does_not_match(messages):
    """Another system prompt, a missing frame, images or a longer talk are not this task."""
    assert match(PROMPT, messages) is None


def test_the_fingerprint_sees_prompt_and_words():
    """Another prompt or another answer word is another teacher."""
    one = prompt_sha256(PROMPT, ["yes", "no"])
    assert one == prompt_sha256(PROMPT, ["yes", "no"])
    assert one != prompt_sha256(PROMPT, ["no", "yes"])
    assert one != prompt_sha256(Prompt(user="{text} Urgent?"), ["yes", "no"])
