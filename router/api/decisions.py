"""POST /v1/systemone: one choice question about a text, a probability for every option.

The request is the task's when it asks one choice question whose options are the task's answer
words, about a state that the task's prompt makes of some text: what `students.teachers.decisions`
sends. Anything else is a clear 400; a decision API has no free text to pass on.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
from msgspec import Struct

from router.errors import BadRequest
from router.http.edge import parse
from router.http.hot_route import Call, Reply, Single, limits_in
from router.provenance import provenance, provenance_fields
from router.request import Answer
from router.schemas import Provenance
from router.service.served import Served
from router.service.service import Service, refuse_student_only
from students.prompt import Prompt, Template

SURFACE = "systemone"
_HELP = (
    'Send {"model": task, "state": text in the task\'s prompt, "questions": {name: {"type": '
    '"choice", "criteria": {option: description}}}}.'
)


class OptionsQuestion(Struct):
    """A choice among the options that `criteria` names."""

    type: str
    criteria: dict[str, Any]
    instructions: str | None = None


class SystemOneRequest(Struct):
    """Body of POST /v1/systemone."""

    model: str
    state: str
    questions: dict[str, OptionsQuestion]
    student_only: Any = msgspec.UNSET
    """Refused: a teacher is what it forbids, and might be asked."""


class Choice(Struct):
    """The answer to one question."""

    choice: str
    probabilities: dict[str, float]
    confidence: float
    type: str = "choice"


class Diagnostics(Struct):
    """How much probability was on the options at all."""

    label_mass: float


class SystemOneReply(Struct):
    """Answer of POST /v1/systemone."""

    id: str
    model: str
    answers: dict[str, Choice]
    diagnostics: dict[str, Diagnostics]
    usage: dict[str, int]
    raisehand: Provenance


class SystemOne:
    """Answers /v1/systemone."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._decode = msgspec.json.Decoder(SystemOneRequest).decode
        self._encode = msgspec.json.Encoder().encode
        self._states = {
            name: Template(Prompt(user=served.task.prompt.user))
            for name, served in service.tasks.items()
        }

    async def __call__(self, call: Call) -> Reply:
        """Answer one call.

        Raises:
            Refusal: the body is not a question of the task, or nobody could answer.
        """
        return await self.single(call).answer()

    def single(self, call: Call) -> Single:
        """Read a call.

        Raises:
            Refusal: the body is not a question of the task.
        """
        request = parse(self._decode, call.body, _HELP)
        refuse_student_only(request.student_only)
        served = self._find(request)
        text = self._states[served.task.name].match([{"role": "user", "content": request.state}])
        if text is None:
            raise BadRequest(f"The state does not fit the task's prompt. {_HELP}")
        ask = self._service.ask(call, text, SURFACE, *limits_in(call))
        return Single(served.pipeline, ask, partial(self._word, call, request, served, text))

    def _word(
        self, call: Call, request: SystemOneRequest, served: Served, text: str, answer: Answer
    ) -> Reply:
        words, p = served.words, [float(q) for q in answer.probabilities]
        mass = sum(p)
        chosen = Choice(
            words[answer.label],
            {w: q / mass for w, q in zip(words, p, strict=True)},
            p[answer.label] / mass,
        )
        [name] = request.questions
        reply = SystemOneReply(
            id=call.request_id,
            model=request.model,
            answers={name: chosen},
            diagnostics={name: Diagnostics(min(1.0, mass))},
            usage={
                "input_tokens": answer.usage.input_tokens or answer.model.student.token_count(text),
                "output_tokens": answer.usage.output_tokens,
            },
            raisehand=provenance(answer),
        )
        return Reply(self._encode(reply), fields=provenance_fields(answer))

    def _find(self, request: SystemOneRequest) -> Served:
        """Return the task whose question this is: by name or teacher model, and by its options."""
        tasks = list(self._service.tasks.values())
        named = [s for s in tasks if request.model in (s.task.name, s.task.teacher.model)]
        if not named:
            return self._service.find(request.model)
        if len(request.questions) == 1:
            [question] = request.questions.values()
            for served in named:
                if question.type == "choice" and set(question.criteria) == set(served.words):
                    return served
        raise BadRequest(f"This is not the one choice question of the task. {_HELP}")
