"""A teacher that only talks: its answer is a hard label, or the shares of several answers."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
from collections.abc import Sequence
from typing import Any

from costmodel.money.pricing import NO_USAGE, TokenUsage
from students.errors import TeacherError, TeacherGarbled
from students.labels import LabelDistribution
from students.prompt import prompt_sha256, render
from students.task import Task
from students.teachers.chat import first_choice, refuse_reasoning
from students.teachers.client import TeacherClient, billed, openai_url, usage_of
from students.teachers.protocol import TeacherDescriptor, TeacherReply
from students.teachers.questions import question
from students.teachers.single import OneTextTeacher

_MAX_TOKENS = 16


class TextTeacher(OneTextTeacher):
    """POST /v1/chat/completions without logprobs.

    One sample is asked at temperature 0 and gives a hard label. k samples are asked at
    temperature 1, each with the options of `{labels}` in an order of its own, and their shares are
    the soft label; answers that are no label count as `other`.
    """

    def __init__(self, task: Task, client: TeacherClient | None = None) -> None:
        self.schema = task.schema_
        section = task.teacher
        self._task = task
        parameters = {
            "max_tokens": max(section.max_tokens, _MAX_TOKENS),
            "temperature": 0 if section.samples == 1 else 1,
            **section.extra_body,
        }
        if "max_completion_tokens" in section.extra_body:
            del parameters["max_tokens"]
        self.descriptor = TeacherDescriptor(
            mode="text",
            model=section.model,
            revision=section.revision,
            prompt_sha256=prompt_sha256(task.prompt, task.answers),
            parameters=json.dumps({"samples": section.samples, **parameters}, sort_keys=True),
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
        usage = sum((used for _, used in answers), NO_USAGE)
        for error in done:
            if isinstance(error, TeacherError) and error.usage is not None:
                error.usage = error.usage + usage
            if isinstance(error, BaseException):
                raise error
        said = [words for words, _ in answers]
        return TeacherReply(self._shares(said, usage), usage, said[0], json.dumps(said))

    async def _sample(
        self, text: str, order: Sequence[int], timeout_s: float | None
    ) -> tuple[str, TokenUsage]:
        asked = question(self._task, [(k,) for k in order])
        body: dict[str, Any] = {**self._body, "messages": render(asked.prompt, text)}
        reply = await self._client.post(self._url, body, timeout_s)
        usage = usage_of(reply)
        with billed(usage):
            choice = first_choice(reply)
            refuse_reasoning(reply, choice)
        return str(choice["message"].get("content") or "").strip(), usage

    def _shares(self, said: Sequence[str], usage: TokenUsage) -> LabelDistribution:
        k = len(self.schema)
        counts = [0] * k
        for answer in said:
            label = read_answer(answer, self._task.answers)
            if label is not None:
                counts[label] += 1
        if not any(counts):
            words = ", ".join(self._task.answers[:5]) + (", …" if k > 5 else "")
            raise TeacherGarbled(
                f"the teacher answered {said[0][:80]!r}, which is none of {words}", usage=usage
            )
        n = len(said)
        return LabelDistribution(tuple(c / n for c in counts), 1.0 - sum(counts) / n)


def read_answer(said: str, words: Sequence[str]) -> int | None:
    """Return which word was answered: alone, or as the only label word in a sentence.

    Of words within words ("not urgent", "urgent") the longest that stands there counts.
    """
    text = said.casefold()
    folded = [word.casefold() for word in words]
    bare = text.strip(" \t\r\n.,:;!?\"'`*()[]")
    if bare in folded:
        return folded.index(bare)
    found = []
    for k in sorted(range(len(folded)), key=lambda k: -len(folded[k])):
        pattern = rf"(?<!\w){re.escape(folded[k])}(?!\w)"
        if re.search(pattern, text):
            found.append(k)
            text = re.sub(pattern, " ", text)
    return found[0] if len(found) == 1 else None
