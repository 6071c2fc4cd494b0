"""POST /v1/classify: the native surface, one text or a list of them."""

from __future__ import annotations

from functools import partial

import msgspec
import numpy as np

from router.api.lists import answer_all, id_in_list
from router.errors import BadRequest, Refusal
from router.http.edge import parse
from router.http.hot_route import Call, Reply, Single
from router.provenance import provenance, provenance_fields, provenance_fields_of_many
from router.request import Answer, Ask
from router.schemas import Classified, ClassifiedList, ClassifyRequest, FailedItem, ItemError
from router.service.served import Served
from router.service.service import Service

SURFACE = "classify"
PROBE = "x"
"""A text that is taken."""
_HELP = (
    'Send {"text": "…"} or {"text": ["…", "…"]}; also model, top_k, threshold, deadline_ms, '
    "student_only."
)


class Classify:
    """Answers /v1/classify."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._decode = msgspec.json.Decoder(ClassifyRequest).decode
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, call: Call) -> Reply:
        """Answer one call.

        Raises:
            Refusal: the body is wrong or nobody could answer.
        """
        request = parse(self._decode, call.body, _HELP)
        served = self._service.find(request.model)
        if isinstance(request.text, str):
            return await self._one(call, request, served, request.text).answer()
        return await self._many(call, request, served, request.text)

    def single(self, call: Call) -> Single | None:
        """Read a call about one text.

        Raises:
            Refusal: the body is wrong.
        """
        request = parse(self._decode, call.body, _HELP)
        served = self._service.find(request.model)
        if not isinstance(request.text, str):
            return None
        return self._one(call, request, served, request.text)

    def _one(self, call: Call, request: ClassifyRequest, served: Served, text: str) -> Single:
        ask = self._ask(call, request, text)

        def word(answer: Answer) -> Reply:
            body = _classified(answer, served, request.top_k, call.request_id)
            body.model = served.task.name
            return Reply(self._encode(body), fields=provenance_fields(answer))

        return Single(served.pipeline, ask, word)

    async def _many(
        self, call: Call, request: ClassifyRequest, served: Served, texts: list[str]
    ) -> Reply:
        self._ask(call, request, PROBE)  # what is wrong with all of them is a refusal of all
        outcomes = await answer_all(
            call,
            served,
            texts,
            partial(self._ask, call, request),
            name="text",
            at_most=self._service.settings.max_items,
        )
        data = [
            _failed(outcome)
            if isinstance(outcome, Refusal)
            else _classified(outcome, served, request.top_k, id_in_list(call, i))
            for i, outcome in enumerate(outcomes)
        ]
        body = ClassifiedList(call.request_id, served.task.name, data)
        return Reply(self._encode(body), fields=provenance_fields_of_many(outcomes))

    def _ask(self, call: Call, request: ClassifyRequest, text: str) -> Ask:
        if request.student_only and request.threshold is not None:
            raise BadRequest("`student_only` asks no teacher and `threshold` might; give one.")
        return self._service.ask(
            call, text, SURFACE, request.deadline_ms, request.threshold, request.student_only
        )


def _failed(refusal: Refusal) -> FailedItem:
    return FailedItem(ItemError(refusal.kind, str(refusal), refusal.reason or None))


def _classified(answer: Answer, served: Served, top_k: int, its_id: str) -> Classified:
    names = served.pipeline.schema.names
    p = answer.probabilities
    if top_k == 1:
        probabilities = {names[answer.label]: float(p[answer.label])}
    else:
        order = np.argsort(-np.asarray(p), kind="stable")[:top_k]
        probabilities = {names[k]: float(p[k]) for k in order}
    return Classified(
        names[answer.label], answer.confidence, probabilities, provenance(answer), its_id
    )
