"""`raisehand label`: ask the teacher for soft labels of real inputs, at a known price."""

from __future__ import annotations

import asyncio
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import Number
from students.commands.label_table import print_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from students.label.estimate import Estimate
    from students.label.flips import OrderFlips
    from students.label.inputs import Inputs
    from students.label.labelling import Labelling
    from students.label.labelling import Progress as State
    from students.label.record import LabellingRecord
    from students.task import Task
    from students.teachers.protocol import Teacher


@click.command(epilog="Example: raisehand label --task task.yaml --max-usd 5")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--limit", type=click.IntRange(1), help="Label only so many inputs, drawn at random.")
@click.option(
    "--max-usd",
    type=Number(0),
    help="Stop before these labels cost more than this in all, earlier runs included.",
)
@click.option(
    "--repeats",
    type=click.IntRange(0),
    help="Inputs asked twice to measure the teacher's self-agreement; default: a tenth of them, "
    "200 at most.",
)
@click.option(
    "--flips",
    default=100,
    show_default=True,
    type=click.IntRange(0),
    help="Inputs asked with the options reversed too, where a chat prompt lists {labels}.",
)
@click.option("--seed", default=0, show_default=True, help="Seed of sampling and splitting.")
@click.option("--yes", is_flag=True, help="Do not ask before spending.")
@click.option(
    "--cancel", is_flag=True, help="End the batches that run at the provider (teacher.batch)."
)
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def label(
    task_path: Path,
    limit: int | None,
    max_usd: float | None,
    repeats: int | None,
    flips: int,
    seed: int,
    yes: bool,
    cancel: bool,
    as_json: bool,
) -> None:
    """Ask the teacher about your inputs once and keep its probabilities.

    Resumes where it was interrupted: an answer that was paid for is never asked for again. Writes
    labels.npz and labels.json into the task's work_dir.
    """
    from students.errors import BudgetReached, TeacherError, TeacherRejected
    from students.label.flips import measures_flips
    from students.label.inputs import read_inputs
    from students.label.labelling import usual_repeats
    from students.label.record import save_labels
    from students.label.split import drop_spare, sample_rows, split_inputs
    from students.label.summary import what_is_missing, what_was_read
    from students.task import load_task

    task = load_task(task_path)
    if cancel:
        from students.teachers.deferred import cancel_batches

        ended = asyncio.run(cancel_batches(task))
        click.echo(f"Cancelled: {', '.join(ended) or 'no batch runs'}.")
        return
    inputs = read_inputs(task.inputs, task.schema_)
    for line in what_was_read(task.inputs.path, inputs, task.schema_):
        click.echo(line, err=True)
    inputs = inputs if limit is None else sample_rows(inputs, limit, seed)
    inputs = drop_spare(inputs, seed=seed)
    if missing := what_is_missing(split_inputs(inputs, seed=seed)):
        click.echo(f"Note: {missing}.", err=True)
    allowed = task.max_labelling_usd if max_usd is None else Decimal(str(max_usd))
    if not task.teacher.terms:
        click.echo(
            "Note: teacher.terms is empty. Check that your provider allows training a classifier "
            "on its outputs, and write down what you read.",
            err=True,
        )
    twice = usual_repeats(len(inputs)) if repeats is None else repeats
    asked = Asked(twice, flips if measures_flips(task) else 0, seed)
    done: list[Labelling] = []
    try:
        labelling, turned = asyncio.run(_label(task, inputs, allowed, asked, yes, done.append))
    except (BudgetReached, TeacherError, KeyboardInterrupt) as error:
        # Where answers are no labels there is nothing to learn; else a random sample is left.
        if done and type(error) is not TeacherRejected:
            record = _record(task, inputs, done[-1], None, seed)
            save_labels(task.work_dir, done[-1].labelled, record)
            click.echo(_part(task, record, len(inputs)), err=True)
        if isinstance(error, KeyboardInterrupt):
            raise KeyboardInterrupt(
                "Interrupted. Answers that were paid for are kept; run the same command to go on."
            ) from None
        raise
    record = _record(task, inputs, labelling, turned, seed)
    save_labels(task.work_dir, labelling.labelled, record)
    if as_json:
        click.echo(record.model_dump_json(exclude={"splits"}, indent=1))
    else:
        print_labels(task, record, labelling)


@dataclass(frozen=True)
class Asked:
    """What is asked beyond the labels: second askings and reversed ones, of rows drawn by seed."""

    repeats: int
    flips: int
    seed: int


async def _label(
    task: Task,
    inputs: Inputs,
    allowed: Decimal | None,
    asked: Asked,
    yes: bool,
    ended_early: Callable[[Labelling], None],
) -> tuple[Labelling, OrderFlips | None]:
    from costmodel.money.pricebook import price_of
    from costmodel.money.pricing import now
    from students.commands.bars import tell_of_batches
    from students.label.cache import ReplyCache
    from students.label.estimate import estimate_labelling
    from students.label.flips import order_flips
    from students.label.labelling import label_inputs
    from students.label.patience import FIRST_S
    from students.teachers import make_teacher
    from students.teachers.bounds import usage_bound
    from students.teachers.deferred import deferred_price, make_deferred
    from students.teachers.protocol import PROBE

    section = task.teacher
    price = deferred_price(section) if section.batch else price_of(section.price)
    teacher = make_deferred(task, told=tell_of_batches()) if section.batch else make_teacher(task)
    cache_path = task.work_dir / "replies.sqlite"
    try:
        with ReplyCache(cache_path, teacher.descriptor) as cache:
            estimate = estimate_labelling(
                inputs, task, price, cache, repeats=asked.repeats, flips=asked.flips,
                seed=asked.seed,
            )  # fmt: skip
            first_time = not cache.any()
        if estimate.questions:
            _agree(estimate, allowed, yes)
        if estimate.questions and first_time:
            if allowed is not None:
                # The check asks a question too.
                allowed -= price_of(section.price).cost(usage_bound(task)([PROBE]), now()).usd
            await _check(task, max(FIRST_S, section.timeout_s))
        with _progress_bar("asking the teacher") as progress:
            labelling = await label_inputs(
                inputs,
                teacher,
                task,
                cache_path,
                price=price,
                progress=progress,
                max_usd=allowed,
                repeats=asked.repeats,
                seed=asked.seed,
                ended_early=ended_early,
            )
        ended_early(labelling)
        if not asked.flips:
            return labelling, None
        await teacher.aclose()
        with _progress_bar("reversing options") as progress:
            flips = await order_flips(
                inputs,
                labelling,
                task,
                cache_path,
                n=asked.flips,
                price=price,
                progress=progress,
                max_usd=allowed,
                seed=asked.seed,
                make=_in_order if section.batch else None,
            )
        return labelling, flips
    finally:
        await teacher.aclose()


async def _check(task: Task, timeout_s: float) -> None:
    """Ask one question at once, also of a teacher that is then asked by batches."""
    from students.teachers import make_teacher

    teacher = make_teacher(task)
    try:
        await teacher.check(timeout_s=timeout_s)
    finally:
        await teacher.aclose()


def _in_order(task: Task, backwards: bool) -> Teacher:
    from students.commands.bars import tell_of_batches
    from students.teachers.deferred import make_deferred

    return make_deferred(task, orders=(backwards,), told=tell_of_batches())


def _agree(estimate: Estimate, allowed: Decimal | None, yes: bool) -> None:
    """Say what it will cost; go on with --yes, within a limit, when free, or when told to."""
    click.echo(estimate.sentence, err=True)
    if allowed is not None and estimate.usd > allowed:
        click.echo(
            f"That is more than the ${allowed} allowed: it will stop before the limit and write "
            f"labels of a random part. About {estimate.affordable(allowed):,} questions fit; raise "
            "--max-usd (in the task max_labelling_usd) for more.",
            err=True,
        )
    if yes or allowed is not None or estimate.usd == 0:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to confirm the cost; give --yes or --max-usd")
    click.confirm("Continue?", abort=True, err=True)


def _record(
    task: Task, inputs: Inputs, labelling: Labelling, flips: OrderFlips | None, seed: int
) -> LabellingRecord:
    from students.label.record import make_record
    from students.label.split import split_inputs

    splits = split_inputs(inputs.take(labelling.rows), seed=seed)
    return make_record(task, inputs, labelling, splits, seed, flips)


def _part(task: Task, record: LabellingRecord, inputs: int) -> str:
    of = "all inputs" if record.complete else f"{record.n:,} of {inputs:,} inputs, a random sample"
    return (
        f"Ended early. Wrote {task.work_dir / 'labels.npz'} and labels.json with what was paid "
        f"for (${record.usd:.4f} in all): {of}. They can be distilled from, and the same command "
        "goes on from here."
    )


@contextmanager
def _progress_bar(doing: str) -> Iterator[Callable[[State], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    from students.commands.bars import Bars

    columns = (
        TextColumn(doing),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("${task.fields[usd]:.4f} spent, {task.fields[in_flight]} in flight"),
        TimeRemainingColumn(),
    )
    with Bars(*columns) as bar:
        line = bar.add_task("", total=None, usd=Decimal(0), in_flight=0)

        def show(state: State) -> None:
            bar.update(
                line,
                completed=state.done,
                total=state.total,
                usd=state.usd,
                in_flight=state.in_flight,
            )

        yield show
