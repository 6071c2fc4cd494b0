"""What one chat completion says: its choice, its words, a refusal, the tokens it almost said."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from students.errors import TeacherGarbled, TeacherRejected
from students.labels import LabelDistribution
from students.teachers.tokens import is_mark
from students.teachers.usage import reasoning_tokens
from students.wording import thinks_aloud

Listed = list[tuple[str, float]]
"""(token, log-probability) of the candidates at one position."""
Meant = Callable[[str, Sequence[str]], int | None]
"""Which of the words a token means."""

_FILTERED = ("content_filter", "refusal", "safety")
_PLACEHOLDER = -1000.0
"""No model is so sure: servers write -9999 where they know nothing."""
_REASONING = (
    "the teacher thinks before it answers, so its first token is no answer; use teacher.mode: "
    "text, or switch it off, e.g. extra_body: {chat_template_kwargs: {enable_thinking: false}}"
)


def first_choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices[0] with its message.

    Raises:
        TeacherGarbled: not a chat completion.
    """
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise TeacherGarbled("the reply has no choices; is this a chat completions server?")
    choice: dict[str, Any] = choices[0]
    if choice.get("message") is None and _is_filtered(choice):
        return {**choice, "message": {}}
    if not isinstance(choice.get("message"), dict):
        raise TeacherGarbled("the reply's first choice has no message")
    return choice


def refusal_in(choice: Mapping[str, Any]) -> str | None:
    """Return the words in which a choice refuses to answer; None where it does not."""
    refusal = choice["message"].get("refusal")
    if refusal:
        return str(refusal)
    if _is_filtered(choice):
        return said_in(choice) or "The provider's content filter stopped the answer."
    return None


def said_in(choice: Mapping[str, Any]) -> str:
    """Return the text of a choice's message; parts that are no text (thoughts) are left out."""
    content = choice["message"].get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping)]
        content = "".join(str(p.get("text", "")) for p in parts if p.get("type") == "text")
    return str(content or "").strip()


def refuse_reasoning(reply: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
    """Raise TeacherRejected if the model reasoned before the answer."""
    message = choice["message"]
    if (
        message.get("reasoning_content")
        or message.get("reasoning")
        or reasoning_tokens(reply)
        or thinks_aloud(said_in(choice))
    ):
        raise TeacherRejected(_REASONING)


def answer_token(choice: Mapping[str, Any]) -> Listed:
    """Return the candidates at the answer's position.

    Leading blanks, quotes and markdown are no answer: they are passed over if more was written.

    Raises:
        TeacherGarbled: no logprobs, or nothing but white space.
        TeacherRejected: the log-probabilities are placeholders.
    """
    content = (choice.get("logprobs") or {}).get("content")
    if not isinstance(content, list) or not content:
        raise TeacherGarbled(
            "the reply has no logprobs; use a server that gives them, or teacher.mode: text"
        )
    try:
        tokens = [str(position["token"]) for position in content]
        words = [i for i, token in enumerate(tokens) if not is_mark(token)]
        marks = [i for i, token in enumerate(tokens) if token.strip()]
        if not marks:
            raise TeacherGarbled(
                "the teacher began with white space and was cut; raise teacher.max_tokens to 2 or "
                "more"
            )
        position = content[(words or marks)[0]]
        listed = [
            (str(item["token"]), float(item["logprob"]))
            for item in position.get("top_logprobs") or [position]
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TeacherGarbled("the reply's logprobs are not in OpenAI's shape") from None
    if any(math.isnan(logprob) for _, logprob in listed):
        raise TeacherGarbled("a log-probability of the reply is not a number")
    # At temperature 0 some servers give 0 to the token they chose and nothing to any other.
    if all(logprob >= 0.0 or logprob <= _PLACEHOLDER for _, logprob in listed):
        raise TeacherRejected(
            f"the server's log-probabilities are placeholders "
            f"({', '.join(f'{logprob:g}' for _, logprob in listed[:3])}), no probabilities; use "
            "teacher.mode: text"
        )
    return listed


def read_distribution(listed: Listed, words: Sequence[str], meant: Meant) -> LabelDistribution:
    """Turn the top-k tokens into (p_1..p_K, p_other).

    What several tokens `meant` alike (case, leading space) is summed. With S the listed probability
    and m the smallest listed one, a label without a token can have at most min(m, 1 - S), and all
    such labels together at most 1 - S: that bound is stored and the answer flagged truncated. Where
    no label has a token, the bounds are level and the answer is unusable.
    """
    mass = [math.exp(min(0.0, logprob)) for _, logprob in listed]
    p = [0.0] * len(words)
    for (token, _), m in zip(listed, mass, strict=True):
        label = meant(token, words)
        if label is not None:
            p[label] += m
    missing = [k for k, probability in enumerate(p) if probability == 0.0]
    rest = max(0.0, 1.0 - sum(mass))
    if missing and mass:
        bound = min(min(mass), rest / len(missing))
        for k in missing:
            p[k] = bound
    total = sum(p)
    if total > 1.0:
        p = [probability / total for probability in p]
    return LabelDistribution(tuple(p), max(0.0, 1.0 - total), truncated=bool(missing))


def _is_filtered(choice: Mapping[str, Any]) -> bool:
    return str(choice.get("finish_reason")).casefold() in _FILTERED
