"""What is not the task's goes to the teacher untouched and comes back as it arrives.

The bytes of the request and of the answer are not changed; what the answer says of itself (tokens,
model) is read on the way, for the ledger.
"""

from __future__ import annotations

import asyncio
import logging
from decimal import Decimal

from router.clock import Clock
from router.errors import DeadlinePassed, Overloaded, OverQuota, Refusal, Unavailable
from router.http.hot_route import Call
from router.in_flight import InFlight
from router.pipeline import CLOSE_S, Pipeline
from router.policy import Reason
from router.request import Ask, Run
from router.service.way_back import WayBack
from router.teacher.bill import Bill
from router.teacher.departure import WhileThere
from router.teacher.guard import EscalationFailed
from router.teacher.headers import headers_there
from router.teacher.pass_guard import FIRST_BYTE_S, MAX_WAIT_S, PAUSE_S, PassGuard, count
from students.sections import TeacherSection
from students.teachers.client import api_headers

log = logging.getLogger(__name__)
CHAT = "/chat/completions"
_SURFACES = {CHAT: "chat"}
"""What the ledger calls a path; the others by their own name."""
BUDGET_RETRY_S = 60.0
"""A budget refills all the time; sooner than in a minute it is not worth asking again."""


class Passthrough:
    """Forwards calls to one teacher, within its limits and the task's budget.

    Args:
        first_byte_s: until the teacher begins to answer.
        pause_s: between two parts of its answer.
        max_wait_s: for a slot.
    """

    def __init__(
        self,
        section: TeacherSection,
        pipeline: Pipeline,
        clock: Clock,
        *,
        first_byte_s: float = FIRST_BYTE_S,
        pause_s: float = PAUSE_S,
        max_wait_s: float = MAX_WAIT_S,
    ) -> None:
        self.guard = PassGuard(
            section,
            pipeline.guard.health,
            max_concurrency=section.max_passthrough or section.max_concurrency,
            first_byte_s=first_byte_s,
            pause_s=pause_s,
            max_wait_s=max_wait_s,
            clock=clock,
        )
        self.models = section.passed_on
        """Those for which calls are passed on; the router pays."""
        self._key, self._fixed = api_headers(section), section.headers
        self._pipeline = pipeline
        self._in_flight = InFlight()
        self._clock = clock

    async def forward(
        self, call: Call, *, path: str = CHAT, model: str = "", streams: bool = False
    ) -> None:
        """Send the request on to a path below the teacher's base URL, and its answer back.

        `model` is asked for (empty: the task's); `streams` says whether as a stream.

        Raises:
            Refusal: the teacher may not be asked, or gave no answer.
        """
        surface = _SURFACES.get(path, path.rpartition("/")[2])
        key, priority = (call.key.name, call.key.priority) if call.key else ("", 0)
        ask = Ask(call.body.decode("utf-8", "replace"), call.request_id, surface, key=key)
        bill = Bill(asked=model)
        booking = self._pipeline.booking
        run = Run(ask, self._pipeline.slot.current, call.received_at, bill=bill)
        failed: Reason | None = Reason.CLIENT_GONE

        def cost() -> Decimal | None:
            if back.failed is None:  # what the teacher refuses it does not bill
                count(bill, call.body, back.reader)
            return booking.usd(run)

        back = WayBack(call, run.model.bundle, cost, self._clock)
        headers = headers_there(
            call.headers, call.request_id, self._key, streams=streams, fixed=self._fixed
        )
        try:
            if call.key is not None and not call.key.may_ask_the_teacher():
                raise EscalationFailed(Reason.KEY_ESCALATIONS, bill)
            if not self._pipeline.affords(1.0):
                raise EscalationFailed(Reason.ESCALATION_BUDGET, bill, BUDGET_RETRY_S)
            with self._in_flight.holding():
                async with WhileThere(call.client):
                    failed = await self.guard.call(path, call.body, headers, back, bill, priority)
        except EscalationFailed as failure:
            failed = failure.reason
            log.warning(
                "a request that was passed on failed: %s",
                failed.value,
                extra={"request_id": call.request_id},
            )
            if not back.started:
                raise booking.worded(run, failed, self._refusal(failure)) from failure
        except asyncio.CancelledError:
            failed = Reason.ROUTER_STOPPED
            raise
        finally:
            booking.passed(run, failed)

    async def aclose(self, timeout_s: float = CLOSE_S) -> None:
        """Finish what is passed on, for so long, then close the pool."""
        await self._in_flight.close(timeout_s)
        await self.guard.aclose()

    def _refusal(self, failure: EscalationFailed) -> Refusal:
        """Word why there is no answer; what was or would be paid for nothing is not asked again."""
        wait_s = failure.retry_after_s or 1.0
        match failure.reason:
            case Reason.TEACHER_BUSY:
                return Overloaded("As many calls are passed on as may be; retry later.")
            case Reason.TEACHER_THROTTLED:
                return OverQuota("The teacher asked to wait; retry as Retry-After says.", wait_s)
            case Reason.KEY_ESCALATIONS:
                return OverQuota("This API key asks the teacher too often; retry later.", wait_s)
            case Reason.ESCALATION_BUDGET:
                refusal: Refusal = OverQuota(
                    "What may be spent at the teacher is spent (teacher.max_usd_per_hour, "
                    "max_requests_per_second).",
                    wait_s,
                )
            case Reason.TEACHER_TIMEOUT:
                refusal = DeadlinePassed(
                    f"The teacher did not answer within {self.guard.first_byte_s:g} s, or paused "
                    f"for more than {self.guard.pause_s:g} s."
                )
            case Reason.BREAKER_OPEN:
                return Unavailable("The teacher takes too few calls now; retry later.")
            case _:
                return Unavailable("The teacher cannot be reached, or broke off its answer.")
        refusal.final = True
        return refusal
