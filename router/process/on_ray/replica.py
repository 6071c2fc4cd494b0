"""One replica: its bundles' students, each with the batcher that a router has.

    POST <route>/<bundle id>, body: one message of `engine_messages`, framed; so is the answer

Questions of all routers that Ray Serve sends here within one batch of the student are the next
batch. A replica that hangs, or fails on what it could answer before, is replaced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from router.errors import Refusal
from router.process.engine import LONGEST, QUEUE, Proven, answer_texts
from router.settings import load_settings
from router.student import engine_messages as wire
from router.student.batcher import Batcher
from students.runtime.load import load_student
from students.runtime.store import obtain

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

_HEALTHY = "is anybody there?"


class StudentReplica:
    """Answers for some bundles.

    Args:
        bundles: their ids, or beginnings of them.
        work_dir, store: where they are, and where else they may be.
        device: where students run.

    Raises:
        BadBundle: one is missing, altered, or answers in other ways than where it was certified.
    """

    def __init__(
        self, bundles: Sequence[str], work_dir: str, store: str | None, device: str
    ) -> None:
        settings = load_settings()
        self._stall_s = settings.stall_s
        self._batchers: dict[str, Batcher] = {}
        self._tokens: dict[str, int] = {}
        for name in bundles:
            bundle = obtain(Path(work_dir), name, store)
            student = load_student(bundle, device)
            self._tokens[bundle.id] = student.token_count(LONGEST)
            self._batchers[bundle.id] = Batcher(
                Proven(student),
                max_queue=QUEUE,
                max_batch_texts=settings.max_batch_texts,
                max_batch_tokens=settings.max_batch_tokens,
            )

    async def __call__(self, request: Request) -> Response:
        """Answer one question of a router."""
        from starlette.responses import Response

        body = await request.body()
        try:
            question = wire.message_in(body[wire.HEADER :])
            reply = await self.reply(request.url.path.rpartition("/")[2], question)
        except msgspec.DecodeError:
            return Response("a message of raisehand's engine is needed", 400)
        except Refusal as error:
            return Response(str(error), error.status)
        return Response(wire.frame(reply), media_type="application/octet-stream")

    async def reply(self, bundle: str, question: wire.Message) -> wire.Message:
        """Say what a bundle's student says.

        Raises:
            Refusal: the replica is about to end.
        """
        batcher = self._batchers.get(bundle)
        if batcher is None:
            served = ", ".join(self._batchers)
            return wire.Refused(
                f"Ray Serve has students of {served} there, and {bundle} is asked for; deploy it "
                "beside them first (bundles of the application's arguments)"
            )
        if isinstance(question, wire.EngineRequest):
            return await answer_texts(self._started(batcher), question.texts)
        return wire.Opened(self._tokens[bundle])

    async def check_health(self) -> None:
        """Have every student answer; Ray Serve replaces the replica when this fails.

        Raises:
            RuntimeError: one hangs, or gives no answer.
        """
        for bundle, batcher in self._batchers.items():
            asked = self._started(batcher).submit(_HEALTHY)
            try:
                scored = await asyncio.wait_for(asked, self._stall_s)
            except TimeoutError:
                raise RuntimeError(f"the student of {bundle} hangs") from None
            if scored.prediction is None:
                raise RuntimeError(f"the student of {bundle} gives no answer")

    async def __del__(self) -> None:
        """Finish what was accepted; Ray Serve calls this when no question is on its way."""
        for batcher in self._batchers.values():
            if batcher.started:
                await batcher.close()

    def _started(self, batcher: Batcher) -> Batcher:
        if not batcher.started:
            batcher.start()
        return batcher
