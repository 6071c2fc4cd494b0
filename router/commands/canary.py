"""`raisehand canary teacher`: is the teacher behind the name still the one that labelled?"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from costmodel.money.pricing import TokenUsage
    from router.promise.same_teacher import SameTeacher
    from students.label.labelled import LabelledSet
    from students.runtime.bundle import Bundle
    from students.task import Task

EXIT_CHANGED = 1
JUDGING = ("calibration", "test")


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """Labels on record beside today's, how many rows got no answer, and what asking took."""

    pairs: Sequence[tuple[int, int]]
    failed: int
    usage: TokenUsage


@click.group(epilog="Example: raisehand canary teacher --task task.yaml --rows 100")
def canary() -> None:
    """Ask now and then what would otherwise be noticed late. For cron or a systemd timer."""


@canary.command(epilog="Example, each night: raisehand canary teacher --rows 100 --max-usd 0.20")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option(
    "--rows", default=100, show_default=True, type=click.IntRange(1), help="Rows asked about."
)
@click.option("--max-usd", type=click.FloatRange(0), help="Ask about as many rows as this pays.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def teacher(task_path: Path, rows: int, max_usd: float | None, as_json: bool) -> None:
    """Ask the teacher again about rows that it has labelled, and add up what differs.

    Another teacher behind the same name voids the certificates that rest on it: everything
    escalates from then on, with an event, and the exit status is 1.
    """
    from costmodel.money.pricebook import price_of
    from costmodel.money.pricing import now
    from costmodel.money.rates import ApiPrice
    from router.promise.same_teacher import SameTeacher, drawn, read_canary, write_canary
    from students.label.record import load_labels
    from students.task import load_task

    task = load_task(task_path)
    labelled, record = load_labels(task.work_dir)
    agreement = record.self_agreement
    known = read_canary(task.work_dir, record.labels_sha256) or SameTeacher.of(
        record.labels_sha256, agreement.n, agreement.agreed
    )
    price = price_of(task.teacher.price)
    if max_usd is not None:
        each = record.usd / max(1, record.n)
        rows = min(rows, int(Decimal(str(max_usd)) / each)) if each else rows
    splits = record.split_rows()
    judging = [int(i) for name in JUDGING for i in splits[name]]
    chosen = drawn(judging, rows, random.Random())
    replayed = asyncio.run(_replay(task, labelled, chosen))
    known = known.compared(replayed.pairs)
    write_canary(task.work_dir, known)
    voided = _void(task, known) if known.changed else []
    usd = price.cost(replayed.usage, now()).usd
    shown = known.figures | {
        "changed": known.changed,
        "asked": len(replayed.pairs),
        "failed": replayed.failed,
        "usd": float(usd),
        "voided": ", ".join(voided),
        "ending": isinstance(price, ApiPrice) and price.ending,
    }
    click.echo(json.dumps(shown, indent=1) if as_json else _words(task, shown))
    if known.changed:
        raise click.exceptions.Exit(EXIT_CHANGED)


async def _replay(task: Task, labelled: LabelledSet, rows: Sequence[int]) -> AskedAgain:
    """Ask about each row on its own, as escalations do.

    Raises:
        TeacherError: more rows than not got no answer.
    """
    from costmodel.money.pricing import NO_USAGE
    from router.promise.same_teacher import comparable
    from students.errors import TeacherError
    from students.teachers import make_teacher

    teacher, free = make_teacher(task), asyncio.Semaphore(task.teacher.max_concurrency)
    usage, failures = NO_USAGE, []

    async def ask(row: int) -> tuple[int, int] | None:
        nonlocal usage
        async with free:
            try:
                [reply] = await teacher.label(
                    [labelled.texts[row]], timeout_s=task.teacher.timeout_s
                )
            except TeacherError as error:
                failures.append(error)
                return None
        usage += reply.usage
        return int(labelled.teacher[row]), comparable(reply.distribution.label)

    try:
        asked = await asyncio.gather(*(ask(row) for row in rows))
    finally:
        await teacher.aclose()
    pairs = [pair for pair in asked if pair is not None]
    if len(failures) > len(pairs):
        raise failures[-1]
    return AskedAgain(pairs, len(failures), usage)


def _void(task: Task, known: SameTeacher) -> list[str]:
    """Void the certificate of every bundle that rests on these labels' teacher; return their ids.

    Raises:
        BadSettings: the shared store is away.
    """
    from router.errors import BadSettings
    from router.promise.same_teacher import CHANGED
    from router.promise.watch import judge_of, voided
    from router.settings import load_settings
    from router.shared.opening import open_store
    from router.shared.records import StoreAway

    url = load_settings().database_url
    store = open_store(task.work_dir, None if url is None else url.get_secret_value())
    found = _bundles(task)
    try:
        for bundle in found:
            store.amend(
                "canary", task.name, bundle.id, judge_of(bundle.manifest),
                voided(CHANGED, known.figures),
            )  # fmt: skip
    except StoreAway as away:
        raise BadSettings(f"the certificates could not be voided: {away}; run this again") from None
    finally:
        store.close()
    return [bundle.id for bundle in found]


def _bundles(task: Task) -> list[Bundle]:
    from students.runtime.bundle import MANIFEST, read_bundle
    from students.teachers import make_teacher

    asked = asdict(make_teacher(task).descriptor)
    paths = sorted((task.work_dir / "bundles").glob(f"*/{MANIFEST}"))
    bundles = [read_bundle(path.parent) for path in paths]
    return [
        bundle
        for bundle in bundles
        if bundle.manifest.certificate and asdict(bundle.manifest.teacher) == asked
    ]


def _words(task: Task, shown: dict[str, float | int | str | None]) -> str:
    share = shown["differed_share"]
    lines = [
        f"{task.teacher.model}: {shown['asked']} rows asked for ${shown['usd']:.4f}, "
        f"{shown['failed']} without an answer. Since it labelled {shown['differed']} of "
        f"{shown['compared']} answers differ"
        + (f" ({share:.1%})" if share is not None else "")
        + f", the same teacher's would at most in {shown['allowed_share']:.1%}; "
        f"e = {shown['e_value_teacher']:.3g}, changed at {shown['changed_at']:g}."
    ]
    if shown["changed"]:
        lines.append(
            "It is another teacher: what was certified against the old one is void "
            f"({shown['voided'] or 'no bundle'}), everything escalates. Give teacher.revision in "
            "the task file another value, then label and distil again."
        )
    if shown["ending"]:
        lines.append("Its supplier has announced its end; label with another one before that.")
    return "\n".join(lines)
