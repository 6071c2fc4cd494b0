"""What is asked beside the messages: the mode's own fields, and the task's extra ones over them."""

from __future__ import annotations

from collections.abc import Mapping

LIMITS = ("max_tokens", "max_completion_tokens")
"""How OpenAI-style servers call what a model may write; a request has one of them."""


def request_fields(own: Mapping[str, object], extra: Mapping[str, object]) -> dict[str, object]:
    """Return the fields that are sent: `extra` goes over `own`, and null takes a field out."""
    fields = {**own, **extra}
    if extra.get("max_completion_tokens") is not None and "max_tokens" not in extra:
        fields.pop("max_tokens", None)
    return {name: value for name, value in fields.items() if value is not None}


def most_written(fields: Mapping[str, object]) -> int | None:
    """How many tokens an answer may have by these fields; None without a limit."""
    found = [v for name in LIMITS if isinstance(v := fields.get(name), int)]
    return max(found, default=None)
