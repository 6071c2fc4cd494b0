"""A teacher that its supplier ends: shown from the start, told 60, 14 and 0 days before.

Told once, whatever the number of processes and restarts: what was told is the store's.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import cast

import msgspec

from costmodel.money.pricing import Price
from costmodel.money.rates import ApiPrice
from costmodel.money.retirements import WARN_DAYS, Retirement, retirement_of
from router.clock import Clock
from router.in_flight import InFlight
from router.recheck.evidence import TEACHER
from router.shared.keeper import Keeper
from router.shared.records import Audit, AuditVerdict, Event, Judge, StoreAway
from students.task import Task

STAGES = (WARN_DAYS, 14, 0)
"""Days before the end at which it is told."""
LOOK_S = 3_600.0
_SUPPLIERS = {"api.openai.com": "openai", "api.anthropic.com": "anthropic"}
log = logging.getLogger(__name__)


def end_of(task: Task, price: Price | None) -> Retirement | None:
    """Return when a task's teacher ends: by its file, else its price, else its supplier's address.

    None: no date is known.
    """
    teacher = task.teacher
    if teacher.retires is not None:
        return Retirement(teacher.retires, "the task file", None)
    if isinstance(price, ApiPrice):
        return price.retirement
    supplier = _SUPPLIERS.get(teacher.base_url.host or "")
    return None if supplier is None else retirement_of(supplier, teacher.model)


class _Told(msgspec.Struct):
    """For the store: which end, and how many days before it that was told last."""

    on: str = ""
    stage: int | None = None


class _TellJudge:
    """The store's `Judge` of one end: it gives no orders."""

    def __init__(self, told: _Told) -> None:
        self._told = told

    def news(self, end: Retirement, stage: int) -> bool:
        """Whether this was not told yet; from now on it was."""
        told = _Told(end.on.isoformat(), stage)
        new, self._told = told != self._told, told
        return new

    def observe(self, audit: Audit) -> None:
        """Nothing: an audit is about a bundle."""

    @property
    def evidence(self) -> str:
        """All that is remembered."""
        return msgspec.json.encode(self._told).decode()

    @property
    def verdict(self) -> AuditVerdict:
        """Nothing follows from it."""
        return AuditVerdict()


class RetirementWatch:
    """Tells of one teacher's end.

    Args:
        task: whose teacher.
        end: of it.
        keeper: of the store that all processes share.
        bundle: says which one answers now.
        wall: Unix seconds.
    """

    def __init__(
        self,
        task: str,
        end: Retirement,
        keeper: Keeper,
        bundle: Callable[[], str],
        *,
        wall: Clock = time.time,
    ) -> None:
        self.end = end
        self._task = task
        self._keeper = keeper
        self._bundle = bundle
        self._wall = wall
        self._running = InFlight()

    @property
    def words(self) -> str:
        """The end, as of today."""
        return self.end.words(self._today())

    @property
    def at(self) -> float:
        """Unix seconds of the beginning of the day on which it ends."""
        return datetime.combine(self.end.on, datetime.min.time(), UTC).timestamp()

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._running.start(self._run())

    async def close(self) -> None:
        """Look no more."""
        await self._running.close(0.0)

    async def _run(self) -> None:
        if self.end.near(self._today()):
            log.warning("the teacher of task %s: %s", self._task, self.words)
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreAway as away:
                log.info("the end of the teacher of task %s is told later: %s", self._task, away)
            await asyncio.sleep(LOOK_S)

    def look(self) -> None:
        """Tell, if it is time and nobody has.

        Raises:
            StoreAway: it can be told later.
        """
        left = self.end.days(self._today())
        stage = min((days for days in STAGES if left <= days), default=None)
        if stage is None:
            return
        news: list[bool] = []
        self._keeper.store.amend(
            self._keeper.instance, self._task + TEACHER, "retirement", _reopen,
            lambda judge: news.append(cast("_TellJudge", judge).news(self.end, stage)),
        )  # fmt: skip
        if news[-1]:
            self._keeper.say(
                Event(
                    at=self._wall(), task=self._task, bundle=self._bundle(), kind="teacher_retires",
                    reason=f"in {left} days" if left > 0 else "today" if left == 0 else "over",
                    actor=self._keeper.instance,
                    figures={
                        "retires": self.end.on.isoformat(), "days": left, "source": self.end.source,
                    },
                )
            )  # fmt: skip

    def _today(self) -> date:
        return datetime.fromtimestamp(self._wall(), UTC).date()


def _reopen(evidence: str | None) -> Judge:
    return _TellJudge(_Told() if evidence is None else msgspec.json.decode(evidence, type=_Told))
