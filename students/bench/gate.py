"""`raisehand bench gate`: what the out-of-scope gate keeps of a task, and of texts of another one.

A student is distilled as ever, without a gate. Its threshold is the lowest 15 % of the confidences
of rows whose labels are not looked at, so that the gate is judged, and no certificate. Then the
gate is fitted as `distill` fits it, and what student and gate keep is held beside what the student
keeps alone; how well either tells the texts apart is the area under its curve (AUROC).
"""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from costmodel.extras import require
from students.errors import BadInputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from students.label.labelled import LabelledSet
    from students.task import Task

ESCALATED = 0.15
"""Of the task's own rows, before there is a gate."""


@dataclass(frozen=True)
class GateFigures:
    """Shares kept of own and other texts, by the student alone and with the gate."""

    in_scope: float
    own: int
    others: int
    auroc_confidence: float
    auroc_gate: float
    own_before: float
    own_after: float
    others_before: float
    others_after: float


@click.command(epilog="Example: raisehand bench gate --task task.yaml --other news.csv")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option(
    "--other",
    "other_path",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="CSV of texts of another task.",
)
@click.option("--column", default="text", show_default=True, help="Of its texts.")
@click.option("--in-scope", multiple=True, type=click.FloatRange(0, 1), default=(0.99, 0.95))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def gate(
    task_path: Path, other_path: Path, column: str, in_scope: tuple[float, ...], as_json: bool
) -> None:
    """Measure the gate on a labelled task and texts that it never was about."""
    from students.label.record import load_labels
    from students.task import load_task

    require("train")
    task = load_task(task_path)
    labelled, record = load_labels(task.work_dir)
    found = measure_gate(task, labelled, record.split_rows(), _texts(other_path, column), in_scope)
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=1))
    else:
        click.echo(gate_table(found))


def measure_gate(
    task: Task,
    labelled: LabelledSet,
    rows: dict[str, npt.NDArray[np.int64]],
    others: Sequence[str],
    in_scope: Sequence[float],
) -> list[GateFigures]:
    """Distil one student, and fit a gate beside it for each share."""
    from students.distill.answers import answer
    from students.distill.run import distill, take_parts
    from students.runtime.load import load_student
    from students.teachers import make_teacher
    from students.train.scope import fit_scope

    with tempfile.TemporaryDirectory() as folder:
        student = task.student.model_copy(update={"in_scope": None})
        mine = task.model_copy(update={"work_dir": Path(folder), "student": student})
        part = take_parts(mine, labelled, rows)
        bundle = distill(mine, part, teacher=make_teacher(task).descriptor).bundle
        alone = load_student(bundle)
        threshold = np.quantile(answer(alone, part["temperature"].texts).confidence, ESCALATED)
        own = part["test"].texts
        sure = [answer(alone, texts).confidence for texts in (own, others)]
    found = []
    for keep in in_scope:
        fitted = fit_scope(part["train"].texts, part["temperature"].texts, keep, task.student.seed)
        far = [fitted.distances(texts) for texts in (own, others)]
        before = [each >= threshold for each in sure]
        after = [
            kept & (distance <= fitted.limit) for kept, distance in zip(before, far, strict=True)
        ]
        found.append(
            GateFigures(
                in_scope=keep,
                own=len(own),
                others=len(others),
                auroc_confidence=_auroc(sure[0], sure[1]),
                auroc_gate=_auroc(-far[0], -far[1]),
                own_before=float(before[0].mean()),
                own_after=float(after[0].mean()),
                others_before=float(before[1].mean()),
                others_after=float(after[1].mean()),
            )
        )
    return found


def gate_table(found: Sequence[GateFigures]) -> str:
    """Lay it out as a table of Markdown, a line for each share."""
    lines = [
        "| other texts | AUROC confidence | gate | `in_scope` | own kept, before → after | "
        "other kept, before → after |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {one.others:,} | {one.auroc_confidence:.3f} | {one.auroc_gate:.3f} | {one.in_scope:g} "
        f"| {one.own_before:.1%} → {one.own_after:.1%} of {one.own:,} "
        f"| {one.others_before:.1%} → {one.others_after:.1%} |"
        for one in found
    ]
    return "\n".join(lines)


def _auroc(own: npt.NDArray[np.floating], others: npt.NDArray[np.floating]) -> float:
    """Return how probably an own text scores above another, ties by half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([own, others]))[: own.size]
    return float((ranks.sum() - own.size * (own.size + 1) / 2) / (own.size * others.size))


def _texts(path: Path, column: str) -> list[str]:
    """Read a column of texts.

    Raises:
        BadInputs: there is no such column, or nothing in it.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if column not in (reader.fieldnames or ()):
            raise BadInputs(
                f"{path} has the columns {', '.join(reader.fieldnames or ())} and no {column}; "
                "name it with --column"
            )
        texts = [row[column].strip() for row in reader if (row[column] or "").strip()]
    if not texts:
        raise BadInputs(f"{path} has no text in its column {column}; give texts of another task")
    return texts
