"""`raisehand retrain`: the next student, from what the router kept of its traffic."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import Number
from costmodel.extras import require
from students.admin_port import call_admin, states_of
from students.commands.distill import finish
from students.errors import BadInputs, BadTask
from students.texts.cipher import open_cipher
from students.texts.learnt import note

if TYPE_CHECKING:
    from students.distill.retrain import Material
    from students.distill.run import Distilled
    from students.label.labelled import LabelledSet
    from students.task import Task


@click.command(epilog="Example: raisehand retrain --task task.yaml")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--fresh", is_flag=True, help="Learn nothing from the labels of before.")
@click.option("--dry-run", is_flag=True, help="Say what there is to learn from, and stop.")
@click.option(
    "--shadow",
    "admin",
    metavar="URL",
    help="Admin port of the router: have a certified candidate scored beside its student.",
)
@click.option(
    "--every",
    "hours",
    type=Number(min=0, min_open=True),
    help="Do it again after so many hours, with --shadow and --most.",
)
@click.option("--most", type=click.IntRange(1), help="Candidates, then it ends: the loop's budget.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def retrain(
    task_path: Path,
    fresh: bool,
    dry_run: bool,
    admin: str | None,
    hours: float | None,
    most: int | None,
    as_json: bool,
) -> None:
    """Distil and certify another student; the router serves the old one until it is promoted.

    Learns from kept escalations, audits and old labels, and is certified on fresh random draws that
    judged no student before. Exit codes as of `raisehand distill`.
    """
    from students.task import load_task

    task = load_task(task_path)
    require("train", *(() if task.student.family == "linear" else ("encoder",)))
    if hours is not None:
        if admin is None or most is None:
            raise BadTask("--every goes on by itself: give --shadow and --most, its budget")
        _loop(task, fresh, admin, hours, most)
        return
    old = None if fresh else _old(task)
    if dry_run:
        click.echo(_words(_gathered(task, old)), err=True)
        return
    chosen = _candidate(task, old)
    if admin is not None and chosen.refusal is None:
        call_admin(admin, f"/tasks/{task.name}/shadow", {"bundle": chosen.bundle.id})
        click.echo("It is scored beside the student that serves.", err=True)
    finish(task, chosen, as_json)


def _candidate(task: Task, old: LabelledSet | None) -> Distilled:
    """Distil one; `latest` stays what it is."""
    from students.distill.ladder import climb
    from students.distill.run import take_parts
    from students.runtime.bundle import candidate
    from students.teachers import make_teacher

    material = _gathered(task, old)
    click.echo(_words(material), err=True)
    with candidate(task.work_dir):
        part = take_parts(task, material.labelled, material.splits)
        chosen = climb(task, part, teacher=make_teacher(task).descriptor).chosen
    note(task.work_dir, chosen.bundle.id, material.used, material.until)
    if chosen.refusal is None:
        click.echo(f"Candidate {chosen.bundle.id}: not served before it is promoted.", err=True)
    return chosen


def _loop(task: Task, fresh: bool, admin: str, hours: float, most: int) -> None:
    """Make a candidate now and then, as long as none is on its way, until the budget is used."""
    made = 0
    while True:
        if any(state["shadow"] for state in states_of(admin, task.name)):
            click.echo("A candidate is on its way; wait for what becomes of it.")
        else:
            try:
                chosen = _candidate(task, None if fresh else _old(task))
                made += 1
                if chosen.refusal is not None:
                    click.echo(f"Not certified: {chosen.refusal.statement}")
                else:
                    call_admin(admin, f"/tasks/{task.name}/shadow", {"bundle": chosen.bundle.id})
                    click.echo(f"Candidate {chosen.bundle.id} is shadowed, {made} of {most}.")
            except BadInputs as error:
                click.echo(f"No candidate: {error}")
        if made >= most:
            return
        time.sleep(hours * 3600.0)


def _gathered(task: Task, old: LabelledSet | None) -> Material:
    from students.distill.retrain import gather, last_judged
    from students.texts.shelf import open_shelf

    if task.store_texts is None:
        raise BadTask(
            "another student needs texts, and this task keeps none: add store_texts to the task "
            "file and serve it for a while"
        )
    cipher = open_cipher(task.store_texts, task.work_dir)
    kept = open_shelf(task).read(cipher, task.name)
    return gather(task, kept, old, cipher.recognise, last_judged(task.work_dir))


def _old(task: Task) -> LabelledSet | None:
    """Return what the present student learnt from, if it is of the same teacher."""
    from students.label.record import load_labels

    try:
        labelled, record = load_labels(task.work_dir)
    except BadInputs as error:
        click.echo(f"No old labels: {error}", err=True)
        return None
    if (record.teacher.model, record.teacher.revision) != (
        task.teacher.model,
        task.teacher.revision,
    ):
        click.echo("The old labels are of another teacher: not learnt from.", err=True)
        return None
    return labelled.take(record.split_rows()["train"])


def _words(material: Material) -> str:
    sizes = ", ".join(f"{name} {len(rows):,}" for name, rows in material.splits.items())
    words = (
        f"{material.escalations:,} escalations, {material.audits:,} audits, {material.old:,} old "
        f"labels: {sizes} (rows by weight; {material.effective:,.0f} effective to learn from)."
    )
    if material.of_another_teacher:
        words += f" {material.of_another_teacher:,} kept texts are of another teacher: left out."
    if material.lost:
        words += f" {material.lost:.1%} of the draws were never compared: they count as differing."
    return words
