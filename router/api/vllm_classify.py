"""POST /classify: what vLLM's classification endpoint takes and gives, answered by the student.

An application that asks its own classifier behind vLLM changes its base URL and nothing else.
"""

from __future__ import annotations

import time
from functools import partial

import msgspec

from router.api.lists import answer_all, answers_in
from router.clock import Clock
from router.errors import Refusal, UnknownModel
from router.http.edge import parse
from router.http.hot_route import Call, Reply, Single, limits_in
from router.provenance import provenance_fields, provenance_fields_of_many
from router.request import Answer
from router.schemas import Usage, VllmClass, VllmClasses, VllmClassifyRequest
from router.service.served import Served
from router.service.service import Service, refuse_student_only

SURFACE = "vllm_classify"
_HELP = 'Send {"model": task, "input": text or list of texts}, as to vLLM.'


class VllmClassify:
    """Answers /classify."""

    def __init__(self, service: Service, *, wall: Clock = time.time) -> None:
        self._service = service
        self._wall = wall
        self._decode = msgspec.json.Decoder(VllmClassifyRequest).decode
        self._encode = msgspec.json.Encoder().encode
        self._by_model: dict[str, Served] = {}
        for name, served in service.tasks.items():
            if served.task.teacher.mode == "classify":
                self._by_model.setdefault(served.task.teacher.model, served)
            self._by_model[name] = served

    async def __call__(self, call: Call) -> Reply:
        """Answer one call.

        Raises:
            Refusal: the body is wrong or nobody could answer.
        """
        request, served = self._read(call)
        if isinstance(request.input, str):
            return await self._one(call, served, request.input).answer()
        outcomes = await answer_all(
            call,
            served,
            request.input,
            lambda text: self._service.ask(call, text, SURFACE, *limits_in(call)),
            name="input",
            at_most=self._service.settings.max_items,
        )
        for outcome in outcomes:
            if isinstance(outcome, Refusal):  # vLLM's answer has no place for an error of one
                raise outcome
        return self._word(call, served, request.input, answers_in(outcomes))

    def single(self, call: Call) -> Single | None:
        """Read a call about one text.

        Raises:
            Refusal: the body is wrong.
        """
        request, served = self._read(call)
        return self._one(call, served, request.input) if isinstance(request.input, str) else None

    def _read(self, call: Call) -> tuple[VllmClassifyRequest, Served]:
        request = parse(self._decode, call.body, _HELP)
        refuse_student_only(request.student_only)
        if request.model is None:
            return request, self._service.find(None)
        if request.model not in self._by_model:
            raise UnknownModel(
                "There is no classifier of that name here; the models are: "
                f"{', '.join(sorted(self._by_model))}."
            )
        return request, self._by_model[request.model]

    def _one(self, call: Call, served: Served, text: str) -> Single:
        ask = self._service.ask(call, text, SURFACE, *limits_in(call))
        word = partial(self._word_one, call, served, text)
        return Single(served.pipeline, ask, word)

    def _word_one(self, call: Call, served: Served, text: str, answer: Answer) -> Reply:
        return self._word(call, served, [text], [answer])

    def _word(self, call: Call, served: Served, texts: list[str], answers: list[Answer]) -> Reply:
        words = served.words
        data = [
            VllmClass(index, words[a.label], [float(p) for p in a.probabilities], len(words))
            for index, a in enumerate(answers)
        ]
        read = sum(
            a.usage.input_tokens or a.model.student.token_count(text)
            for a, text in zip(answers, texts, strict=True)
        )
        body = VllmClasses(
            id=f"classify-{call.request_id}",
            created=int(self._wall()),
            model=served.task.teacher.model or served.task.name,
            data=data,
            usage=Usage(read, 0, read),
        )
        fields = (
            provenance_fields(answers[0])
            if len(answers) == 1
            else provenance_fields_of_many(answers)
        )
        return Reply(self._encode(body), fields=fields)
