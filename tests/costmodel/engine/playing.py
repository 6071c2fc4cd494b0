"""The router's real guard, asked on a simulated clock at the moments of the simulated router."""

import asyncio
import random
from typing import NamedTuple

from costmodel.kernel import calls, layout
from costmodel.kernel.chance import uniform
from router.policy import Reason
from router.promise.audit import AUDIT_PRIORITY
from router.teacher.bill import Bill
from router.teacher.guard import EscalationFailed

REASONS = {
    calls.OK: None,
    calls.LATE: Reason.TEACHER_TIMEOUT,
    calls.FAILED: Reason.TEACHER_UNAVAILABLE,
    calls.REJECTED: Reason.TEACHER_THROTTLED,
    calls.NO_SLOT: Reason.TEACHER_BUSY,
    calls.CLOSED: Reason.TEACHER_THROTTLED,
    calls.SPARED: Reason.BREAKER_OPEN,
    calls.NO_RETRY: Reason.RETRY_BUDGET,
    calls.NO_TIME: Reason.DEADLINE,
    calls.NO_BUDGET: Reason.ESCALATION_BUDGET,
}
"""What the router calls each end of a simulated call; None: it was answered."""


class End(NamedTuple):
    """What became of a request at the real guard."""

    reason: Reason | None
    attempts: int
    read: int
    written: int
    moment: float


class Chance(random.Random):
    """A stream of the simulator's own random numbers, in the hands of the router's guard."""

    def __new__(cls, state):
        """Make one; there is no seed."""
        return super().__new__(cls)

    def __init__(self, state):
        self.state = state

    def random(self):
        """Draw from [0, 1)."""
        return uniform(self.state[0], layout.R_GUARD)


def play(guard, loop, stress, wanted):
    """Ask a guard as the simulated router wanted to; by moment and whether it is an audit: `End`.

    The loop is closed at the end.
    """
    ends = {}

    async def ask(k, call):
        bill, reason = Bill(), None
        arrived, audit = float(call["arrived"]), bool(call["audit"])
        patience = stress.teacher.timeout_s if audit else stress.policy.deadline_s
        try:
            await guard.ask(
                f"text {k}",
                deadline=loop.time() + patience,
                bill=bill,
                priority=AUDIT_PRIORITY if audit else 0,
            )
        except EscalationFailed as failed:
            reason = failed.reason
        usage = bill.usage
        ends[arrived, audit] = End(
            reason, bill.attempts, usage.input_tokens, usage.output_tokens, loop.time()
        )

    async def main():
        tasks = []
        for k, call in enumerate(wanted):
            at = float(call["arrived"])
            loop.call_at(at, lambda k=k, call=call: tasks.append(loop.create_task(ask(k, call))))
        await asyncio.sleep(stress.duration_s + 20)
        await asyncio.gather(*tasks)

    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return ends
