"""`raisehand distill`: from the teacher's labels to a certified bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.extras import require

if TYPE_CHECKING:
    from students.distill.ladder import Ladder
    from students.distill.run import Distilled, Parts
    from students.label.record import LabellingRecord
    from students.runtime.bundle import Bundle, LabellingBill, Trial
    from students.task import Task


@click.command(epilog="Example: raisehand distill --task task.yaml")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option(
    "--labels",
    "labels_dir",
    type=click.Path(path_type=Path),
    help="Folder of labels.npz and labels.json; default the task's work_dir.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def distill(task_path: Path, labels_dir: Path | None, as_json: bool) -> None:
    """Train a student on the teacher's labels, calibrate it and certify its threshold.

    Writes a bundle below the task's work_dir. With `student.family: auto` one family after the
    other is trained and shown, as long as the next may pay, and the certified one with the least
    bill of a month at the task's traffic is taken. Exit code 3 when the
    promise cannot be certified: the bundle is then written without a certificate and is not
    served. Exit code 5 when it is certified and keeps too little to save anything.
    """
    from students.task import load_task

    task = load_task(task_path)
    require("train", *(() if task.student.family == "linear" else ("encoder",)))
    ladder = _distill(task, labels_dir or task.work_dir)
    if len(ladder.rungs) > 1 or ladder.stopped:
        _print_rungs(ladder)
    finish(task, ladder.chosen, as_json, _rungs_json(ladder))


def finish(
    task: Task, distilled: Distilled, as_json: bool, more: dict[str, object] | None = None
) -> None:
    """Print what was made, what speaks against it first; `more` goes into the JSON.

    Raises:
        NotCertifiable: it carries no certificate.
        SavesNothing: it carries one that is worth nothing.
    """
    from students.distill.worth import saves_nothing
    from students.errors import NotCertifiable, SavesNothing

    idle = saves_nothing(task, distilled)
    if as_json:
        click.echo(_json(distilled, idle, more or {}))
    else:
        if idle:
            click.echo(idle)
        _print(distilled)
    if distilled.refusal:
        raise NotCertifiable(
            f"{distilled.refusal.statement}. Bundle {distilled.bundle.id} is written without a "
            "certificate, for you to look at: it is not served",
            distilled.refusal,
        )
    if idle:
        advice = distilled.outlook.advice if distilled.outlook else "train a better student"
        raise SavesNothing(f"{idle}; {advice}, or promise less")


def _distill(task: Task, labels_dir: Path) -> Ladder:
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    from students.commands.bars import Bars
    from students.distill.ladder import climb
    from students.distill.run import bill_of

    part, record = _read(task, labels_dir)
    columns = (
        TextColumn("{task.description:<10}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, transient=True) as bars:
        bar = bars.add_task("read", total=1)

        def report(stage: str, done: int, total: int) -> None:
            nonlocal bar
            if bars.tasks[-1].description != stage:
                bars.update(bar, completed=bars.tasks[-1].total)
                bar = bars.add_task(stage, total=total)
            bars.update(bar, completed=done, total=total)

        return climb(
            task,
            part,
            teacher=record.teacher.descriptor,
            labelling=bill_of(record),
            report=report,
        )


def _read(task: Task, labels_dir: Path) -> tuple[Parts, LabellingRecord]:
    """Read the labels and divide them; what they were as a whole is let go of here."""
    from students.distill.run import take_parts
    from students.label.record import load_labels

    labelled, record = load_labels(labels_dir)
    return take_parts(task, labelled, record.split_rows()), record


def _print_rungs(ladder: Ladder) -> None:
    """Show every rung of `auto` on stderr, where it does not disturb --json."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="Students from the cheapest to the dearest", title_justify="left")
    for header in (
        "bundle", "student", "agrees alone", "escalates, certified", "texts/s a core",
        "$ a month (95 %)", "look",
    ):  # fmt: skip
        table.add_column(header)
    for rung in ladder.rungs:
        bundle = rung.distilled.bundle
        m, bill = bundle.manifest, rung.bill
        certificate = m.certificate
        table.add_row(
            bundle.id + (" ←" if rung.distilled is ladder.chosen else ""),
            rung.name,
            f"{m.evaluation.agreement.rate:.1%}" if m.evaluation else "–",
            f"{1 - certificate.coverage:.1%}" if certificate else "not certified",
            f"{m.profile.texts_per_s:,.0f}" if m.profile else "–",
            f"{bill.mid:,.0f} ({bill.low:,.0f} to {bill.high:,.0f})" if bill else "unpriced",
            f"{certificate.use}" if certificate else "–",
        )
    console = Console(stderr=True)
    console.print(table)
    if ladder.stopped:
        console.print(ladder.stopped)


def _rungs_json(ladder: Ladder) -> dict[str, object]:
    """Say every rung of `auto`, and why it stopped."""
    if len(ladder.rungs) == 1 and not ladder.stopped:
        return {}
    rungs = [
        {
            "student": rung.name,
            "bundle": rung.distilled.bundle.id,
            "usd_per_month": rung.bill.model_dump(mode="json") if rung.bill else None,
        }
        for rung in ladder.rungs
    ]
    return {"rungs": rungs, "stopped": ladder.stopped}


def _json(distilled: Distilled, idle: str | None, more: dict[str, object]) -> str:

    bundle, refusal = distilled.bundle, distilled.refusal
    manifest = bundle.manifest
    certificate = manifest.certificate
    return json.dumps(
        {
            "bundle": bundle.id,
            "path": str(bundle.path),
            "statement": certificate.statement if certificate else None,
            "refusal": refusal.model_dump(mode="json") if refusal else None,
            "saves_nothing": idle,
            **more,
            "outlook": distilled.outlook.model_dump(mode="json") if distilled.outlook else None,
            **manifest.model_dump(mode="json", exclude={"labels", "descriptions", "files"}),
        },
        indent=1,
        ensure_ascii=False,
    )


def _print(distilled: Distilled) -> None:
    from rich.console import Console
    from rich.table import Table

    bundle = distilled.bundle
    table = Table(
        title=f"{bundle.manifest.task}: bundle {bundle.id}",
        title_justify="left",
        show_header=False,
        pad_edge=False,
    )
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(bundle):
        table.add_row(name, value)
    console = Console()
    console.print(table)
    if bundle.manifest.certificate:
        console.print(bundle.manifest.certificate.statement)
    console.print(f"Written to {bundle.path}", soft_wrap=True)


def _rows(bundle: Bundle) -> list[tuple[str, str]]:
    manifest = bundle.manifest
    rows = [
        ("Student", f"{manifest.family}, trained in {manifest.training_s:.1f} s"),
        ("Teacher", f"{manifest.teacher.model} (revision {manifest.teacher.revision})"),
    ]
    rows += [("Labels", _bill(manifest.labelling))] if manifest.labelling else []
    for trial in manifest.trials:
        rows.append(("Chosen" if trial is manifest.trials[0] else "Tried", _trial(trial)))
    rows.append(("Calibration", f"temperature {manifest.temperature:.3f}"))
    if (e := manifest.evaluation) is not None:
        s, c, x = e.agreement, e.cascade_agreement, e.escalation
        rows += [
            ("Student alone", f"agrees {s.rate:.1%} [{s.low:.1%}, {s.high:.1%}] of {s.n:,} tests"),
            ("Cascade", f"agrees {c.rate:.1%} [{c.low:.1%}, {c.high:.1%}] of {c.n:,} tests"),
            ("Escalation", f"{x.rate:.1%} [{x.low:.1%}, {x.high:.1%}] of {x.n:,} tests"),
        ]
    if (p := manifest.profile) is not None:
        rows.append(("Speed", f"{p.texts_per_s:,.0f} texts/s ({p.machine})"))
    return rows


def _trial(trial: Trial) -> str:
    found = f"validation KL {trial.kl:.4f}, agreement {trial.agreement:.1%}"
    if trial.linear_weight is not None:
        return f"weight of the linear part {trial.linear_weight:g}: {found}"
    reading = (
        f", L2 = {trial.l2:g}, {trial.terms} in ≥ {trial.least_texts} texts" if trial.terms else ""
    )
    setting = f"T = {trial.temperature:g}, λ = {trial.hard_weight:g}{reading}"
    return f"{setting}: {found}, {trial.epochs} epochs"


def _bill(labelling: LabellingBill) -> str:
    words = f"{labelling.n:,} for ${labelling.usd:.2f} ({labelling.price})"
    if labelling.self_agreement_n:
        rate = labelling.self_agreement_agreed / labelling.self_agreement_n
        words += f"; asked twice, the teacher agrees with itself {rate:.1%}"
    return words
