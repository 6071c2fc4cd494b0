"""What asking a teacher can consume at most, which a budget reserves, and what it likely does."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from costmodel.money.pricing import TokenUsage
from students.task import Task
from students.teachers.parameters import most_written, request_fields
from students.teachers.questions import label_groups, order_of

_TEMPLATE_TOKENS = 512
"""Chat template, its default system message and special tokens around a conversation."""
_DECISION_TOKENS = 1024
"""Decision APIs wrap the question in instructions of their own (about 261 tokens for Jev)."""
_SPECIAL_TOKENS = 16
_LIST_MARKS = 8
"""Bytes around one listed option: its letter or dash, the line break."""
_UNLIMITED_TOKENS = 1024
"""Text mode without max_tokens: what an answer is expected not to exceed."""
BYTES_PER_TOKEN = 4
"""The usual rule of thumb for English; other scripts take more tokens a character, and bytes."""
_AROUND = {"classify": 2, "local": 2}
_SAID = {"classify": 0, "local": 0, "decisions": 1, "text": 4}
"""Output tokens of one request; a chat answer is cut at max_tokens."""
_LEVELS = 4
"""Requests of one two-level answer: which group, and within at most three groups."""


def calls_per_text(task: Task) -> int:
    """Return how many requests one text takes at most."""
    section = task.teacher
    if section.mode == "text":
        return section.samples
    if section.mode == "chat":
        two_level = any(len(group) > 1 for group in label_groups(task))
        return len(order_of(task)) * (_LEVELS if two_level else 1)
    return 1


def usage_bound(task: Task) -> Callable[[Sequence[str]], TokenUsage]:
    """Return a function that bounds what one call about some texts can consume.

    No tokenizer in use makes more tokens of a text than it has bytes. What a model without a token
    limit writes (text mode without max_tokens) is bounded by experience only.
    """
    section, calls = task.teacher, calls_per_text(task)
    if section.mode in ("classify", "local"):
        around, written = _SPECIAL_TOKENS, 0
    else:
        prompt, options = task.prompt, [*task.answers, *task.schema_.descriptions]
        around = len("".join([prompt.system, prompt.user, *options]).encode())
        around += _LIST_MARKS * len(task.schema_)
        around += _DECISION_TOKENS if section.mode == "decisions" else _TEMPLATE_TOKENS
        unlimited = _UNLIMITED_TOKENS if section.mode == "text" else 1
        limit = most_written(request_fields({"max_tokens": section.max_tokens}, section.extra_body))
        written = limit or unlimited

    def bound(texts: Sequence[str]) -> TokenUsage:
        read = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        n = len(texts)
        return TokenUsage(calls * (read + around * n), calls * written * n, requests=calls * n)

    return bound


def usage_guess(task: Task) -> Callable[[Sequence[str]], TokenUsage]:
    """Return a function that guesses by length what asking about some texts consumes."""
    section, calls = task.teacher, calls_per_text(task)
    around = 0
    if section.mode not in _AROUND:
        around = len((task.prompt.system + task.prompt.user).encode())
    fixed = around / BYTES_PER_TOKEN + _AROUND.get(section.mode, 10)
    written = _SAID.get(section.mode, section.max_tokens or 1)

    def guess(texts: Sequence[str]) -> TokenUsage:
        read = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        n = len(texts)
        tokens = math.ceil(calls * (read / BYTES_PER_TOKEN + fixed * n))
        return TokenUsage(tokens, calls * written * n, requests=calls * n)

    return guess
