"""What a student could keep of one job, by the very steps that `distill` and `whatif` take.

The folder that comes of it is a task like any other: `distill`, `evaluate`, `serve` go on there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from costmodel.bill.projection import Projection
from costmodel.errors import UnknownPrice
from costmodel.inputs.taskfile import read_deployment
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import HOURS_PER_MONTH, MachinePrice, PriceSpec, TokenUsage, now
from costmodel.whatif import project_deployment
from students.assess.folder import logged_labels, write_task
from students.assess.jobs import Job
from students.distill.run import Distilled, bill_of, distill, prove, take_parts
from students.errors import BadInputs
from students.label.record import (
    save_labels,
)
from students.runtime.bundle import draft
from students.sections import StudentSection
from students.task import Task

LEAST_ROWS = 600
"""Calls from which a promise can be proved at all: 15 % of them are calibration rows."""
PROVIDERS = ("openai", "anthropic", "google", "mistral", "deepseek", "x-ai", "groq", "cohere")
_SAME_PRICE = 0.2
"""Up to this relative difference, what the log says was paid is the list price."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True)
class TeacherCost:
    """What a job costs at its teacher.

    Attributes:
        spec: the price as a task file names it; None where nobody knows it.
        words: where it comes from.
        usd_per_call: mean.
        per_day: calls.
    """

    spec: PriceSpec | None
    words: str
    usd_per_call: float | None
    per_day: float

    @property
    def usd_per_month(self) -> float | None:
        """Dollars in 730 hours."""
        if self.usd_per_call is None:
            return None
        return self.usd_per_call * self.per_day * HOURS_PER_MONTH / 24


@dataclass(frozen=True)
class AtPromise:
    """What one promise would do."""

    agreement: float
    distilled: Distilled
    projection: Projection | None
    """None where nothing is certified."""


@dataclass(frozen=True, eq=False)
class Judged:
    """One job, and why nothing was trained for it or what came of it."""

    job: Job
    money: TeacherCost
    folder: Path | None
    why_not: str | None
    kept: tuple[AtPromise, ...] = ()
    masked: tuple[tuple[str, int], ...] = ()

    @property
    def best(self) -> AtPromise | None:
        """The certified promise that saves most for sure; None where none saves anything."""
        sure = [k for k in self.kept if k.projection and k.projection.savings.low > 0]
        return max(
            sure, key=lambda k: k.projection.savings.mid if k.projection else 0, default=None
        )

    @property
    def verdict(self) -> str:
        """In one word: pays, idle (certified and saves nothing), refused, or bad fit."""
        if self.why_not is not None:
            return "bad fit"
        if self.best is not None:
            return "pays"
        return "idle" if any(k.projection for k in self.kept) else "refused"


def money_of(job: Job, days: float, sampled: float, given: PriceSpec | None) -> TeacherCost:
    """Price a job: by the price given, by list where the log agrees with it, else by the log.

    Args:
        job: whose calls say tokens and perhaps dollars.
        days: that the log covers.
        sampled: share of the traffic that the log holds, (0, 1].
        given: a price that wins over all.
    """
    calls = job.latest
    per_day = len(job.calls) / days / sampled
    read = sum(c.input_tokens for c in calls)
    cached = min(sum(c.cached_tokens for c in calls), read)
    wrote = sum(c.output_tokens for c in calls)
    usage = TokenUsage(read, wrote, cached, len(calls))
    logged = [c.usd for c in calls if c.usd is not None]
    mean_logged = sum(logged) / len(logged) if len(logged) > 0.9 * len(calls) else None
    for spec in [given] if given else _listed(calls[0].model):
        try:
            price = price_of(spec)
        except UnknownPrice:
            continue
        if not read and not isinstance(price, MachinePrice):
            break
        mean = float(price.cost(usage, now()).usd) / len(calls)
        same = mean_logged is None or abs(mean - mean_logged) <= _SAME_PRICE * mean_logged
        if given or same:
            return TeacherCost(spec, price.words, mean, per_day)
    if mean_logged is not None and read + wrote:
        each = Decimal(
            repr(round(sum(logged) / len(logged) * len(calls) / (read + wrote) * 1e6, 6))
        )
        spec = PriceSpec(usd_per_mtok_input=each, usd_per_mtok_output=each)
        words = f"as the log was billed: ${each} per million tokens, read or written"
        return TeacherCost(spec, words, mean_logged, per_day)
    return TeacherCost(None, "nobody knows the price", mean_logged, per_day)


def judge(
    job: Job,
    money: TeacherCost,
    folder: Path,
    promises: Sequence[float],
    *,
    masking: bool = False,
    report: Report = lambda stage, done, total: None,
) -> Judged:
    """Make a task of a job, distil it from the logged answers, and project each promise.

    The latest calls judge, copies as often as they came. Nobody is asked.

    Args:
        job: the calls.
        money: from `money_of`.
        folder: gets task.yaml, inputs.parquet and .raisehand. Looks at its rows stay counted.
        promises: agreements to certify; each is one look at the calibration rows.
        masking: mask what names a person before anything is stored.
        report: progress.

    Raises:
        BadInputs: the folder holds another task.
    """
    why_not = job.why_not or _too_small(job, money)
    if why_not is not None or money.spec is None:
        return Judged(job, money, None, why_not or "unpriced: say what the teacher costs, --price")
    masked: Counter[str] = Counter()
    task = write_task(
        job, money.spec, money.per_day, folder, max(promises), masked if masking else None
    )
    labelled, splits, record = logged_labels(job, task, masked if masking else None)
    save_labels(task.work_dir, labelled, record)
    teacher, bill = record.teacher.descriptor, bill_of(record)
    try:
        part = take_parts(task, labelled, splits)
    except BadInputs as error:  # e.g. all texts are copies of one template
        return Judged(job, money, folder, str(error))
    first = distill(task, part, teacher=teacher, labelling=bill, report=report)
    kept = [_kept(task, task.promise.agreement, first)]
    for agreement in sorted(set(promises) - {task.promise.agreement}, reverse=True):
        promise = task.promise.model_copy(update={"agreement": agreement})
        other = task.model_copy(update={"promise": promise})
        with draft(task.work_dir / "bundles") as again:
            for name in first.bundle.manifest.files:
                shutil.copy(first.bundle.path / name, again / name)
            manifest = first.bundle.manifest.model_copy(
                update={"certificate": None, "evaluation": None, "profile": None, "probes": ()}
            )
            proved = prove(other, manifest, again, part, report)
        kept.append(_kept(task, agreement, proved))
    return Judged(job, money, folder, None, tuple(kept), tuple(masked.items()))


def _too_small(job: Job, money: TeacherCost) -> str | None:
    machines = machines_usd_per_month()
    if money.usd_per_month is not None and money.usd_per_month < machines:
        return (
            f"{money.per_day:,.0f} calls a day cost ${money.usd_per_month:,.2f} a month, and a "
            f"student's machines ${machines:,.2f}"
        )
    if len(job.latest) < LEAST_ROWS:
        return f"{len(job.latest):,} calls of this teacher; {LEAST_ROWS} are the least to judge by"
    return None


def machines_usd_per_month() -> float:
    """Return what the machines of a student cost at least, as a task has them by default."""
    section = StudentSection()
    price = price_of(section.price)
    assert isinstance(price, MachinePrice)
    return float(price.usd_per_hour) * section.min_machines * HOURS_PER_MONTH


def _listed(model: str) -> list[PriceSpec]:
    provider, _, name = model.partition("/")
    if name:
        return [PriceSpec(model=f"{provider}:{name}")]
    return [PriceSpec(model=f"{provider}:{model}") for provider in PROVIDERS]


def _kept(task: Task, agreement: float, distilled: Distilled) -> AtPromise:
    if distilled.refusal is not None:
        return AtPromise(agreement, distilled, None)
    path = task.work_dir.parent / "task.yaml"
    return AtPromise(
        agreement, distilled, project_deployment(read_deployment(path, distilled.bundle.id))
    )
