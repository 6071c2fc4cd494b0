"""The schedule: once in so many hours one process of all asks the teacher about pinned rows again.

Every worker looks now and then whether a check is due, in a thread and never for a request; the
store lets one of them make it. Rows are asked about one after the other, behind every escalation,
within the budgets of the teacher and of audits, and each is a row of the ledger with a reason of
its own. A restart asks nothing anew: when the last check was begun is remembered by the store.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from router.clock import Clock
from router.errors import BadSettings
from router.in_flight import InFlight, on_a_thread
from router.promise.audit import AUDIT_PRIORITY
from router.promise.same_teacher import comparable
from router.recheck.evidence import TeacherInStore, TeacherJudge
from router.recheck.reference import Reference, ReferenceReader, compare
from router.recheck.voiding import void_certificates
from router.request import Ask, Run
from router.shared.keeper import Keeper
from router.shared.records import StoreAway
from router.teacher.bill import Bill
from router.teacher.guard import EscalationFailed
from students.errors import BadBundle, BadInputs

if TYPE_CHECKING:
    from router.pipeline import Pipeline
    from students.label.labelled import LabelledSet
    from students.task import Task, TeacherCheckSection

SURFACE = "teacher_check"
LOOK_S = 30.0
"""Between two looks at most; an interval is looked at ten times as often as it passes."""
MOST_FAILURES = 3
"""Failures with fewer answers beside them that end a check: the teacher is away."""
log = logging.getLogger(__name__)


class TeacherCheck:
    """Asks one task's teacher again.

    Args:
        task: whose.
        section: how often, and about how many rows.
        pipeline: how the teacher is asked, and where that is booked.
        keeper: of the store that all processes share.
        wall: Unix seconds.
        rng: draws the rows.
    """

    def __init__(
        self,
        task: Task,
        section: TeacherCheckSection,
        pipeline: Pipeline,
        keeper: Keeper,
        *,
        wall: Clock = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._task = task
        self._section = section
        self._pipeline = pipeline
        self._keeper = keeper
        self._wall = wall
        self._rng = rng or random.Random()
        self._every_s = section.every_hours * 3600.0
        self._reader = ReferenceReader(task)
        self._teacher: TeacherInStore | None = None
        self._void: set[str] = set()
        self._told = ""
        self._running = InFlight()

    @property
    def teacher(self) -> TeacherInStore | None:
        """What the store knows; None where there are no labels to ask about again."""
        return self._teacher

    def start(self) -> None:
        """Begin to look, on the running loop."""
        self._running.start(self._run())

    async def close(self) -> None:
        """Look no more; what is being asked is cut off and booked, and what was answered learnt."""
        await self._running.close(0.0)

    async def _run(self) -> None:
        while True:
            try:
                await self.look()
            except StoreAway as away:
                log.info("the teacher of task %s is asked later: %s", self._task.name, away)
            except (BadSettings, BadInputs, BadBundle) as fault:
                self._tell(str(fault))
            except Exception:  # a fault of one look must not end them all
                log.exception("the teacher of task %s could not be checked", self._task.name)
            await asyncio.sleep(min(LOOK_S, 0.1 * self._every_s) * self._rng.uniform(0.5, 1.0))

    async def look(self) -> None:
        """Ask, if it is time and nobody else does; void what rests on a teacher that has gone.

        Raises:
            StoreAway: it can be done later.
            BadSettings, BadInputs, BadBundle: what labelling or distilling left is unusable.
        """
        reference = await asyncio.to_thread(self._reader.read)
        if reference is None or not reference.of(self._pipeline.guard.teacher.descriptor):
            self._teacher = None
            return
        teacher = await self._followed(reference)
        if teacher.changed:
            await self._void_all(teacher)
        elif teacher.due(self._wall(), self._every_s):
            await self._check(teacher, reference)

    async def _followed(self, reference: Reference) -> TeacherInStore:
        if self._teacher is None or self._teacher.bundle != reference.labels_sha256:
            teacher = TeacherInStore(self._task.name, reference)
            await asyncio.to_thread(self._keeper.follow, teacher)
            self._teacher = teacher
        return self._teacher

    async def _check(self, teacher: TeacherInStore, reference: Reference) -> None:
        rows = reference.rows(self._section.rows, self._section.max_usd, self._rng)
        claimed: list[bool] = []
        today: list[int | None] = []
        try:
            await self._amend(
                teacher, lambda judge: claimed.append(judge.claim(self._wall(), self._every_s))
            )
            if not claimed[-1]:
                return
            labelled = await asyncio.to_thread(reference.load)
            await self._ask_all([labelled.texts[row] for row in rows], today)
        except asyncio.CancelledError:
            if claimed and claimed[-1]:  # nobody else would begin before the next interval
                pairs = _pairs(labelled, rows, today) if today else []
                try:
                    await self._amend(
                        teacher, lambda judge: judge.learn(pairs, self._wall(), cut_off=True)
                    )
                except Exception as fault:  # it must not keep a process that is to end
                    log.warning(
                        "a check of the teacher of task %s is lost: %s", self._task.name, fault
                    )
            raise
        pairs = _pairs(labelled, rows, today)
        await self._amend(teacher, lambda judge: judge.learn(pairs, self._wall()))
        log.info("the teacher of task %s was asked again: %s", self._task.name, teacher.shown)
        if not pairs:
            self._tell(f"{len(today)} of {len(rows)} rows were asked about, and too few answered")
        if teacher.changed:
            await self._void_all(teacher)

    async def _amend(self, teacher: TeacherInStore, change: Callable[[TeacherJudge], None]) -> None:
        """Change what all processes know, to the end."""
        await on_a_thread(teacher.amend, self._keeper.store, self._keeper.instance, change)

    async def _ask_all(self, texts: list[str], found: list[int | None]) -> None:
        """Ask about each text on its own, as escalations do, as long as money and teacher last."""
        for text in texts:
            failed = found.count(None)
            if not self._affords() or (failed >= MOST_FAILURES and 2 * failed > len(found)):
                break
            found.append(await self._ask(text))

    async def _ask(self, text: str) -> int | None:
        """Return the label of today, as it is compared; None: no answer."""
        pipeline = self._pipeline
        ask = Ask(text, f"teacher-check-{secrets.token_hex(8)}", SURFACE)
        run = Run(ask, pipeline.slot.current, pipeline.clock())
        run.bill = Bill()
        try:
            asked = await pipeline.guard.ask(
                text,
                deadline=pipeline.clock() + pipeline.guard.timeout_s,
                bill=run.bill,
                priority=AUDIT_PRIORITY,
            )
            run.taught = asked.reply.distribution
        except EscalationFailed:
            return None
        finally:
            auditor = pipeline.auditor
            pipeline.booking.checked(run, None if auditor is None else auditor.budget)
        return comparable(run.taught.label)

    def _affords(self) -> bool:
        auditor = self._pipeline.auditor
        return self._pipeline.affords(0.0) and (auditor is None or auditor.affords())

    async def _void_all(self, teacher: TeacherInStore) -> None:
        self._void.update(
            await asyncio.to_thread(
                void_certificates,
                self._keeper.store,
                self._keeper.instance,
                self._task,
                self._pipeline.guard.teacher.descriptor,
                teacher.shown,
                frozenset(self._void),
            )
        )

    def _tell(self, fault: str) -> None:
        """Say it once, not with every look."""
        if fault != self._told:
            self._told = fault
            log.warning("the teacher of task %s is not checked: %s", self._task.name, fault)


def _pairs(
    labelled: LabelledSet, rows: Sequence[int], today: Sequence[int | None]
) -> list[tuple[int, int]]:
    """Labels on record beside those of today; none of a teacher that is away: it is no other."""
    pairs = compare(labelled, rows[: len(today)], today)
    return pairs if 2 * len(pairs) >= len(today) else []
