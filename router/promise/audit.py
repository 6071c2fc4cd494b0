"""Who audits the answers that nobody checks: a random share of the traffic, in shadow.

The teacher labels what the student escalates, never what it keeps. So a share of all requests is
drawn at random; where the student kept the answer, the teacher is asked too, after the client has
been served, and the two are compared. What was drawn and escalated anyway agrees by definition and
costs nothing more: it counts for the `system` promise, which is about all answers, and not for the
`strict` one, which is about the answers kept.

Requests are drawn by the router's own chance and never by anything that a client sends: a client
that repeats its request ids must not be able to choose what is audited.
"""

from __future__ import annotations

import random
from collections.abc import Coroutine

from router.in_flight import InFlight
from router.teacher.budget import Budget

AUDIT_PRIORITY = 1_000
"""Behind every escalation in the queue for the teacher."""


class Auditor:
    """Draws requests and runs their shadow audits, a few at a time.

    Args:
        rate: probability with which a request is drawn: its propensity, in (0, 1].
        rng: the router's own chance.
        max_in_flight: audits at once; a drawn one beyond them is lost and counted.
        budget: of audits alone; a drawn one beyond it is lost, too. None: the teacher's only.
    """

    def __init__(
        self,
        rate: float,
        *,
        rng: random.Random | None = None,
        max_in_flight: int = 8,
        budget: Budget | None = None,
    ) -> None:
        self.rate = rate
        self.budget = budget
        self.lost = 0
        """Drawn and kept, but not compared: no slot, or the teacher gave no answer."""
        self._rng = rng or random.Random()
        self._max_in_flight = max_in_flight
        self._running = InFlight()

    def draws(self, eagerness: float = 1.0) -> float:
        """Draw one request; return its propensity, 0.0 if it was not drawn.

        `eagerness` is how many times as often as usual one is drawn.
        """
        propensity = min(1.0, self.rate * eagerness)
        return propensity if self._rng.random() < propensity else 0.0

    def affords(self) -> bool:
        """Whether its own budget pays for one more."""
        return self.budget is None or self.budget.allows(1.0)

    @property
    def free(self) -> bool:
        """Whether one more may run now."""
        return len(self._running) < self._max_in_flight

    def start(self, audit: Coroutine[object, object, None]) -> bool:
        """Run an audit in the background; False, and it is lost, when too many run already."""
        if not self.free:
            audit.close()
            self.lost += 1
            return False
        self._running.start(audit)
        return True

    async def close(self, timeout_s: float = 10.0) -> None:
        """Finish what runs; cancel what has not finished in time."""
        await self._running.close(timeout_s)
