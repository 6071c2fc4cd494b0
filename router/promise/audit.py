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

import logging
import random
from collections.abc import Coroutine
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from router.errors import BadSettings
from router.in_flight import InFlight
from router.promise.monitor import Evidence, Monitor
from router.teacher.budget import Budget

SAVE_EVERY = 50
"""Audits that a crash may forget; an alarm is saved at once."""
AUDITS = "audits"
"""Folder in the work_dir: what audits have shown of each bundle."""
AUDIT_PRIORITY = 1_000
"""Behind every escalation in the queue for the teacher."""
log = logging.getLogger(__name__)


class Watch:
    """The monitor of one bundle and the file that survives the process.

    Args:
        bundle: whose certificate is watched.
        promise: which kind of promise it is.
        path: where evidence is kept; None keeps it in memory.
    """

    def __init__(
        self,
        bundle: str,
        monitor: Monitor,
        promise: Literal["system", "strict"],
        path: Path | None = None,
    ) -> None:
        self.bundle = bundle
        self.monitor = monitor
        self._promise = promise
        self._path = path
        self._unsaved = 0

    @property
    def alarmed(self) -> bool:
        """Whether everything must escalate."""
        return self.monitor.alarmed

    def escalated(self, propensity: float) -> None:
        """A drawn request went to the teacher: over all traffic, that is agreement."""
        if self._promise == "system":
            self._observe(False, propensity)

    def audited(self, disagreed: bool, propensity: float) -> None:
        """A drawn request was kept, and the teacher has now been asked too."""
        self._observe(disagreed, propensity)

    def save(self) -> None:
        """Write the evidence; a file that cannot be written is logged, never a failed request."""
        if self._path is None or not self._unsaved:
            return
        partial = self._path.with_name(self._path.name + ".partial")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(self.monitor.evidence.model_dump_json(), encoding="utf-8")
            partial.replace(self._path)
        except OSError as error:
            log.error("the evidence of bundle %s cannot be saved: %s", self.bundle, error)
        else:
            self._unsaved = 0

    def _observe(self, disagreed: bool, propensity: float) -> None:
        if self.alarmed:
            return
        state = self.monitor.observe(disagreed, propensity)
        self._unsaved += 1
        if self.alarmed:
            log.error(
                "bundle %s no longer keeps its promise (%d disagreements in %d audits, e = %.0f): "
                "everything escalates until a bundle certified on fresh labels takes over",
                self.bundle,
                state.disagreements,
                state.audits,
                state.e_value,
            )
        if self.alarmed or self._unsaved >= SAVE_EVERY:
            self.save()


def open_watch(
    folder: Path,
    bundle: str,
    promise: Literal["system", "strict"],
    agreement: float,
    false_alarm: float = 0.05,
) -> Watch:
    """Watch a bundle from where an earlier process left off.

    Raises:
        BadSettings: its evidence cannot be read, so that an alarm may have been forgotten.
    """
    path = folder / f"{bundle}.json"
    alpha = 1.0 - agreement
    try:
        monitor = Monitor.resume(Evidence.model_validate_json(path.read_bytes()))
    except FileNotFoundError:
        monitor = Monitor(alpha, false_alarm=false_alarm)
    except (OSError, ValidationError) as error:
        raise BadSettings(
            f"{path} cannot be read ({type(error).__name__}), so an alarm may be forgotten; "
            "restore it, or distil a bundle on fresh labels"
        ) from None
    return Watch(bundle, monitor, promise, path)


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

    def wants(self) -> bool:
        """Draw one request."""
        return self._rng.random() < self.rate

    def affords(self) -> bool:
        """Whether its own budget pays for one more."""
        return self.budget is None or self.budget.allows(1.0)

    def start(self, audit: Coroutine[object, object, None]) -> bool:
        """Run an audit in the background; False, and it is lost, when too many run already."""
        if len(self._running) >= self._max_in_flight:
            audit.close()
            self.lost += 1
            return False
        self._running.start(audit)
        return True

    async def close(self, timeout_s: float = 10.0) -> None:
        """Finish what runs; cancel what has not finished in time."""
        await self._running.close(timeout_s)
