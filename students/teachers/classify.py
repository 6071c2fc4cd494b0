"""A classifier that someone owns, behind vLLM's `/classify`: every probability, exactly."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import msgspec

from costmodel.money.pricing import TokenUsage
from students.errors import TeacherGarbled, TeacherRejected
from students.labels import LabelDistribution
from students.task import Task
from students.teachers.client import TeacherClient, billed, server_url
from students.teachers.parameters import request_fields
from students.teachers.protocol import PROBE, TeacherDescriptor, TeacherReply
from students.teachers.usage import usage_of

_SUM_TOLERANCE = 0.02
"""Half-precision softmax over 77 classes is off by less than this."""


class ClassifyTeacher:
    """POST {model, input} → data[].{label, probs, num_classes}, usage.

    The server lists probabilities in its own class order and names only the winner. The task's
    labels (or `teacher.answers`, where the server calls them otherwise) must stand in that order;
    every reply is checked against it, so that a swapped order is refused and never learnt.
    """

    def __init__(self, task: Task, client: TeacherClient | None = None) -> None:
        self.schema = task.schema_
        section = task.teacher
        parameters = dict(sorted(request_fields({}, section.extra_body).items()))
        self.descriptor = TeacherDescriptor(
            mode="classify",
            model=section.model,
            revision=section.revision,
            prompt_sha256=hashlib.sha256(json.dumps(task.answers).encode()).hexdigest(),
            parameters=json.dumps(parameters, sort_keys=True),
        )
        self._classes = task.answers
        self._body = {"model": section.model, **parameters}
        self._url = server_url(section, "/classify")
        self._client = client or TeacherClient(section)

    async def label(
        self, texts: Sequence[str], *, timeout_s: float | None = None
    ) -> list[TeacherReply]:
        """Ask about all texts in one request."""
        if not texts:
            return []
        body = {**self._body, "input": list(texts)}
        reply = await self._client.post(self._url, body, timeout_s)
        usage = usage_of(reply)
        with billed(usage):
            rows = _rows(reply, len(texts))
            return [
                self._read(row, share, text)
                for row, share, text in zip(rows, _shares(usage, texts), texts, strict=True)
            ]

    async def check(self, *, timeout_s: float | None = None) -> None:
        """Ask one question and read its answer as any other."""
        await self.label([PROBE], timeout_s=timeout_s)

    async def aclose(self) -> None:
        """Close the connection pool."""
        await self._client.aclose()

    def _read(self, row: dict[str, Any], usage: TokenUsage, text: str) -> TeacherReply:
        probabilities = _probabilities(row)
        if len(probabilities) != len(self.schema):
            raise TeacherRejected(
                f"the server's classifier has {len(probabilities)} classes and the task "
                f"{len(self.schema)} labels; serve the model that was trained on these labels"
            )
        name = row.get("label")
        # A tie may go to any of the winners; a reply without a name is taken in order.
        if name is not None and not self._is_winner(name, probabilities):
            best = probabilities.index(max(probabilities))
            raise TeacherRejected(
                f"the server calls class {best} {name!r} where the task has "
                f"{self._classes[best]!r}; list the labels in the order of the model's id2label, "
                "or give its names in teacher.answers"
            )
        other = max(0.0, 1.0 - sum(probabilities))
        distribution = LabelDistribution(probabilities, other)
        raw = json.dumps(row, separators=(",", ":"))
        return TeacherReply(distribution, usage, self._classes[distribution.argmax], raw)

    def _is_winner(self, name: object, probabilities: tuple[float, ...]) -> bool:
        return name in self._classes and (
            probabilities[self._classes.index(str(name))] >= max(probabilities) - 1e-6
        )


def _rows(reply: dict[str, Any], n: int) -> list[dict[str, Any]]:
    data = reply.get("data")
    if not isinstance(data, list) or not all(isinstance(row, dict) for row in data):
        raise TeacherGarbled("the reply has no list `data`; is this vLLM's /classify?")
    rows = {row.get("index", i): row for i, row in enumerate(data)}
    if sorted(map(str, rows)) != sorted(map(str, range(n))):
        raise TeacherGarbled(f"{n} texts were sent and {len(data)} answers came back")
    return [rows[i] for i in range(n)]


def _probabilities(row: dict[str, Any]) -> tuple[float, ...]:
    probs = row.get("probs")
    try:
        values = msgspec.convert(probs, list[float])
    except msgspec.ValidationError:
        values = []
    total = sum(values)
    if not values or math.isnan(total) or min(values) < -1e-6 or max(values) > 1 + 1e-3:
        raise TeacherGarbled("`probs` of an answer is not a list of probabilities")
    if abs(total - 1) > _SUM_TOLERANCE:
        raise TeacherGarbled(
            f"the probabilities of one answer sum to {total:.3f}; the classifier must give one "
            "label per text (softmax), not several (sigmoid)"
        )
    if min(values) < 0.0 or max(values) > 1.0:
        values = [min(1.0, max(0.0, p)) for p in values]
    return tuple(values)


def _shares(usage: TokenUsage, texts: Sequence[str]) -> list[TokenUsage]:
    """Divide one bill over its texts by their length; the shares add up to it exactly."""
    lengths = [len(text) + 1 for text in texts]
    total, done, shares = sum(lengths), 0, []
    spent = [0, 0, 0]
    amounts = [usage.input_tokens, usage.output_tokens, usage.cached_input_tokens]
    for length in lengths:
        done += length
        upto = [amount * done // total for amount in amounts]
        one = [now - before for now, before in zip(upto, spent, strict=True)]
        spent = upto
        shares.append(TokenUsage(one[0], one[1], min(one[2], one[0])))
    return shares
