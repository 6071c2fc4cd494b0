"""POST /v1/feedback: what the right answer would have been, said later.

It is stored and shown beside the agreement with the teacher. No bound and no alarm reads it: who
gives feedback, and on which answers, is nobody's chance.
"""

from __future__ import annotations

import asyncio
import time

import msgspec

from router.clock import Clock
from router.errors import BadRequest
from router.http.edge import parse
from router.http.hot_route import Call, Reply, Single
from router.ledger.feedback import FeedbackSource, Judgement
from router.schemas import FeedbackRequest, FeedbackTaken
from router.service.service import Service

_HELP = (
    'Send {"id": "…", "gold": "…"} with one of the labels, or {"id": "…", "correct": true}; also '
    "source (user, reviewer, system), model."
)


class Feedback:
    """Answers /v1/feedback."""

    def __init__(self, service: Service, wall: Clock = time.time) -> None:
        self._service = service
        self._wall = wall
        self._decode = msgspec.json.Decoder(FeedbackRequest).decode
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, call: Call) -> Reply:
        """Store one verdict.

        Raises:
            Refusal: the body is wrong, or it cannot be stored now.
        """
        verdict = self._read(call)
        received = await asyncio.to_thread(self._service.feedback.put, verdict)
        return Reply(self._encode(FeedbackTaken(verdict.request_id, received.value)))

    def single(self, call: Call) -> Single | None:
        """No call of this surface is about a text."""
        return None

    def _read(self, call: Call) -> Judgement:
        request = parse(self._decode, call.body, _HELP)
        if (request.gold is None) == (request.correct is None):
            raise BadRequest(f"Either `gold` or `correct` is needed, and not both. {_HELP}")
        task = self._service.find(request.model).task
        if request.gold is not None and request.gold not in task.schema_:
            raise BadRequest(
                f"`gold` is none of the task's labels; they are: {', '.join(task.schema_.names)}."
            )
        return Judgement(
            request_id=request.id.removeprefix("chatcmpl-").removeprefix("classify-"),
            task=task.name,
            source=FeedbackSource(request.source),
            client=call.key.name if call.key else "",
            reviewer=call.key is None or call.key.reviewer,
            at=self._wall(),
            gold=request.gold,
            correct=request.correct,
        )
