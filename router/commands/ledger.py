"""`raisehand ledger`: what was answered by whom, why, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import wraps
from pathlib import Path
from typing import Any

import click

from router.ledger.entry import Sums, Totals
from router.ledger.merged import totals_of
from router.ledger.schema import LEDGER_FILE


def of_a_task(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command its `task`, and as `source` the ledger that has its requests.

    This is where it is decided which ledger that is: the one named, else the database of all
    hosts where there is one, else the file of this host.
    """

    @wraps(command)
    def of_source(task_path: Path, given: str | None, **options: Any) -> Any:
        from students.task import load_task

        task = load_task(task_path)
        return command(task=task, source=given or str(task.work_dir / LEDGER_FILE), **options)

    of_source = click.option(
        "--ledger",
        "given",
        envvar="RAISEHAND_DATABASE_URL",
        metavar="FILE|postgresql://…",
        help="Default: the database of RAISEHAND_DATABASE_URL, else ledger.sqlite in the task's "
        "work_dir.",
    )(of_source)
    task = click.option(
        "--task",
        "task_path",
        type=click.Path(path_type=Path),
        default="task.yaml",
        show_default=True,
    )
    return task(of_source)


@click.command(epilog="Example: raisehand ledger .raisehand/ledger.sqlite --since 2026-11-01")
@click.argument("source", envvar="RAISEHAND_DATABASE_URL", metavar="FILE|postgresql://…")
@click.option("--since", type=click.DateTime(), help="Only entries from this moment on (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON; dollars are strings, exact.")
def ledger(source: str, since: datetime | None, as_json: bool) -> None:
    """Add up a ledger, also while routers write to it: a file, or a database that has all hosts'.

    Without one, the database of RAISEHAND_DATABASE_URL.
    """
    totals = totals_of(source, since.replace(tzinfo=UTC).timestamp() if since else 0.0)
    click.echo(json.dumps(_document(totals), indent=2) if as_json else _table(totals))


def _document(totals: Totals) -> dict[str, object]:
    return {
        "all": _fields(totals.all),
        "by_route": {route: _fields(sums) for route, sums in totals.by_route.items()},
        "by_reason": dict(totals.by_reason),
    }


def _fields(sums: Sums) -> dict[str, object]:
    return {
        name: f"{value:f}" if isinstance(value, Decimal) else value
        for name in (*Sums.__dataclass_fields__, "usd")
        for value in (getattr(sums, name),)
    }


def _table(totals: Totals) -> str:
    whole = totals.all
    lines = [f"{'route':<12}{'requests':>12}{'share':>9}{'student USD':>16}{'teacher USD':>16}"]
    for route, sums in [*sorted(totals.by_route.items()), ("all", whole)]:
        share = sums.requests / whole.requests if whole.requests else 0.0
        lines.append(
            f"{route:<12}{sums.requests:>12,}{share:>9.2%}"
            f"{sums.student_usd:>16.6f}{sums.teacher_usd:>16.6f}"
        )
    lines += ["", f"{'reason':<24}{'requests':>12}"]
    lines += [f"{reason:<24}{n:>12,}" for reason, n in sorted(totals.by_reason.items())]
    if whole.unpriced:
        lines += [
            "",
            f"{whole.unpriced:,} requests have a part with no known price: not in the sums.",
        ]
    if whole.estimated:
        lines += ["", f"{whole.estimated:,} requests include an attempt whose usage was estimated."]
    return "\n".join(lines)
