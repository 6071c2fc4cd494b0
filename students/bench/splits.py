"""A task's student as its splits are given, and with random rows of its pile as judges.

What is drawn is what `raisehand label` draws from a file without a split. Each student is distilled
and certified with a ledger of looks of its own: what is measured is one look, and none of the
task's is spent.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

if TYPE_CHECKING:
    from students.distill.run import Distilled
    from students.label.labelled import LabelledSet
    from students.label.split import Indices
    from students.task import Task


@dataclass(frozen=True)
class SplitFigures:
    """One division of the pile; the shares are count, n, rate and 95 % interval of test rows."""

    judges: str
    n_calibration: int
    n_test: int
    certified: bool
    alone: dict[str, float]
    cascade: dict[str, float]
    escalation: dict[str, float]
    unlike: dict[str, float] | None
    """Escalation of the test rows unlike any text that was learnt from; None: there is none."""


@click.command(epilog="Example: raisehand bench splits --task task.yaml --seeds 3")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--seeds", default=2, show_default=True, type=click.IntRange(1))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def splits(task_path: Path, seeds: int, as_json: bool) -> None:
    """Distil a labelled task on the splits it was given and on random rows, and compare."""
    from students.label.record import load_labels
    from students.task import load_task

    task = load_task(task_path)
    labelled, record = load_labels(task.work_dir)
    found = []
    for judges, rows in _divisions(task, labelled, record.split_rows(), seeds):
        found.append(measure(task, labelled, rows, judges))
        click.echo(f"{judges}: done", err=True)
    shown = {"task": task.name, "rows": record.rows or record.n, "texts": record.n}
    if as_json:
        click.echo(json.dumps(shown | {"splits": [asdict(one) for one in found]}, indent=1))
    else:
        click.echo(table_of(found))


def measure(task: Task, labelled: LabelledSet, rows: Indices, judges: str) -> SplitFigures:
    """Distil a student on one division, on a first look."""
    from students.distill.run import distill, take_parts
    from students.teachers import make_teacher

    with tempfile.TemporaryDirectory() as folder:
        mine = task.model_copy(update={"work_dir": Path(folder)})
        part = take_parts(mine, labelled, rows)
        done = distill(mine, part, teacher=make_teacher(task).descriptor)
        return _figures(done, judges, len(part["calibration"]))


def table_of(found: list[SplitFigures]) -> str:
    """Lay the divisions out as a table of Markdown, a line each."""
    lines = [
        "| who judges | calibration, test rows | student alone | cascade on test | escalation | "
        "on texts unlike any learnt from |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        shares = [one.alone, one.cascade, one.escalation, one.unlike]
        cells = [one.judges, f"{one.n_calibration:,}, {one.n_test:,}", *map(_share, shares)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _divisions(
    task: Task, labelled: LabelledSet, given: Indices, seeds: int
) -> Iterator[tuple[str, Indices]]:
    """The given division, if it is one, and those that random rows of the whole pile make."""
    from students.label.inputs import read_inputs
    from students.label.split import split_inputs

    if task.inputs.split:
        yield "as given", given
    blind = task.inputs.model_copy(update={"split": None})
    inputs = read_inputs(blind, task.schema_)
    place = {text: i for i, text in enumerate(inputs.texts)}
    asked = inputs.take(np.array([place[text] for text in labelled.texts], np.int64))
    for seed in range(seeds):
        yield f"random rows, seed {seed}", split_inputs(asked, seed=seed)


def _figures(done: Distilled, judges: str, n_calibration: int) -> SplitFigures:
    evaluation = done.bundle.manifest.evaluation
    assert evaluation is not None, "distill evaluates"
    unlike = evaluation.unlike
    return SplitFigures(
        judges=judges,
        n_calibration=n_calibration,
        n_test=evaluation.n,
        certified=done.refusal is None,
        alone=evaluation.agreement.model_dump(),
        cascade=evaluation.cascade_agreement.model_dump(),
        escalation=evaluation.escalation.model_dump(),
        unlike=unlike.escalation.model_dump() if unlike and unlike.escalation else None,
    )


def _share(share: dict[str, float] | None) -> str:
    if share is None:
        return "–"
    return f"{share['rate']:.1%} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"
