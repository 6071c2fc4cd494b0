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
from dataclasses import dataclass, replace
from typing import Any

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.errors import TeacherError
from students.labels import LabelDistribution
from students.prompt import prompt_sha256, render
from students.task import Task
from students.teachers.client import TeacherClient, billed, openai_url, server_url
from students.teachers.completion import (
    answer_token,
    first_choice,
    read_distribution,
    refusal_in,
    refuse_reasoning,
    said_in,
)
from students.teachers.parameters import LIMITS, request_fields
from students.teachers.protocol import READING, TeacherDescriptor, TeacherReply
from students.teachers.questions import Question, first_questions, order_of, question_within
from students.teachers.single import OneTextTeacher
from students.teachers.tokens import FirstTokens, is_mark
from students.teachers.usage import usage_of

_UNREAD = 0.02
"""Label mass that may stay unread in groups without a second question."""
_MOST_GROUPS = 3


@dataclass(frozen=True, slots=True)
class _Reading:
    """What one or more questions gave: the distribution over their labels, the bill, raw choices.

    `top` is the first question's most probable token and its probability, where it means no label.
    """

    distribution: LabelDistribution
    usage: TokenUsage
    raw: tuple[object, ...]
    said: str
    top: tuple[str, float] | None


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
        own = {
            "max_tokens": section.max_tokens or 1,
            "temperature": 0,
            "logprobs": True,
            "top_logprobs": section.top_logprobs,
        }
        parameters = request_fields(own, section.extra_body)
        asked = {
            "reading": READING,
            "answer_with": section.answer_with,
            "reversed": self._orders,
            **parameters,
        }
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
        limits = dict.fromkeys((name for name in LIMITS if name in self._body), 8)
        self._first = FirstTokens(
            self._client,
            model=section.model,
            tokenize_url=server_url(section, "/tokenize"),
            chat_url=self._url,
            body={**self._body, **limits},
        )

    async def check(self, *, timeout_s: float | None = None) -> None:
        """Prove that answers can be told apart by their first token, then ask one question."""
        await self._first.prove_distinct(first_questions(self._task, self._orders[:1])[0].answers)
        await super().check(timeout_s=timeout_s)

    async def _ask(self, text: str, timeout_s: float | None) -> TeacherReply:
        questions = zip(first_questions(self._task, self._orders), self._orders, strict=True)
        readings = await _together(
            [self._answer(text, asked, timeout_s, backwards) for asked, backwards in questions]
        )
        distribution = _mean([r.distribution for r in readings])
        first, usage = readings[0], sum((r.usage for r in readings), NO_USAGE)
        raw = json.dumps([choice for r in readings for choice in r.raw], separators=(",", ":"))
        if distribution.label is None:
            said = next((r.said for r in readings if r.distribution.refused), first.said)
            return TeacherReply(distribution, usage, said, raw, _fault(readings))
        word = self._task.answers[distribution.label]
        # With one token to speak a word is cut, and a letter or an average is no word at all: the
        # answer is the label's word, spelled as the teacher spelled it where it did.
        spelled = first.said if first.said.casefold() == word.casefold() else word
        return TeacherReply(distribution, usage, spelled, raw)

    async def _answer(
        self, text: str, asked: Question, timeout_s: float | None, backwards: bool
    ) -> _Reading:
        """Put one question; where its answers are groups, go on within the likely ones."""
        body = {**self._body, "messages": render(asked.prompt, text)}
        reply = await self._client.post(self._url, body, timeout_s)
        usage = usage_of(reply)
        with billed(usage):
            choice = first_choice(reply)
            refused = refusal_in(choice)
            if refused is not None:
                none = LabelDistribution.refusal(len(self.schema))
                return _Reading(none, usage, (choice,), refused, None)
            refuse_reasoning(reply, choice)
            listed = answer_token(choice)
        usage += await self._first.prove([token for token, _ in listed], asked.answers)
        read = read_distribution(listed, asked.answers, self._first.meant)
        groups = asked.labels
        likely = _likely_groups(groups, read)
        within = [question_within(self._task, groups[g], backwards) for g in likely]
        try:
            inner = await _together(
                [self._answer(text, one, timeout_s, backwards) for one in within]
            )
        except TeacherError as error:
            error.usage = None if error.usage is None else error.usage + usage
            raise
        said = said_in(choice)
        token, logprob = max(listed, key=lambda item: item[1])
        means_none = self._first.meant(token, asked.answers) is None
        top = (token, math.exp(min(0.0, logprob))) if means_none else None
        outer = _Reading(read, usage, (choice,), said, top)
        return _spread(outer, groups, dict(zip(likely, inner, strict=True)), len(self.schema))


def _likely_groups(groups: Sequence[Sequence[int]], read: LabelDistribution) -> list[int]:
    """Return the groups worth a second question: they hold nearly all of the label mass.

    Where something else is likelier than any group, no label can come out on top: none is asked on.
    """
    p = read.probabilities
    if read.other > max(p):
        return []
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
    read = outer.distribution
    p = [0.0] * k
    other, unread = read.other, 0.0
    for g, labels in enumerate(groups):
        mass = read.probabilities[g]
        within = inner[g].distribution if g in inner else None
        if within is None and len(labels) > 1:
            unread += mass
        if within is not None:
            other += mass * within.other
        for label in labels:
            p[label] = mass * (within.probabilities[label] if within else 1 / len(labels))
    distribution = LabelDistribution(
        tuple(p),
        other,
        read.truncated or unread > _UNREAD or any(r.distribution.truncated for r in inner.values()),
        refused=any(r.distribution.refused for r in inner.values()),
    )
    return replace(
        outer,
        distribution=distribution,
        usage=sum((r.usage for r in inner.values()), outer.usage),
        raw=(*outer.raw, *(choice for r in inner.values() for choice in r.raw)),
    )


def _mean(read: Sequence[LabelDistribution]) -> LabelDistribution:
    n, columns = len(read), zip(*(r.probabilities for r in read), strict=True)
    return LabelDistribution(
        tuple(sum(column) / n for column in columns),
        sum(r.other for r in read) / n,
        any(r.truncated for r in read),
        any(r.refused for r in read),
    )


def _fault(readings: Sequence[_Reading]) -> str:
    """Say why readings that together mean no label do not, and what to do."""
    for reading in readings:
        if reading.distribution.refused:
            return f"the teacher refused: {reading.said[:80]!r}"
    top = next((reading.top for reading in readings if reading.top is not None), None)
    if top is None:
        return "no label stands above the others: options mean the same, or their order decides"
    token, p = top
    found = f"the first token is {token!r} ({p:.2f}), no label: "
    if is_mark(token):
        return found + (
            "raise teacher.max_tokens to 4 or more, so that it is passed over, or ask for the bare "
            "word in the prompt"
        )
    return found + (
        "ask for the bare word in the prompt, name the teacher's words in teacher.answers, or use "
        "teacher.mode: text"
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
