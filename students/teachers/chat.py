"""A chat model whose answer's token probabilities are read: logprobs of one word per label.

What is read is the teacher's distribution over its first answer token. The contract, checked
against the real server: each label's word begins with a token of its own; case and spacing do not
matter; a label outside the top-k is bounded, never minus infinity; probability that went to
anything else is kept as `other`; a model that thinks before it answers is refused.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.errors import TeacherError, TeacherGarbled, TeacherRejected
from students.labels import LabelDistribution
from students.prompt import prompt_sha256, render
from students.task import Task
from students.teachers.client import TeacherClient, billed, openai_url, server_url, usage_of
from students.teachers.protocol import TeacherDescriptor, TeacherReply
from students.teachers.questions import Question, first_questions, order_of, question
from students.teachers.single import OneTextTeacher
from students.teachers.tokens import prove_distinct
from students.wording import thinks_aloud

_UNREAD = 0.02
"""Label mass that may stay unread in groups without a second question."""
_MOST_GROUPS = 3
_REASONING = (
    "the teacher thinks before it answers, so its first token is no answer; use teacher.mode: "
    "text, or switch it off, e.g. extra_body: {chat_template_kwargs: {enable_thinking: false}}"
)


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one or more questions gave: p (K,), p_other, whether bounded, the bill, raw choices."""

    p: tuple[float, ...]
    other: float
    truncated: bool
    usage: TokenUsage
    raw: tuple[object, ...]
    said: str


class ChatTeacher(OneTextTeacher):
    """POST /v1/chat/completions with logprobs; one text is one question, or the few it takes.

    Args:
        task: the task; its prompt, answers and labels.
        client: the connection pool to use.
        orders: option orders to ask in and average (True is reversed); default as the task says.
    """

    def __init__(
        self,
        task: Task,
        client: TeacherClient | None = None,
        orders: Sequence[bool] | None = None,
    ) -> None:
        self.schema = task.schema_
        section = task.teacher
        self._task = task
        self._orders = order_of(task) if orders is None else tuple(orders)
        parameters = {
            "max_tokens": section.max_tokens or 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": section.top_logprobs,
            **section.extra_body,
        }
        if "max_completion_tokens" in section.extra_body:
            del parameters["max_tokens"]
        asked = {"answer_with": section.answer_with, "reversed": self._orders, **parameters}
        self.descriptor = TeacherDescriptor(
            mode="chat",
            model=section.model,
            revision=section.revision,
            prompt_sha256=prompt_sha256(task.prompt, task.answers),
            parameters=json.dumps(asked, sort_keys=True),
        )
        self._body = {"model": section.model, **parameters}
        self._url = openai_url(section, "/chat/completions")
        self._client = client or TeacherClient(section)

    async def check(self) -> None:
        """Prove that answers can be told apart by their first token, then ask one question."""
        first = first_questions(self._task, self._orders[:1])[0]
        limit = "max_tokens" if "max_tokens" in self._body else "max_completion_tokens"
        await prove_distinct(
            first.answers,
            self._client,
            model=self._task.teacher.model,
            tokenize_url=server_url(self._task.teacher, "/tokenize"),
            chat_url=self._url,
            body={**self._body, limit: 8},
        )
        await super().check()

    async def _ask(self, text: str, timeout_s: float | None) -> TeacherReply:
        questions = first_questions(self._task, self._orders)
        readings = await _together([self._answer(text, q, timeout_s) for q in questions])
        n = len(readings)
        p = tuple(sum(column) / n for column in zip(*(r.p for r in readings), strict=True))
        distribution = LabelDistribution(
            p, sum(r.other for r in readings) / n, any(r.truncated for r in readings)
        )
        word = self._task.answers[distribution.argmax]
        # With one token to speak a word is cut, and a letter or an average is no word at all: the
        # answer is the label's word, spelled as the teacher spelled it where it did.
        spelled = readings[0].said if readings[0].said.casefold() == word.casefold() else word
        raw = json.dumps([choice for r in readings for choice in r.raw], separators=(",", ":"))
        usage = sum((r.usage for r in readings), NO_USAGE)
        return TeacherReply(distribution, usage, spelled, raw)

    async def _answer(self, text: str, asked: Question, timeout_s: float | None) -> _Reading:
        """Put one question; where its answers are groups, go on within the likely ones."""
        body = {**self._body, "messages": render(asked.prompt, text)}
        reply = await self._client.post(self._url, body, timeout_s)
        usage = usage_of(reply)
        with billed(usage):
            choice = first_choice(reply)
            refuse_reasoning(reply, choice)
            read = read_distribution(answer_token(choice), asked.answers)
        groups = asked.labels
        likely = _likely_groups(groups, read.probabilities)
        within = [question(self._task, [(k,) for k in groups[g]]) for g in likely]
        try:
            inner = await _together([self._answer(text, q, timeout_s) for q in within])
        except TeacherError as error:
            error.usage = None if error.usage is None else error.usage + usage
            raise
        said = said_in(choice)
        outer = _Reading(read.probabilities, read.other, read.truncated, usage, (choice,), said)
        return _spread(outer, groups, dict(zip(likely, inner, strict=True)), len(self.schema))


def _likely_groups(groups: Sequence[Sequence[int]], p: Sequence[float]) -> list[int]:
    """Return the groups worth a second question: they hold nearly all of the label mass."""
    likely: list[int] = []
    left = sum(p)
    for g in sorted(range(len(groups)), key=lambda g: -p[g]):
        if len(likely) == _MOST_GROUPS or left <= _UNREAD:
            break
        left -= p[g]
        if len(groups[g]) > 1:
            likely.append(g)
    return likely


def _spread(
    outer: _Reading, groups: Sequence[Sequence[int]], inner: Mapping[int, _Reading], k: int
) -> _Reading:
    """Multiply out: p(label) = p(group) · p(label | group).

    A group without a second question shares its mass equally among its labels; if such groups
    hold more than `_UNREAD`, the answer is flagged truncated.
    """
    p = [0.0] * k
    other, unread = outer.other, 0.0
    for g, labels in enumerate(groups):
        mass = outer.p[g]
        within = inner.get(g)
        if within is None and len(labels) > 1:
            unread += mass
        if within is not None:
            other += mass * within.other
        for label in labels:
            p[label] = mass * (within.p[label] if within is not None else 1 / len(labels))
    return _Reading(
        tuple(p),
        other,
        outer.truncated or unread > _UNREAD or any(r.truncated for r in inner.values()),
        sum((r.usage for r in inner.values()), outer.usage),
        (*outer.raw, *(choice for r in inner.values() for choice in r.raw)),
        outer.said,
    )


async def _together(calls: Sequence[Coroutine[Any, Any, _Reading]]) -> list[_Reading]:
    """Await all calls; if one fails, raise its error with the bill of all of them on it."""
    done = await asyncio.gather(*calls, return_exceptions=True)
    failed = [r for r in done if isinstance(r, BaseException)]
    if not failed:
        return [r for r in done if isinstance(r, _Reading)]
    error = next((e for e in failed if not isinstance(e, TeacherError)), failed[0])
    if isinstance(error, TeacherError):
        bills = [r.usage for r in done if isinstance(r, (_Reading, TeacherError))]
        known = [bill for bill in bills if bill is not None]
        error.usage = sum(known, NO_USAGE) if len(known) == len(bills) else None
    raise error


def first_choice(reply: Mapping[str, Any]) -> dict[str, Any]:
    """Return choices[0] with its message.

    Raises:
        TeacherGarbled: not a chat completion.
        TeacherRejected: the provider's filter stopped the answer.
    """
    choices = reply.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise TeacherGarbled("the reply has no choices; is this a chat completions server?")
    choice: dict[str, Any] = choices[0]
    if choice.get("finish_reason") == "content_filter":
        raise TeacherRejected("the provider's content filter stopped the answer")
    if not isinstance(choice.get("message"), dict):
        raise TeacherGarbled("the reply's first choice has no message")
    return choice


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
    details = (reply.get("usage") or {}).get("completion_tokens_details") or {}
    if (
        message.get("reasoning_content")
        or message.get("reasoning")
        or details.get("reasoning_tokens")
        or thinks_aloud(said_in(choice))
    ):
        raise TeacherRejected(_REASONING)


def answer_token(choice: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Return (token, log-probability) of the candidates at the answer's position.

    Leading tokens of white space are no answer and are passed over.

    Raises:
        TeacherGarbled: no logprobs, or nothing but white space.
    """
    content = (choice.get("logprobs") or {}).get("content")
    if not isinstance(content, list) or not content:
        raise TeacherGarbled(
            "the reply has no logprobs; use a server that gives them, or teacher.mode: text"
        )
    try:
        for position in content:
            if not str(position["token"]).strip():
                continue
            listed = position.get("top_logprobs") or [position]
            return [(str(item["token"]), float(item["logprob"])) for item in listed]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TeacherGarbled("the reply's logprobs are not in OpenAI's shape") from None
    raise TeacherGarbled(
        "the teacher began with white space and was cut; raise teacher.max_tokens to 2 or more"
    )


def read_distribution(
    listed: Sequence[tuple[str, float]], words: Sequence[str]
) -> LabelDistribution:
    """Turn the top-k tokens into (p_1..p_K, p_other).

    A token counts for a label when it begins that label's word and no other, whatever its case and
    leading space; such variants are summed. With S the listed probability and m the smallest
    listed one, a label without a token can have at most min(m, 1 - S), and all such labels
    together at most 1 - S: that bound is stored and the answer flagged truncated.
    """
    mass = [math.exp(min(0.0, logprob)) for _, logprob in listed]
    p = [0.0] * len(words)
    folded = [word.casefold() for word in words]
    for (token, _), m in zip(listed, mass, strict=True):
        begun = _begins(token, folded)
        if begun is not None:
            p[begun] += m
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


def _begins(token: str, folded: Sequence[str]) -> int | None:
    start = token.strip().casefold()
    if not start:
        return None
    begun = [k for k, word in enumerate(folded) if word.startswith(start)]
    return begun[0] if len(begun) == 1 else None
