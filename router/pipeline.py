"""THE STORY of one request: batch → student → decide → (teacher) → ledger, metrics → answer.

A share of the answers kept is audited in shadow (`router.promise.audit`) and booked afterwards.

A surface has parsed the request into an `Ask`; it words the `Answer` that comes back. Whatever
goes wrong on the way is a decision with a named reason, booked like any other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from decimal import Decimal
from functools import partial

from costmodel.money.pricing import Price
from router.booking import Booking, TextKeeping
from router.clock import Clock
from router.errors import ClientGone, DeadlinePassed, Overloaded, Refusal, Unavailable
from router.in_flight import InFlight
from router.ledger.entry import Ledger
from router.ledger.text_hash import TextHash
from router.policy import (
    KEEP,
    OUT_OF_BUDGET,
    OVER_THE_KEYS,
    PROMISE_BROKEN,
    STUDENT_ALONE,
    Decision,
    Reason,
    Route,
    decide,
    why_unusable,
)
from router.promise.audit import AUDIT_PRIORITY, Auditor
from router.promise.watch import Watch
from router.request import Answer, Ask, Done, Run, by_student, by_teacher
from router.shadow import Shadow
from router.student.batcher import Scored
from router.student.loaded import ModelSlot
from router.teacher.bill import Bill
from router.teacher.budget import Budget
from router.teacher.departure import WhileThere
from router.teacher.guard import EscalationFailed, EscalationGuard
from router.teacher.prices import TeacherPrices
from router.telemetry.metrics import Metrics
from students.labels import LabelSchema
from students.task import Task
from students.teachers.client import TRACEPARENT

CLOSE_S = 1.0
"""The server has waited for its clients already; what runs still is given so long."""
STOPPED = "The router stops, and its teacher took too long; ask another instance."
KEPT = (KEEP, STUDENT_ALONE)


class Pipeline:
    """Answers the requests of one task.

    Args:
        task: whose labels, promise and failure mode apply.
        slot: which student answers.
        guard: how the teacher is asked.
        student_usd: what one answer of the student costs; None when unpriced.
        teacher_price: what the teacher charges; None when unpriced.
        budget: caps what is spent at the teacher; None for no cap beyond the guard's.
        auditor: draws requests for shadow audits; None audits nothing.
        text_hash: what the ledger keeps of a text; None: a hash that only this process knows.
        texts: which texts are kept, and where; None keeps none.
    """

    def __init__(
        self,
        task: Task,
        slot: ModelSlot,
        guard: EscalationGuard,
        ledger: Ledger,
        metrics: Metrics,
        *,
        student_usd: Decimal | None,
        teacher_price: Price | None,
        budget: Budget | None = None,
        auditor: Auditor | None = None,
        text_hash: TextHash | None = None,
        texts: TextKeeping | None = None,
        clock: Clock = time.monotonic,
        wall: Clock = time.time,
    ) -> None:
        self.task = task
        self.schema: LabelSchema = task.schema_
        self.slot = slot
        self.guard = guard
        self.budget = budget
        self.booking = Booking(
            task,
            ledger,
            metrics,
            student_usd=student_usd,
            prices=TeacherPrices(task.teacher, teacher_price),
            budget=budget,
            text_hash=text_hash or TextHash(),
            clock=clock,
            wall=wall,
            texts=texts,
        )
        self.auditor = auditor
        self.threshold: float | None = None
        """An operator's: ask the teacher below this confidence, whatever the certificate allows."""
        self.shadow: Shadow | None = None
        """Compares a candidate with the student that serves; None: there is no candidate."""
        self._degrades = task.teacher.on_failure == "student"
        self.clock = clock
        self._in_flight = InFlight()

    async def answer(self, ask: Ask) -> Answer:
        """Answer one text.

        Raises:
            Overloaded, ClientGone, DeadlinePassed, Unavailable: nobody answered; already booked.
        """
        run = Run(ask, self.slot.pick(), self._received(ask))
        try:
            scored = await run.model.batcher.submit(
                ask.text, deadline=ask.deadline, client=ask.client, priority=ask.priority
            )
        except Refusal as refusal:
            raise self._unscored(run, refusal) from None
        decision = self._decide(run, scored)
        if decision in KEPT:
            return self._keep(run, scored, decision)
        return await self._escalate(run, scored, decision)

    def start(self, ask: Ask, done: Done) -> None:
        """Answer one text without a task of its own, as long as the student answers it.

        `done` is called once, on the event loop, with what `answer` would return or raise.
        """
        run = _Started(ask, self.slot.pick(), self._received(ask), pipeline=self, tell=done)
        try:
            run.model.batcher.put(ask.text, run, ask.deadline, ask.client, ask.priority)
        except Refusal as refusal:
            run.set_exception(refusal)

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Finish what runs, requests and audits, each for so long."""
        await self._in_flight.close(timeout_s)
        if self.auditor is not None:
            await self.auditor.close(timeout_s)
        if self.shadow is not None:
            await self.shadow.close()
        if self.booking.texts is not None:
            await asyncio.to_thread(self.booking.texts.writer.close)

    def _received(self, ask: Ask) -> float:
        return self.clock() if ask.received_at is None else ask.received_at

    def _decide(self, run: Run, scored: Scored) -> Decision:
        run.scored, watch = scored, run.model.watch
        if run.ask.student_only:
            return STUDENT_ALONE
        decision = decide(scored.prediction, self._thresholds(run, watch))
        if watch is not None and watch.hints is not None and scored.prediction is not None:
            kept = decision is KEEP
            watch.hints.see(scored.prediction.confidence, run.ask.text, kept)
        if decision is KEEP and watch is not None and watch.alarmed:
            decision = PROMISE_BROKEN
        if not decision.escalate:
            return decision
        if run.ask.may_escalate is not None and not run.ask.may_escalate():
            return OVER_THE_KEYS
        return decision if self.affords(scored.doubt) else OUT_OF_BUDGET

    def _keep(self, run: Run, scored: Scored, decision: Decision) -> Answer:
        if decision is STUDENT_ALONE and not scored.usable:
            raise self.booking.refused(run, Reason.STUDENT_ERROR, Unavailable(_ALONE))
        usd = self.booking.usd(run)
        answer = by_student(run, scored, Route.STUDENT, decision.reason, usd)
        return self._settled(run, answer)

    async def _escalate(self, run: Run, scored: Scored, decision: Decision) -> Answer:
        with self._in_flight.holding():
            return self._settled(run, await self._by_teacher(run, scored, decision))

    def _settled(self, run: Run, answer: Answer) -> Answer:
        if self.auditor is None or not self._audits(run, answer, self.auditor):
            self.booking.answered(run, answer)
        return answer

    def _go_on(self, run: _Started, scored: Scored, decision: Decision) -> None:
        """Let a task ask the teacher for a request that had none so far."""
        task = self._in_flight.start(self._escalate(run, scored, decision))
        task.add_done_callback(partial(self._escalated, run))

    def _escalated(self, run: _Started, task: asyncio.Task[Answer]) -> None:
        if task.cancelled():
            run.tell(self.booking.worded(run, Reason.ROUTER_STOPPED, Unavailable(STOPPED)))
        else:
            run.tell(task.exception() or task.result())

    def _unscored(self, run: Run, refusal: Refusal) -> Refusal:
        reason = _REASON_OF.get(type(refusal), Reason.STUDENT_UNAVAILABLE)
        return self.booking.refused(run, reason, refusal)

    async def _by_teacher(self, run: Run, scored: Scored, decision: Decision) -> Answer:
        """Ask the teacher if the decision allows it; without its answer, do as the task says."""
        TRACEPARENT.set(run.ask.traceparent)
        run.bill, run.asked_at = Bill(), self.clock()
        failed, words = decision.reason, None
        if decision.escalate:
            try:
                async with WhileThere(run.ask.client):
                    escalated = await self.guard.ask(
                        run.ask.text,
                        deadline=run.ask.deadline,
                        bill=run.bill,
                        priority=run.ask.priority,
                    )
                run.taught = escalated.reply.distribution
                none = why_unusable(run.taught)
                if none is None:
                    teacher_s = self.clock() - run.asked_at
                    usd = self.booking.usd(run)
                    return by_teacher(run, scored, decision.reason, escalated.reply, usd, teacher_s)
                failed, words = none, escalated.reply.wording
            except EscalationFailed as failure:
                failed = failure.reason
            except ClientGone as gone:
                raise self.booking.refused(run, Reason.CLIENT_GONE, gone) from None
            except asyncio.CancelledError:
                self.booking.refused(run, Reason.ROUTER_STOPPED, Unavailable(STOPPED))
                raise
        if self._degrades and scored.usable:
            teacher_s, usd = self.clock() - run.asked_at, self.booking.usd(run)
            return by_student(run, scored, Route.DEGRADED, failed, usd, teacher_s, words)
        if run.taught is not None and (watch := self._drawn(run)) is not None:
            self._compare(run, watch, None, escalated=True)
        refusal = DeadlinePassed if failed is Reason.DEADLINE else Unavailable
        raise self.booking.refused(run, failed, refusal(_WHY_NOT.format(failed)))

    def _audits(self, run: Run, answer: Answer, auditor: Auditor) -> bool:
        """Whether this answer is audited in shadow, and therefore booked later."""
        watch = self._drawn(run)
        if watch is None:
            return False
        if answer.route is Route.STUDENT:
            return auditor.start(self._audit(run, answer, watch))
        if run.taught is not None:
            self._compare(run, watch, run.taught.label, escalated=True)
        return False

    def _drawn(self, run: Run) -> Watch | None:
        """Draw a request; whoever watches it, if it was drawn and can be compared."""
        watch = run.model.watch
        if run.ask.student_only or self.auditor is None or watch is None:
            return None
        run.propensity = self.auditor.draws(watch.ruling.verdict.eagerness)
        if not run.propensity:
            return None
        run.answered_at = self.clock()
        # Nobody waits for an audit: where money is short it goes first. What is escalated has its
        # label for free, and is still given up with the rest: else it would count too often.
        if watch.alarmed or (self.affords(0.0) and self.auditor.affords() and self.auditor.free):
            return watch
        self.auditor.lost += 1
        return None

    async def _audit(self, run: Run, answer: Answer, watch: Watch) -> None:
        """Ask the teacher about an answer that was kept; the client has it already."""
        TRACEPARENT.set(run.ask.traceparent)
        run.bill = Bill()
        try:
            asked = await self.guard.ask(
                run.ask.text,
                deadline=self.clock() + self.guard.timeout_s,
                bill=run.bill,
                priority=AUDIT_PRIORITY,
            )
            run.audited, run.taught = True, asked.reply.distribution
            self._compare(run, watch, run.taught.label, escalated=False)
        except EscalationFailed:
            assert self.auditor is not None
            self.auditor.lost += 1
        finally:
            assert self.auditor is not None
            self.booking.audited(run, answer, self.auditor.budget)

    def _compare(self, run: Run, watch: Watch, teacher: int | None, *, escalated: bool) -> None:
        said = None if run.scored is None else run.scored.prediction
        watch.compared(run.ask.request_id, run.propensity, said, teacher, escalated=escalated)
        if self.shadow is not None:
            self.shadow.compare(run.ask.text, run.model, said, teacher)

    def _thresholds(self, run: Run, watch: Watch | None) -> Sequence[float]:
        """Return the model's own, raised to the highest that client, operator or audits ask for."""
        asked, ruled = run.ask.threshold, None if watch is None else watch.threshold
        if asked is None and ruled is None and self.threshold is None:
            return run.model.thresholds
        return run.model.raised(max(self.threshold or 0.0, ruled or 0.0, asked or 0.0))

    def affords(self, value: float) -> bool:
        """Whether the budget pays for one more call to the teacher, worth so much, in [0, 1]."""
        return self.budget is None or self.budget.allows(value)


class _Started(Run, kw_only=True, gc=False):
    """A request that waits for the student without a task: the batcher's `Waiter`."""

    pipeline: Pipeline
    tell: Done
    settled: bool = False

    def done(self) -> bool:
        """Whether the outcome is known."""
        return self.settled

    def set_result(self, scored: Scored) -> None:
        """Settle it if the student is sure, else send a task to the teacher."""
        self.settled = True
        try:
            decision = self.pipeline._decide(self, scored)
            if decision not in KEPT:
                self.pipeline._go_on(self, scored, decision)
                return
            outcome: Answer | BaseException = self.pipeline._keep(self, scored, decision)
        except Exception as fault:
            outcome = fault
        self.tell(outcome)

    def set_exception(self, refusal: Refusal) -> None:
        """Settle it without an answer."""
        self.settled = True
        self.tell(self.pipeline._unscored(self, refusal))


_REASON_OF: dict[type[Refusal], Reason] = {
    Overloaded: Reason.QUEUE_FULL,
    DeadlinePassed: Reason.DEADLINE,
    ClientGone: Reason.CLIENT_GONE,
}
_ALONE = "The student fails, and this request asks it alone; ask without `student_only`."
_WHY_NOT = (
    "The student was not sure and the teacher gave no answer ({}); retry later, or set "
    "teacher.on_failure: student in the task file to get the student's answer, marked degraded."
)
