"""A teacher that only talks: its answer is a hard label, or the shares of several answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.errors import TeacherError
from students.labels import LabelDistribution
from students.prompt import prompt_sha256, render
from students.task import Task
from students.teachers.client import TeacherClient, billed, openai_url
from students.teachers.completion import first_choice, refusal_in, said_in
from students.teachers.parameters import request_fields
from students.teachers.protocol import READING, TeacherDescriptor, TeacherReply
from students.teachers.questions import question
from students.teachers.single import OneTextTeacher
from students.teachers.usage import usage_of
from students.wording import read_answer, without_thinking


@dataclass(frozen=True, slots=True)
class _Sample:
    """One answer: the words behind any thinking, whether the token limit cut them, their label."""

    said: str
    cut: bool
    label: int | None
    usage: TokenUsage
    refused: bool = False


class TextTeacher(OneTextTeacher):
    """POST /v1/chat/completions without logprobs.

    One sample is asked at temperature 0 and gives a hard label. k samples are asked at
    temperature 1, each with the options of `{labels}` in an order of its own, and their shares are
    the soft label; answers that are no label count as `other`. A model may think first: its final
    answer counts, and its thoughts are billed as what it writes.
    """

    def __init__(self, task: Task, client: TeacherClient | None = None) -> None:
        self.schema = task.schema_
        section = task.teacher
        self._task = task
        own = {
            "max_tokens": section.max_tokens,
            "temperature": 0 if section.samples == 1 else 1,
        }
        parameters = request_fields(own, section.extra_body)
        self.descriptor = TeacherDescriptor(
            mode="text",
            model=section.model,
            revision=section.revision,
            prompt_sha256=prompt_sha256(task.prompt, task.answers),
            parameters=json.dumps(
                {"reading": READING, "samples": section.samples, **parameters}, sort_keys=True
            ),
        )
        self._body = {"model": section.model, **parameters}
        self._url = openai_url(section, "/chat/completions")
        self._client = client or TeacherClient(section)

    async def _ask(self, text: str, timeout_s: float | None) -> TeacherReply:
        k, samples = len(self.schema), self._task.teacher.samples
        orders = [list(range(k)) for _ in range(samples)]
        # The same text is shuffled the same way in every run: a resumed run is the same run.
        rng = random.Random(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())
        for order in orders[1:]:
            rng.shuffle(order)
        done = await asyncio.gather(
            *(self._sample(text, order, timeout_s) for order in orders), return_exceptions=True
        )
        answers = [one for one in done if not isinstance(one, BaseException)]
        usage = sum((one.usage for one in answers), NO_USAGE)
        for error in done:
            if isinstance(error, TeacherError) and error.usage is not None:
                error.usage = error.usage + usage
            if isinstance(error, BaseException):
                raise error
        raw = json.dumps([one.said for one in answers])
        shares, first = self._shares(answers), answers[0]
        fault = "" if shares.label is not None else _fault(answers, self._task.answers)
        return TeacherReply(shares, usage, first.said, raw, fault)

    async def _sample(self, text: str, order: Sequence[int], timeout_s: float | None) -> _Sample:
        asked = question(self._task, [(k,) for k in order])
        body: dict[str, Any] = {**self._body, "messages": render(asked.prompt, text)}
        reply = await self._client.post(self._url, body, timeout_s)
        usage = usage_of(reply)
        with billed(usage):
            choice = first_choice(reply)
        refused = refusal_in(choice)
        if refused is not None:
            return _Sample(refused, False, None, usage, refused=True)
        said, cut = without_thinking(said_in(choice)), choice.get("finish_reason") == "length"
        at = read_answer(said, asked.answers, cut=cut)
        return _Sample(said, cut, None if at is None else asked.labels[at][0], usage)

    def _shares(self, answers: Sequence[_Sample]) -> LabelDistribution:
        counts = [0] * len(self.schema)
        for one in answers:
            if one.label is not None:
                counts[one.label] += 1
        n = len(answers)
        refused = not any(counts) and any(one.refused for one in answers)
        shares = tuple(c / n for c in counts)
        return LabelDistribution(shares, 1.0 - sum(counts) / n, refused=refused)


def _fault(answers: Sequence[_Sample], words: Sequence[str]) -> str:
    """Say why these answers together name no label."""
    answer = next((one for one in answers if one.label is None), None)
    if answer is None:
        return f"the teacher gave {len(answers)} answers, and no label more often than another"
    if answer.refused:
        return f"the teacher refused: {answer.said[:80]!r}"
    if answer.cut:
        return (
            f"the teacher's answer was cut before it was a label (it wrote {answer.said[:80]!r}); "
            "give it room with teacher.max_tokens (a model that thinks first needs thousands), or "
            "leave max_tokens out"
        )
    known = ", ".join(words[:5]) + (", …" if len(words) > 5 else "")
    return (
        f"the teacher answered {answer.said[:80]!r}, which is none of {known}; only the bare label "
        "counts: ask for it in the prompt"
    )
