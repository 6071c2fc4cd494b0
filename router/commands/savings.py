"""`raisehand savings`: what was saved today, this month, and beside the vendor's invoice."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from router.commands.ledger import of_a_task
from router.insight.invoice import InvoiceLine, reconcile
from router.insight.periods import periods, projected
from router.insight.savings import FEWEST, Savings

if TYPE_CHECKING:
    from students.task import Task


@click.command(epilog="Example: raisehand savings --task task.yaml --invoice november.csv")
@of_a_task
@click.option(
    "--invoice",
    "invoice_path",
    type=click.Path(path_type=Path, dir_okay=False),
    help="CSV of the vendor (day, model, usd or tokens): the difference, line by line.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; dollars are strings, exact.")
def savings(task: Task, source: str, invoice_path: Path | None, as_json: bool) -> None:
    """Show what the same requests would have cost at the teacher, less all that was paid."""
    if invoice_path is not None:
        lines = reconcile(source, invoice_path, task.name, task.teacher.model)
        document = [_line_fields(line) for line in lines]
        click.echo(json.dumps(document, indent=1) if as_json else _lines(lines))
        return
    found = periods(source, task, time.time())
    click.echo(json.dumps(_document(found), indent=1) if as_json else _table(found))


def _document(found: dict[str, Savings]) -> dict[str, object]:
    whole = projected(found["month"])
    document: dict[str, object] = {name: _fields(one) for name, one in found.items()}
    if whole is not None:
        document["projected_month"] = dict(
            zip(("saved_usd", "low_usd", "high_usd"), map(_exact, whole), strict=True)
        )
    return document


def _fields(one: Savings) -> dict[str, object]:
    low, high = one.interval or (None, None)
    return {
        "from": datetime.fromtimestamp(one.start, UTC).isoformat(timespec="seconds"),
        "until": datetime.fromtimestamp(one.end, UTC).isoformat(timespec="seconds"),
        "requests": one.requests,
        "kept": one.kept,
        "escalated": one.escalated,
        "not_counted": one.not_counted,
        "teacher_only_usd": _exact(one.counterfactual),
        "paid_teacher_usd": _exact(one.teacher_usd),
        "paid_student_usd": _exact(one.student_usd),
        "saved_usd": _exact(one.saved),
        "low_usd": _exact(low),
        "high_usd": _exact(high),
        "audits": one.audits,
        "unpriced": one.unpriced,
        "estimated": one.estimated,
    }


def _exact(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{round(usd, 12):f}"


def _table(found: dict[str, Savings]) -> str:
    lines = [f"{'':<14}{'requests':>12}{'teacher alone':>16}{'paid':>14}  saved [95 %], USD"]
    for name, one in found.items():
        alone = "unknown" if one.counterfactual is None else f"{one.counterfactual:,.2f}"
        lines.append(f"{name:<14}{one.requests:>12,}{alone:>16}{one.paid:>14,.2f}  {_saved(one)}")
    whole = projected(found["month"])
    if whole is not None:
        saved, low, high = whole
        lines.append(
            f"{'whole month':<56}  {saved:,.2f} [{low:,.2f}, {high:,.2f}] if it goes on so"
        )
    month = found["month"]
    lines += [
        "",
        f"Paid this month: teacher {month.teacher_usd:,.2f}, student {month.student_usd:,.2f}.",
    ]
    for count, words in (
        (
            month.not_counted,
            "requests refused, degraded or of the student alone: paid, not saved",
        ),
        (month.unpriced, "requests have a part of unknown price: in no sum"),
        (month.estimated, "requests include an attempt whose usage was estimated"),
    ):
        if count:
            lines.append(f"{count:,} {words}.")
    start = datetime.fromtimestamp(month.start, UTC)
    if start.day != 1:
        lines.append(f"Rows before {start.date()} are folded: the month is counted from there.")
    return "\n".join(lines)


def _saved(one: Savings) -> str:
    if one.saved is None:
        return "unknown: no kept answer was audited yet (audit_rate)"
    if one.interval is None:
        return f"{one.saved:,.2f} (no interval yet: {one.audits} of {FEWEST} audits)"
    low, high = one.interval
    return f"{one.saved:,.2f} [{low:,.2f}, {high:,.2f}]"


def _line_fields(line: InvoiceLine) -> dict[str, object]:
    return {
        "day": line.day.isoformat(),
        "model": line.model,
        "invoice_usd": _exact(line.invoice.usd) if line.invoice else None,
        "ledger_usd": _exact(line.ledger.usd) if line.ledger else None,
        "difference_usd": _exact(line.usd),
        "invoice_tokens": line.invoice.tokens if line.invoice else None,
        "ledger_tokens": line.ledger.tokens if line.ledger else None,
        "difference_tokens": line.tokens,
        "unpriced": line.ledger.unpriced if line.ledger else 0,
        "estimated": line.ledger.estimated if line.ledger else 0,
    }


def _lines(lines: Sequence[InvoiceLine]) -> str:
    shown = [
        f"{'day':<12}{'model':<28}{'invoice USD':>14}{'ledger USD':>14}{'difference':>13}"
        f"{'tokens':>12}"
    ]
    for line in lines:
        billed, booked = (None if one is None else one.usd for one in (line.invoice, line.ledger))
        off = "" if line.tokens is None else f"{line.tokens:+,}"
        shown.append(
            f"{line.day!s:<12}{line.model:<28}{_usd(billed):>14}{_usd(booked):>14}"
            f"{_usd(line.usd, '+'):>13}{off:>12}"
        )
    total = sum((line.usd for line in lines if line.usd is not None), Decimal(0))
    shown += ["", f"Invoice less ledger: {total:+,.2f} USD."]
    estimated = sum(line.ledger.estimated for line in lines if line.ledger)
    unpriced = sum(line.ledger.unpriced for line in lines if line.ledger)
    if estimated:
        shown.append(f"{estimated:,} requests include an attempt whose usage was estimated.")
    if unpriced:
        shown.append(f"{unpriced:,} requests have no known price: the ledger's dollars lack them.")
    return "\n".join(shown)


def _usd(usd: Decimal | None, sign: str = "") -> str:
    return "–" if usd is None else f"{usd:{sign},.2f}"
