"""`raisehand ablate`: do soft labels pay here, and how many labels are enough?"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.extras import require
from students.commands.evaluate import check_test_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from students.commands.bars import Bars
    from students.distill.ablation import Ablation, Rungs
    from students.distill.judge import JudgedAnswers, Pool
    from students.label.labelled import LabelledSet
    from students.task import Task


@click.command(epilog="Example: raisehand ablate --task task.yaml --html ablation.html")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option(
    "--labels",
    "labels_dir",
    type=click.Path(path_type=Path),
    help="Folder of labels.npz and labels.json; default the task's work_dir.",
)
@click.option("--seeds", default=5, show_default=True, type=click.IntRange(2))
@click.option(
    "--bundle",
    "bundle_ids",
    multiple=True,
    help="Also measure this finished student, e.g. an encoder; may be repeated.",
)
@click.option(
    "--rungs",
    is_flag=True,
    help="Also train a head on student.encoder_path, and its blend with the linear student, on "
    "every budget of labels.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--html", "html_path", type=click.Path(path_type=Path), help="Also write a page with plots."
)
@click.option(
    "--svg",
    "svg_path",
    type=click.Path(path_type=Path),
    help="With --rungs: also draw the curves of all students by number of labels.",
)
def ablate(
    task_path: Path,
    labels_dir: Path | None,
    seeds: int,
    bundle_ids: tuple[str, ...],
    rungs: bool,
    as_json: bool,
    html_path: Path | None,
    svg_path: Path | None,
) -> None:
    """Train the linear student on soft, hard, mixed and gold labels and compare in pairs.

    Also a TF-IDF + logistic regression baseline on the teacher's answers, a label-budget curve and
    a temperature curve. Reads the labels that were paid for; asks the teacher nothing. The
    calibration rows are not touched.
    """
    from students.distill.ablation_page import ablation_page, rungs_figure
    from students.errors import BadTask

    if svg_path and not rungs:
        raise BadTask("--svg draws the students that --rungs trains; add --rungs, or leave it out")
    require("train")
    ablation = _ablate(task_path, labels_dir, seeds, bundle_ids, rungs)
    if html_path:
        page = ablation_page(ablation).html()
        _write(html_path, lambda: html_path.write_text(page, encoding="utf-8"))
    if svg_path:
        figure = rungs_figure(ablation)
        _write(svg_path, lambda: figure.savefig(svg_path, format="svg", metadata={"Date": None}))
    if as_json:
        click.echo(ablation.model_dump_json(indent=1))
    else:
        _print(ablation)


def _write(path: Path, write: Callable[[], object]) -> None:
    from students.errors import BadInputs

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write()
    except OSError as error:
        raise BadInputs(f"{path} cannot be written: {error.strerror}") from None
    click.echo(f"Wrote {path}", err=True)


def _ablate(
    task_path: Path, labels_dir: Path | None, seeds: int, bundle_ids: Sequence[str], rungs: bool
) -> Ablation:
    import numpy as np

    from students.commands.bars import Bars
    from students.distill.ablation import ablate
    from students.distill.judge import Pool
    from students.distill.run import take_parts
    from students.label.record import load_labels
    from students.task import load_task

    task = load_task(task_path)
    labelled, record = load_labels(labels_dir or task.work_dir)
    rows = record.split_rows()
    part = take_parts(task, labelled, rows)
    learn = labelled.take(np.concatenate([rows["train"], rows["validation"]]))
    with Bars(transient=True) as bars:
        bar = bars.add_task("train", total=None)
        pool = Pool(learn, part["temperature"], part["test"])
        return ablate(
            task.name,
            pool,
            task.promise.alpha,
            seeds=seeds,
            epochs=task.student.epochs,
            l2=task.student.l2,
            finished=_finished(task, bundle_ids, labelled, rows["test"].tolist()),
            others=_rungs(task, pool, bars) if rungs else None,
            progress=lambda done, total: bars.update(bar, completed=done, total=total),
        )


def _rungs(task: Task, pool: Pool, bars: Bars) -> Rungs:
    """Return what trains the students above the linear one, with a bar of its own."""
    from students.distill.rungs import encoder_rungs
    from students.errors import BadTask

    if task.student.encoder_path is None:
        raise BadTask(
            "--rungs needs student.encoder_path; name a local Hugging Face folder, or leave it out"
        )
    bar = bars.add_task("rungs", total=None)
    return partial(
        encoder_rungs,
        pool,
        task.student.encoder_path,
        task.work_dir / "embeddings",
        temperatures=task.student.temperatures,
        l2=task.student.l2,
        progress=lambda done, total: bars.update(bar, completed=done, total=total),
    )


def _finished(
    task: Task, bundle_ids: Sequence[str], labelled: LabelledSet, rows: list[int]
) -> dict[str, JudgedAnswers]:
    """Answer the test rows with each bundle as the router would."""
    from students.distill.answers import answer
    from students.distill.judge import judged
    from students.runtime.bundle import find_bundle
    from students.runtime.load import load_student

    done = {}
    for name in bundle_ids:
        bundle = find_bundle(task.work_dir, name)
        test = check_test_rows(bundle, labelled, rows)
        said = answer(load_student(bundle), test.texts)
        done[f"{bundle.manifest.family} {bundle.id}"] = judged(
            test, said.probabilities, said.confidence
        )
    return done


def _print(ablation: Ablation) -> None:
    from rich.console import Console
    from rich.table import Table

    from students.distill.ablation_page import HEADERS, arm_rows, interval_words, verdict

    console = Console()
    table = Table(title=f"{ablation.task}: {ablation.seeds} seeds", title_justify="left")
    for header in HEADERS:
        table.add_column(header, overflow="fold")
    for row in arm_rows(ablation):
        table.add_row(*row)
    console.print(table)
    for name, title, points in (
        ("Soft student", "teacher labels", ablation.budgets),
        ("Soft student", "temperature", ablation.temperatures),
        *((c.name.capitalize(), "teacher labels", c.points) for c in ablation.rungs[1:]),
    ):
        curve = Table(title=f"{name} by {title}", title_justify="left")
        for header in (title, "agreement", "coverage at promise", "KL"):
            curve.add_column(header)
        for point in points:
            m = point.measured
            curve.add_row(
                f"{point.x:,g}", interval_words(m.agreement),
                interval_words(m.coverage_at_promise), interval_words(m.kl),
            )  # fmt: skip
        console.print(curve)
    console.print(verdict(ablation))
