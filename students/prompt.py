"""The prompt and its inverse: a text becomes messages, and those messages become the text again.

Labelling renders, the router matches: an application that already asks the teacher with this
prompt needs to change only its base URL.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import field_validator

from costmodel.frozen import Frozen

Message = dict[str, str]


class Prompt(Frozen):
    """What a chat teacher is asked.

    `{text}` stands for the input and must occur once in `user`. `{labels}`, in either part, stands
    for the list of answers with their descriptions; with it, option order can be averaged out.
    """

    system: str = ""
    user: str = "{text}"

    @field_validator("user")
    @classmethod
    def _text_once(cls, value: str) -> str:
        if value.count("{text}") != 1:
            raise ValueError(f"{{text}} occurs {value.count('{text}')} times; it must occur once")
        return value

    @property
    def lists_options(self) -> bool:
        """Whether the teacher is shown the list of answers."""
        return "{labels}" in self.system + self.user


def render(prompt: Prompt, text: str) -> list[Message]:
    """Return the chat messages that ask about `text`."""
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    return [*messages, {"role": "user", "content": prompt.user.replace("{text}", text)}]


def option_list(
    words: Sequence[str], descriptions: Sequence[str], names: Sequence[str] | None = None
) -> str:
    """Write the options one a line; `names` are the letters that stand for them."""
    lines = []
    for i, (word, description) in enumerate(zip(words, descriptions, strict=True)):
        mark = f"{names[i]}: " if names else "- "
        lines.append(mark + word + (f" - {description}" if description else ""))
    if names:
        lines.append("Answer with the letter of one option only.")
    return "\n".join(lines)


def fill(prompt: Prompt, options: str) -> Prompt:
    """Put the option list where the prompt says `{labels}`."""
    if not prompt.lists_options:
        return prompt
    # A description that spells "{text}" must not become a second place for the text.
    options = options.replace("{text}", "{ text }")
    return Prompt(
        system=prompt.system.replace("{labels}", options),
        user=prompt.user.replace("{labels}", options),
    )


class Template:
    """A prompt taken apart once, for matching many requests."""

    def __init__(self, prompt: Prompt) -> None:
        self._system = prompt.system
        self._bare_system = prompt.system.strip()
        self._messages = 2 if prompt.system else 1
        self._before, self._after = prompt.user.split("{text}")
        self._bare_before, self._bare_after = self._before.lstrip(), self._after.rstrip()

    def match(self, messages: Sequence[Mapping[str, Any]]) -> str | None:
        """Return the text that `render` would turn into these messages, or None.

        Content may be a string or a list of text parts, and `developer` counts as `system`. Blank
        space around a message is not looked at: clients and templates add and take a newline.
        """
        if len(messages) != self._messages or (self._system and not self._begins(messages[0])):
            return None
        asked = messages[-1]
        said = content_of(asked.get("content"))
        if said is None or asked.get("role") != "user":
            return None
        exactly = _between(said, self._before, self._after)
        if exactly is not None:
            return exactly
        return _between(said.strip(), self._bare_before, self._bare_after)

    def _begins(self, message: Mapping[str, Any]) -> bool:
        if message.get("role") not in ("system", "developer"):
            return False
        said = message.get("content")
        return said == self._system or (content_of(said) or "").strip() == self._bare_system


def _between(said: str, before: str, after: str) -> str | None:
    begin, end = len(before), len(said) - len(after)
    if begin <= end and said.startswith(before) and said.endswith(after):
        return said[begin:end]
    return None


def match(prompt: Prompt, messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the text that `render` would turn into these messages, or None."""
    return Template(prompt).match(messages)


def prompt_sha256(prompt: Prompt, answers: Sequence[str]) -> str:
    """Fingerprint of everything the teacher is told, answer words included."""
    content = json.dumps([prompt.system, prompt.user, list(answers)], ensure_ascii=True)
    return hashlib.sha256(content.encode()).hexdigest()


def content_of(content: object) -> str | None:
    """Return what a message's content says, a string or text parts; None where it is no text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(
        isinstance(part, Mapping)
        and part.get("type") == "text"
        and isinstance(part.get("text"), str)
        for part in content
    ):
        return "".join(part["text"] for part in content)
    return None
