"""One call of a teacher, as some log has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from students.prompt import content_of


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """A question of one turn and its answer.

    Attributes:
        system: the system prompt, "" without one.
        user: the user's message.
        answer: what the teacher said.
        model: who answered, as the answer names it.
        at: seconds since 1970; None where the log does not say.
        input_tokens, cached_tokens, output_tokens: as billed; 0 where the log does not say.
        usd: as logged; None where it is unknown.
        base_url: where it was asked; "" where the log does not say.
        first: candidates for the answer's first token with their log-probabilities; mostly none.
    """

    system: str
    user: str
    answer: str
    model: str
    at: float | None = None
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usd: float | None = None
    base_url: str = ""
    first: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Passed:
    """A row of a log that cannot be learnt from, and why: in the same words for all its like."""

    why: str


FAILED = Passed("failed calls")
FROM_CACHE = Passed("answered from the gateway's cache")
NO_WORDS = Passed("calls whose prompt or answer was not stored")
NO_MODEL_CALL = Passed("rows that are no model's answer")
TOOLS = Passed("calls that ended in a tool call")
TURNS = Passed("conversations of several turns")


def one_turn(messages: object, answer: object, **known: Any) -> LoggedCall | Passed:
    """Build a call of [system,] user and answer; anything else is passed over with its reason."""
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        return NO_WORDS
    said = [m for m in messages if isinstance(m, dict)]
    roles = [str(m.get("role") or "") for m in said]
    if "tool" in roles or any(m.get("tool_calls") for m in said):
        return TOOLS
    systems = [content_of(m.get("content")) for m in said if m.get("role") in _SYSTEM]
    users = [content_of(m.get("content")) for m in said if m.get("role") == "user"]
    if len(users) + len(systems) != len(said) or len(users) != 1 or len(systems) > 1:
        return TURNS
    if not users[0] or not isinstance(answer, str) or not answer.strip():
        return NO_WORDS
    return LoggedCall((systems[0] if systems else "") or "", users[0], answer, **known)


_SYSTEM = ("system", "developer")
