"""The most that asking a teacher can consume: what a budget reserves before a call."""

from __future__ import annotations

from collections.abc import Sequence

from costmodel.pricing import TokenUsage
from students.task import Task
from students.teachers.questions import label_groups, order_of

_TEMPLATE_TOKENS = 512
"""Chat template, its default system message and special tokens around a conversation."""
_DECISION_TOKENS = 1024
"""Decision APIs wrap the question in instructions of their own (about 261 tokens for Jev)."""
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


def largest_usage(task: Task, texts: Sequence[str]) -> TokenUsage:
    """Bound what one call about these texts can consume.

    No tokenizer in use makes more tokens of a text than it has bytes.
    """
    section = task.teacher
    read = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
    if section.mode in ("classify", "local"):
        return TokenUsage(read + 16 * len(texts), 0, requests=len(texts))
    prompt = task.prompt
    options = "".join([*task.answers, *task.schema_.descriptions])
    around = len((prompt.system + prompt.user + options).encode()) + 8 * len(task.schema_)
    around += _DECISION_TOKENS if section.mode == "decisions" else _TEMPLATE_TOKENS
    calls = calls_per_text(task)
    written = {"chat": section.max_tokens, "text": max(16, section.max_tokens)}
    return TokenUsage(
        calls * (read + around * len(texts)),
        calls * written.get(section.mode, 1) * len(texts),
        requests=calls * len(texts),
    )
