"""Every student of a task in one table: what it escalates as certified, its speed, its training.

A seed draws which rows train and which validate, and shuffles; calibration and test rows are the
same for all, so differences to the rung before are paired by seed and test row, and the intervals
resample both. Each student is distilled, certified and served as the product does, with a ledger of
looks of its own: what is measured is one look, and no ledger of the task is touched. Figures are
kept, so that a run that was interrupted, or another for more families, goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import numpy.typing as npt

from students.runtime.cores import cores

if TYPE_CHECKING:
    from students.distill.run import Distilled
    from students.label.labelled import LabelledSet
    from students.task import Task
    from students.teachers.protocol import TeacherDescriptor

Floats = npt.NDArray[np.floating]
FAMILIES = ("linear", "frozen", "blend")
RESAMPLES = 2000
FIGURES = ("agrees_alone", "escalated", "system_agreement", "system_accuracy")


@dataclass(frozen=True, eq=False)
class RungFigures:
    """One student on the N test rows, and what it took."""

    rows: Floats
    """(N, 4), the columns of `FIGURES`; the last one is NaN without gold, left out if all are."""
    certified: bool
    calibration_escalated: float
    train_s: float
    cpu_s: float
    """Processor seconds of the whole distillation: they hardly depend on what else runs."""
    texts_per_s: float

    def save(self, path: Path) -> None:
        """Write all of it; an interrupted write leaves nothing under this name."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **asdict(self))
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> RungFigures:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as stored:
            numbers = {f.name: stored[f.name].item() for f in fields(cls) if f.name != "rows"}
            return cls(rows=stored["rows"], **numbers)


@click.command(epilog="Example: raisehand bench rungs --task task.yaml --json")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--family", "families", multiple=True, help="Default: linear, frozen and blend.")
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(1))
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    help="Folder of figures that were measured: a run goes on where another of the same labels, "
    "task and release ended.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def rungs(
    task_path: Path, families: tuple[str, ...], seeds: int, keep: Path | None, as_json: bool
) -> None:
    """Distil each family on several seeds; report escalation, agreement, speed and time."""
    from students.label.record import load_labels
    from students.task import load_task
    from students.train.profiling import machine

    task = load_task(task_path)
    labelled, record = load_labels(task.work_dir)
    teacher = record.teacher.descriptor
    splits = record.split_rows()
    found: dict[str, list[RungFigures]] = {}
    for family in families or FAMILIES:
        found[family] = []
        for seed in range(seeds):
            kept = keep / _name(task, labelled, family, seed) if keep else None
            if kept and kept.exists():
                found[family].append(RungFigures.load(kept))
                continue
            one = measure(task, labelled, splits, teacher, family, seed)
            found[family].append(one)
            if kept:
                one.save(kept)
            click.echo(
                f"{family} {seed}: escalates {one.calibration_escalated:.2%} of calibration, "
                f"{one.rows[:, 1].mean():.2%} of test; {one.train_s:.1f} s of training, "
                f"{one.cpu_s:.1f} s of processor in all",
                err=True,
            )
    shown = {
        "task": task.name,
        "teacher": teacher.model,
        "promise": task.promise.model_dump(mode="json"),
        "rows": {name: len(rows) for name, rows in splits.items()},
        "seeds": seeds,
        "students": summary(found),
        "machine": machine(),
        "cores": cores(),
    }
    click.echo(json.dumps(shown, indent=1) if as_json else _words(shown["students"]))


def _name(task: Task, labelled: LabelledSet, family: str, seed: int) -> str:
    """Name what was measured by all that it rests on but the machine."""
    what = json.dumps(
        [
            labelled.sha256,
            task.promise.model_dump(mode="json"),
            task.student.model_dump(mode="json"),
            version("raisehand"),
        ],
        sort_keys=True,
    )
    return f"{family}-{seed}-{hashlib.sha256(what.encode()).hexdigest()[:12]}.npz"


def measure(
    task: Task,
    labelled: LabelledSet,
    splits: Mapping[str, npt.NDArray[np.int64]],
    teacher: TeacherDescriptor,
    family: str,
    seed: int,
) -> RungFigures:
    """Distil one student, certify it on a first look, and answer the test rows with it."""
    from students.distill.run import distill, take_parts
    from students.sections import StudentSection

    section = StudentSection.model_validate(
        task.student.model_dump() | {"family": family, "seed": seed}
    )
    kept = task.work_dir / "embeddings"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "embeddings").symlink_to(kept, target_is_directory=True)
        mine = task.model_copy(update={"student": section, "work_dir": Path(name)})
        part = take_parts(mine, labelled, _drawn(splits, seed))
        start = time.process_time()
        done = distill(mine, part, teacher=teacher)
        cpu_s = time.process_time() - start
        return _outcome(done, labelled.take(splits["test"]), cpu_s)


def _drawn(
    splits: Mapping[str, npt.NDArray[np.int64]], seed: int
) -> dict[str, npt.NDArray[np.int64]]:
    """Draw anew which rows train and which validate, as many as before."""
    pool = np.concatenate([splits["train"], splits["validation"]])
    pool = np.random.default_rng(seed).permutation(pool)
    size = len(splits["validation"])
    return {**splits, "validation": pool[:size], "train": pool[size:]}


def _outcome(done: Distilled, test: LabelledSet, cpu_s: float) -> RungFigures:
    from students.distill.answers import answer
    from students.runtime.load import load_student

    manifest = done.bundle.manifest
    said = answer(load_student(done.bundle), test.texts)
    agree = said.labels == test.teacher
    kept = said.confidence >= np.array(manifest.thresholds)[said.labels]
    columns = [agree, ~kept, agree | ~kept]
    if (test.gold >= 0).any():
        right = np.where(kept, said.labels, test.teacher) == test.gold
        columns.append(np.where(test.gold >= 0, right, np.nan))
    certificate, profile = manifest.certificate, manifest.profile
    return RungFigures(
        np.stack(columns, axis=1).astype(float),
        certificate is not None,
        1 - certificate.coverage if certificate else 1.0,
        manifest.training_s,
        cpu_s,
        profile.texts_per_s if profile else 0.0,
    )


def summary(found: Mapping[str, Sequence[RungFigures]]) -> list[dict[str, object]]:
    """Return means with 95 % intervals over seeds and test rows, each beside the rung before."""
    shown: list[dict[str, object]] = []
    before: Floats | None = None
    for family, outcomes in found.items():
        means = np.array(list(_resampled([one.rows for one in outcomes])))
        one: dict[str, object] = {
            "student": family,
            "certified": sum(o.certified for o in outcomes),
            "seeds": len(outcomes),
            "calibration_escalated": float(np.mean([o.calibration_escalated for o in outcomes])),
            "train_s": float(np.median([o.train_s for o in outcomes])),
            "first_train_s": outcomes[0].train_s,
            "cpu_s": float(np.median([o.cpu_s for o in outcomes])),
            "first_cpu_s": outcomes[0].cpu_s,
            "texts_per_s_one_core": float(np.median([o.texts_per_s for o in outcomes])),
            **{name: _interval(mean) for name, mean in zip(FIGURES, means.T, strict=False)},
        }
        if before is not None:
            one["escalated_less_than_before"] = _interval(before[:, 1] - means[:, 1])
        shown.append(one)
        before = means
    return shown


def _resampled(rows: Sequence[Floats]) -> Iterator[Floats]:
    """Means (4,) of the sample itself, then of resamples of seeds and rows, the same for all."""
    stacked = np.stack(rows)
    rng = np.random.default_rng(0)
    seeds, n = stacked.shape[:2]
    yield np.nanmean(stacked, axis=(0, 1))
    for _ in range(RESAMPLES):
        drawn = stacked[rng.integers(seeds, size=seeds)].mean(axis=0)
        yield np.nanmean(drawn[rng.integers(n, size=n)], axis=0)


def _interval(values: Floats) -> list[float]:
    """Estimate, low and high."""
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return [round(float(x), 4) for x in (values[0], low, high)]


def _words(students: object) -> str:
    assert isinstance(students, list)
    lines = ["student   agrees alone  escalated on test        system   train s   texts/s a core"]
    for one in students:
        mid, low, high = one["escalated"]
        lines.append(
            f"{one['student']:<9} {one['agrees_alone'][0]:>12.1%}  {mid:.1%} "
            f"[{low:.1%}, {high:.1%}]  {one['system_agreement'][0]:>9.1%}  {one['train_s']:>8.1f}  "
            f"{one['texts_per_s_one_core']:>15,.0f}"
        )
    return "\n".join(lines)
