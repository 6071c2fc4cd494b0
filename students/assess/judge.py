"""What a student could keep of one job, by the very steps that `distill` and `whatif` take.

The folder that comes of it is a task like any other: `distill`, `evaluate`, `serve` go on there.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from costmodel.bill.projection import Projection
from costmodel.errors import UnknownPrice
from costmodel.inputs.taskfile import read_deployment
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import HOURS_PER_MONTH, MachinePrice, PriceSpec, TokenUsage, now
from costmodel.whatif import project_deployment
from students.assess.jobs import Job, answer_of
from students.assess.pii import mask
from students.distill.run import Distilled, bill_of, distill, prove, take_parts
from students.errors import BadInputs
from students.label.inputs import read_inputs
from students.label.labelled import LabelledSet
from students.label.record import (
    Agreement,
    LabellingRecord,
    LabelUsage,
    TeacherIdentity,
    save_labels,
)
from students.label.split import split_inputs
from students.labels import NO_LABEL
from students.prompt import prompt_sha256
from students.runtime.bundle import draft
from students.task import StudentSection, Task, load_task
from students.wording import bare

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
    task = _write(job, money, folder, max(promises), masked if masking else None)
    labelled, splits, record = _labels(job, task, masked if masking else None)
    save_labels(task.work_dir, labelled, record)
    teacher, bill = record.teacher.descriptor, bill_of(record)
    try:
        first = distill(task, labelled, splits, teacher=teacher, labelling=bill, report=report)
    except BadInputs as error:  # e.g. all texts are copies of one template
        return Judged(job, money, folder, str(error))
    kept = [_kept(task, task.promise.agreement, first)]
    part = take_parts(task, labelled, splits)
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


def _write(
    job: Job, money: TeacherCost, folder: Path, agreement: float, masked: Counter[str] | None
) -> Task:
    """Write the task file and its inputs."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    labels = list(job.labels.values())
    usable = [call for call in job.latest if job.text_of(call)]
    texts = [_clean(job.text_of(call), masked) for call in usable]
    times = [call.at for call in usable]
    dated = all(at is not None for at in times)
    columns: dict[str, Any] = {"text": texts, "answer": [answer_of(call) for call in usable]}
    if dated:
        columns["time"] = times
    assert money.spec is not None
    content = {
        "name": job.name,
        "labels": labels,
        "teacher": {
            "mode": "text",
            "base_url": usable[0].base_url or "https://api.openai.com/v1",
            "model": job.latest[0].model,
            "api_key_env": "TEACHER_API_KEY",
            "prompt": {
                "system": _literal(job.system),
                "user": f"{_literal(job.before)}{{text}}{_literal(job.after)}",
            },
            "price": json.loads(money.spec.model_dump_json(exclude_defaults=True)),
        },
        "inputs": {"path": "inputs.parquet", "text": "text"} | ({"time": "time"} if dated else {}),
        "promise": {"agreement": agreement},
        "student": {"family": "linear"},
        "traffic": {"requests_per_day": round(money.per_day, 1)},
    }
    path = folder / "task.yaml"
    written = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    if path.exists() and path.read_text("utf-8") != written:
        raise BadInputs(
            f"{path} exists and is another task: of another log, another promise, or edited since; "
            "give another --out"
        )
    path.write_text(written, "utf-8")
    pq.write_table(pa.table(columns), folder / "inputs.parquet")
    return load_task(path)


def _literal(words: str) -> str:
    """What a prompt says, not a place for a text."""
    return words.replace("{text}", "{ text }").replace("{labels}", "{ labels }")


def _clean(text: str, masked: Counter[str] | None) -> str:
    return text if masked is None else mask(text, masked)


def _labels(
    job: Job, task: Task, masked: Counter[str] | None
) -> tuple[LabelledSet, dict[str, np.ndarray[Any, np.dtype[np.int64]]], LabellingRecord]:
    """Take the logged answers as hard labels: of a text asked often, the most frequent one."""
    inputs = read_inputs(task.inputs, task.schema_)
    place = {text: i for i, text in enumerate(inputs.texts)}
    columns = {key: k for k, key in enumerate(job.labels)}
    votes: list[Counter[int]] = [Counter() for _ in inputs.texts]
    for call in job.latest:
        row = place.get(_clean(job.text_of(call), None if masked is None else Counter()))
        if row is not None:
            votes[row][columns.get(bare(answer_of(call)), NO_LABEL)] += 1
    n, k = len(inputs), len(task.schema_)
    probabilities, other = np.zeros((n, k), np.float32), np.zeros(n, np.float32)
    for row, counted in enumerate(votes):
        label = counted.most_common(1)[0][0]
        if label == NO_LABEL:
            other[row] = 1.0
        else:
            probabilities[row, label] = 1.0
    labelled = LabelledSet(
        task.schema_,
        inputs.texts,
        probabilities,
        other,
        np.zeros(n, np.bool_),
        inputs.gold,
    )
    splits = split_inputs(inputs)
    calls = job.latest
    usage = LabelUsage(
        input_tokens=sum(c.input_tokens for c in calls),
        output_tokens=sum(c.output_tokens for c in calls),
        cached_input_tokens=sum(c.cached_tokens for c in calls),
        requests=len(calls),
    )
    twice = [counted for counted in votes if counted.total() > 1]
    agreed = sum(len(counted) == 1 for counted in twice)
    record = LabellingRecord(
        task=task.name,
        teacher=TeacherIdentity(
            mode="text",
            model=task.teacher.model,
            revision=task.teacher.revision,
            prompt_sha256=prompt_sha256(task.prompt, task.answers),
            parameters=json.dumps({"source": "log"}),
            terms=task.teacher.terms,
        ),
        labels_sha256=labelled.sha256,
        inputs_sha256=inputs.sha256,
        n=n,
        rows=len(inputs.rows),
        usd=Decimal(0),
        unconfirmed_usd=Decimal(0),
        usage=usage,
        price="paid for already: the answers are the log's",
        asked=0,
        cached=n,
        rejected=0,
        unusable=int((~labelled.usable).sum()),
        refused=0,
        self_agreement=Agreement(n=len(twice), agreed=agreed),
        label_mass=tuple(np.histogram(1 - other, bins=10, range=(0, 1))[0].tolist()),
        unsure=int((~labelled.usable).sum()),
        truncated=0,
        gold=None,
        splits={name: rows.tolist() for name, rows in splits.items()},
        sampling=task.inputs.sampling,
        seed=0,
        date=now().date().isoformat(),
    )
    return labelled, splits, record


def _kept(task: Task, agreement: float, distilled: Distilled) -> AtPromise:
    if distilled.refusal is not None:
        return AtPromise(agreement, distilled, None)
    path = task.work_dir.parent / "task.yaml"
    return AtPromise(
        agreement, distilled, project_deployment(read_deployment(path, distilled.bundle.id))
    )
