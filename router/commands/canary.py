"""`raisehand canary teacher`: is the teacher behind the name still the one that labelled?"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import Number
from router.errors import BadSettings

if TYPE_CHECKING:
    from costmodel.money.pricing import TokenUsage
    from router.promise.same_teacher import SameTeacher
    from router.recheck.reference import Reference
    from students.task import Task

EXIT_CHANGED = 1
ACTOR = "canary"


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """Today's labels, None where there is no answer, and what asking took."""

    labels: Sequence[int | None]
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
@click.option("--max-usd", type=Number(0), help="Ask about as many rows as this pays.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def teacher(task_path: Path, rows: int, max_usd: float | None, as_json: bool) -> None:
    """Ask the teacher again about rows that it has labelled, and add up what differs.

    Another teacher behind the same name voids the certificates that rest on it: everything
    escalates from then on, with an event, and the exit status is 1.
    """
    from costmodel.money.pricebook import price_of
    from costmodel.money.pricing import now
    from costmodel.money.rates import ApiPrice
    from router.recheck.reference import Reference, compare
    from router.recheck.retirement import end_of
    from students.label.record import load_record
    from students.task import load_task

    task = load_task(task_path)
    reference = Reference(task.work_dir, load_record(task.work_dir))
    labelled, unseen = reference.load(), reference.unseen  # before anything is paid
    price = price_of(task.teacher.price)
    budget = None if max_usd is None else Decimal(str(max_usd))
    chosen = reference.rows(rows, budget, random.Random())
    replayed = asyncio.run(_replay(task, [labelled.texts[row] for row in chosen]))
    pairs = compare(labelled, chosen, replayed.labels)
    known, voided = _told(task, reference, pairs) if pairs else (unseen, [])
    usd = price.cost(replayed.usage, now()).usd
    end = end_of(task, price)
    shown = known.figures | {
        "changed": known.changed,
        "asked": len(pairs),
        "failed": len(chosen) - len(pairs),
        "usd": float(usd),
        "voided": ", ".join(voided),
        "ending": isinstance(price, ApiPrice) and price.ending,
        "retires": end.on.isoformat() if end else None,
    }
    click.echo(json.dumps(shown, indent=1) if as_json else _words(task, shown))
    if known.changed:
        raise click.exceptions.Exit(EXIT_CHANGED)


async def _replay(task: Task, texts: Sequence[str]) -> AskedAgain:
    """Ask about each text on its own, as escalations do.

    Raises:
        TeacherError: more texts than not got no answer.
    """
    from costmodel.money.pricing import NO_USAGE
    from router.promise.same_teacher import comparable
    from students.errors import TeacherError
    from students.teachers import make_teacher

    teacher, free = make_teacher(task), asyncio.Semaphore(task.teacher.max_concurrency)
    usage, failures = NO_USAGE, []

    async def ask(text: str) -> int | None:
        nonlocal usage
        async with free:
            try:
                [reply] = await teacher.label([text], timeout_s=task.teacher.timeout_s)
            except TeacherError as error:
                failures.append(error)
                return None
        usage += reply.usage
        return comparable(reply.distribution.label)

    try:
        asked = await asyncio.gather(*map(ask, texts))
    finally:
        await teacher.aclose()
    if 2 * len(failures) > len(asked):
        raise failures[-1]
    return AskedAgain(asked, usage)


def _told(
    task: Task, reference: Reference, pairs: Sequence[tuple[int, int]]
) -> tuple[SameTeacher, list[str]]:
    """Have all processes know the answers; return what is known now, and bundles that are void.

    Raises:
        BadSettings: the shared store is away.
    """
    from router.recheck.evidence import TeacherInStore
    from router.recheck.voiding import void_certificates
    from router.settings import load_settings
    from router.shared.opening import open_store
    from router.shared.records import StoreAway
    from students.teachers import make_teacher

    url = load_settings().database_url
    store = open_store(task.work_dir, None if url is None else url.get_secret_value())
    teacher = TeacherInStore(task.name, reference)
    try:
        judge = teacher.amend(store, ACTOR, lambda judge: judge.learn(pairs, time.time()))
        known = judge.remembered.known
        if not known.changed:
            return known, []
        asked = make_teacher(task).descriptor
        return known, void_certificates(store, ACTOR, task, asked, known.figures)
    except StoreAway as away:
        raise BadSettings(f"what was answered could not be kept: {away}; run this again") from None
    finally:
        store.close()


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
    if shown["ending"] or shown["retires"]:
        day = f" on {shown['retires']}" if shown["retires"] else ""
        lines.append(f"Its supplier ends it{day}; label with another one before that.")
    return "\n".join(lines)
