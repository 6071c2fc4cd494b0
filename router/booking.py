"""What is written down of a request, once: the ledger, the metrics, the budget and its price."""

from __future__ import annotations

import random
from decimal import Decimal

from router.clock import Clock
from router.errors import Refusal
from router.ledger.entry import Entry, Ledger
from router.ledger.text_hash import TextHash
from router.policy import Reason, Route
from router.request import FREE, Answer, Run
from router.teacher.budget import Budget
from router.teacher.prices import TeacherPrices
from router.telemetry.metrics import Metrics
from students.task import Task
from students.texts.store import KeptText, Kind, Said, TextWriter

NOTHING = Decimal(0)


class TextKeeping:
    """Which texts of a task are kept: escalations, audits, a share of the rest.

    Args:
        writer: stores them.
        inputs_rate: probability with which the text of any other kept answer is stored, too.
        rng: the router's own chance.
    """

    def __init__(
        self, writer: TextWriter, inputs_rate: float, rng: random.Random | None = None
    ) -> None:
        self.writer = writer
        self._inputs_rate = inputs_rate
        self._rng = rng or random.Random()

    def kind_of(self, entry: Entry) -> Kind | None:
        """Say as what the text of a request is kept; None: it is not."""
        if entry.route is Route.TEACHER:
            return "escalation"
        if entry.route is not Route.STUDENT or entry.reason is not Reason.CONFIDENT:
            return None
        if entry.propensity:  # drawn; one that was lost is kept, too: it is counted as lost
            return "audit"
        return "input" if self._rng.random() < self._inputs_rate else None


class Booking:
    """Books the requests of one task.

    Args:
        student_usd: what one answer of the student costs; None when unpriced.
        prices: of what the teacher's models answered.
        budget: told what was spent; None where there is none.
        text_hash: what is written down of a text.
        clock: what latencies are measured on.
        wall: what is written down.
        texts: where texts are kept; None keeps none.
    """

    def __init__(
        self,
        task: Task,
        ledger: Ledger,
        metrics: Metrics,
        *,
        student_usd: Decimal | None,
        prices: TeacherPrices,
        budget: Budget | None,
        text_hash: TextHash,
        clock: Clock,
        wall: Clock,
        texts: TextKeeping | None = None,
    ) -> None:
        self.ledger = ledger
        self.prices = prices
        self.wall = wall
        self.text_hash = text_hash
        self.texts = texts
        self._task, self._name = task, task.name
        self._names = task.schema_.names
        self._metrics = metrics
        self._student_usd = student_usd
        self._budget = budget
        self._clock = clock

    def answered(self, run: Run, answer: Answer) -> None:
        """Book a request that got its answer."""
        label = self._names[answer.label]
        entry = self._entry(run, answer.route, answer.reason, label, answer.confidence)
        self._book(entry)
        if self.texts is not None:
            self._keep_text(self.texts, run, entry)

    def audited(self, run: Run, answer: Answer, budget: Budget | None) -> None:
        """Book an answer that was audited after it was given, on the budget of audits, too."""
        self.answered(run, answer)
        if budget is not None:
            budget.spend(NOTHING if run.bill is FREE else self.prices.usd(run.bill))

    def passed(self, run: Run, failed: Reason | None) -> None:
        """Book a request that went past the student; `failed` says why it got no whole answer."""
        route = Route.TEACHER if failed is None else Route.REFUSED
        self._book(self._entry(run, route, failed or Reason.PASSTHROUGH))

    def checked(self, run: Run, budget: Budget | None) -> None:
        """Book a question of the router's own; it is no request, and what it cost is paid."""
        if run.bill.attempts:
            entry = self._entry(run, Route.TEACHER, Reason.TEACHER_CHECK)
            self.ledger.append(entry)
            self._metrics.pay(entry)
            for spent in (self._budget, budget):
                if spent is not None:
                    spent.spend(entry.teacher_usd)

    def refused(self, run: Run, reason: Reason, refusal: Refusal) -> Refusal:
        """Book a request that gets no answer; one that cost nothing is only counted."""
        entry = self._entry(run, Route.REFUSED, reason)
        if run.scored is None:
            self._metrics.observe(entry)
        else:
            self._book(entry)
        return self.worded(run, reason, refusal)

    def worded(self, run: Run, reason: Reason, refusal: Refusal) -> Refusal:
        """Put on a refusal what every answer says."""
        refusal.reason, refusal.bundle = reason.value, run.model.bundle
        refusal.usd = self.usd(run)
        return refusal

    def usd(self, run: Run) -> Decimal | None:
        """Return what a request cost so far; None when a part has no known price."""
        student_usd = NOTHING if run.scored is None else self._student_usd
        if run.bill is FREE:
            return student_usd
        teacher_usd = self.prices.usd(run.bill)
        if student_usd is None or teacher_usd is None:
            return None
        return student_usd + teacher_usd

    def _book(self, entry: Entry) -> None:
        self.ledger.append(entry)
        self._metrics.observe(entry)
        if self._budget is not None and entry.attempts:
            self._budget.spend(entry.teacher_usd)

    def _entry(
        self,
        run: Run,
        route: Route,
        reason: Reason,
        label: str | None = None,
        confidence: float | None = None,
    ) -> Entry:
        ask, scored, bill, usage = run.ask, run.scored, run.bill, run.bill.usage
        said = None if scored is None or not scored.usable else scored.prediction
        return Entry(  # in the order of its fields: by name it takes 2 µs longer
            self.wall(),
            ask.request_id,
            self._name,
            run.model.bundle,
            ask.surface,
            route,
            reason,
            label,
            confidence,
            NOTHING if scored is None else self._student_usd,
            NOTHING if bill is FREE else self.prices.usd(bill),
            usage.input_tokens,
            usage.output_tokens,
            bill.attempts,
            ((run.answered_at or self._clock()) - run.started) * 1000.0,
            route is Route.DEGRADED,
            run.audited,
            run.propensity,
            self.text_hash(ask.text),
            ask.key,
            usage.cached_input_tokens,
            bill.estimated,
            bill.model or bill.asked,
            None if said is None else self._names[said.label],
            None if run.taught is None else self._name_of(run.taught.label),
        )

    def _keep_text(self, texts: TextKeeping, run: Run, entry: Entry) -> None:
        kind = texts.kind_of(entry)
        if kind is None:
            return
        taught = run.taught
        texts.writer.put(
            KeptText(
                task=entry.task,
                request_id=entry.request_id,
                at=entry.at,
                kind=kind,
                propensity=entry.propensity,
                said=Said(
                    text=run.ask.text,
                    student_label=entry.student_label,
                    confidence=entry.confidence,
                    teacher_label=entry.teacher_label,
                    probabilities=None if taught is None else list(taught.probabilities),
                    other=0.0 if taught is None else taught.other,
                    teacher=f"{self._task.teacher.model}@{self._task.teacher.revision}",
                ),
            )
        )

    def _name_of(self, label: int | None) -> str:
        return "" if label is None else self._names[label]
