"""A decision API: one choice question about a text, a probability for every option, no text.

Two dialects of one idea. `/v1/systemone` (vLLM on any chat model, Jev, Ollama, …) takes `state` and
named questions, and vLLM adds `diagnostics.label_mass`. `/v1/decisions` (OpenAI, SGLang) takes
`input` and a list of questions. Providers limit the options of a question (vLLM 26, OpenAI 255) and
say so with a 400, which is shown.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from students.errors import TeacherGarbled
from students.labels import LabelDistribution
from students.prompt import prompt_sha256
from students.task import Task
from students.teachers.client import TeacherClient, billed, openai_url
from students.teachers.parameters import request_fields
from students.teachers.protocol import TeacherDescriptor, TeacherReply
from students.teachers.single import OneTextTeacher
from students.teachers.usage import usage_of

_NAME = "label"
_INSTRUCTIONS = "Which option fits best?"
_NO_ANSWERS = "the reply has no answers with probabilities; is this /v1/systemone or /v1/decisions?"


class DecisionsTeacher(OneTextTeacher):
    """POST /v1/systemone or /v1/decisions, one text a request.

    The state is the prompt's user part with the text in it; its system part is the question.
    """

    def __init__(self, task: Task, client: TeacherClient | None = None) -> None:
        self.schema = task.schema_
        section = task.teacher
        self._task = task
        self._instructions = task.prompt.system or _INSTRUCTIONS
        parameters = {"route": section.decisions_route, **section.extra_body}
        self.descriptor = TeacherDescriptor(
            mode="decisions",
            model=section.model,
            revision=section.revision,
            prompt_sha256=prompt_sha256(task.prompt, [*task.answers, *self.schema.descriptions]),
            parameters=json.dumps(parameters, sort_keys=True),
        )
        self._url = openai_url(section, "/" + section.decisions_route)
        self._client = client or TeacherClient(section)

    async def _ask(self, text: str, timeout_s: float | None) -> TeacherReply:
        reply = await self._client.post(self._url, self._body(text), timeout_s)
        usage = usage_of(reply)
        raw = json.dumps(reply, separators=(",", ":"))
        with billed(usage):
            answer = _answer(reply)
            if answer.get("type") == "refusal":
                said = str(answer.get("refusal") or answer.get("reason") or "")
                none = LabelDistribution.refusal(len(self.schema))
                return TeacherReply(none, usage, said, raw, f"the provider refused: {said[:80]!r}")
            probabilities, mass = _read(reply, answer)
            p = self._in_order(probabilities)
        distribution = LabelDistribution(tuple(mass * q for q in p), 1.0 - mass)
        word, fault = self._task.answers[distribution.argmax], ""
        if distribution.label is None:
            fault = (
                f"the label mass is {mass:.2f} and no option stands out: the question must have "
                "the options as its answers; name them in the prompt"
            )
        return TeacherReply(distribution, usage, word, raw, fault)

    def _body(self, text: str) -> dict[str, Any]:
        section, words = self._task.teacher, self._task.answers
        state = self._task.prompt.user.replace("{text}", text)
        descriptions = self.schema.descriptions
        if section.decisions_route == "systemone":
            question = {
                "type": "choice",
                "instructions": self._instructions,
                "criteria": {w: d or None for w, d in zip(words, descriptions, strict=True)},
            }
            asked: dict[str, Any] = {"state": state, "questions": {_NAME: question}}
        else:
            choices = [
                {"value": w, **({"description": d} if d else {})}
                for w, d in zip(words, descriptions, strict=True)
            ]
            one = {
                "type": "choice",
                "name": _NAME,
                "instructions": self._instructions,
                "choices": choices,
            }
            asked = {"input": state, "questions": [one]}
        return {"model": section.model, **request_fields(asked, section.extra_body)}

    def _in_order(self, found: Mapping[str, float]) -> list[float]:
        """Put probabilities in schema order and undo the provider's rounding, which is all."""
        words = self._task.answers
        if set(found) != set(words):
            strange = sorted(set(found) ^ set(words))
            raise TeacherGarbled(f"the answer's options differ from the question's in {strange}")
        p = [found[word] for word in words]
        if not all(math.isfinite(q) and 0 <= q <= 1 for q in p):
            raise TeacherGarbled("the answer holds something that is not a probability")
        total = sum(p)
        # Two decimals, as OpenAI rounds, are off by half a hundredth for each option.
        if abs(total - 1) > 0.01 + 0.005 * len(p):
            raise TeacherGarbled(f"the probabilities of the options sum to {total:.3f}")
        return [q / total for q in p]


def _answer(reply: Mapping[str, Any]) -> Mapping[str, Any]:
    answers = reply.get("answers")
    try:
        answer = answers[0] if isinstance(answers, list) else answers[_NAME]  # type: ignore[index]
    except (KeyError, IndexError, TypeError):
        answer = None
    if not isinstance(answer, Mapping):
        raise TeacherGarbled(_NO_ANSWERS)
    return answer


def _read(reply: Mapping[str, Any], answer: Mapping[str, Any]) -> tuple[dict[str, float], float]:
    """Return probabilities by option and the label mass (1 where the provider tells none)."""
    try:
        listed = answer["probabilities"]
        if isinstance(listed, list):
            listed = {str(item["value"]): item["probability"] for item in listed}
        diagnostics = (reply.get("diagnostics") or {}).get(_NAME) or {}
        mass = min(1.0, max(0.0, float(diagnostics.get("label_mass", 1.0))))
        return {str(name): float(p) for name, p in listed.items()}, mass
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        raise TeacherGarbled(_NO_ANSWERS) from None
