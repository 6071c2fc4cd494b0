"""`raisehand replay`: what another threshold would have done with the traffic that was."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from costmodel.commands.options import Number
from router.commands.ledger import of_a_task
from router.insight.accuracy import Portion
from router.insight.replay import MOST_LOST, Replay, Replayed, replay

if TYPE_CHECKING:
    from students.task import Task

GRID = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99)


@click.command(name="replay", epilog="Example: raisehand replay --task task.yaml --threshold 0.9")
@of_a_task
@click.option(
    "--threshold",
    "thresholds",
    type=Number(0, 1),
    multiple=True,
    help="Confidence from which the student would have answered; again for more. Default: several.",
)
@click.option("--bundle", help="Default: the one that answered last.")
@click.option("--since", type=click.DateTime(), help="Only requests from this moment on (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def replay_(
    task: Task,
    source: str,
    thresholds: tuple[float, ...],
    bundle: str | None,
    since: datetime | None,
    as_json: bool,
) -> None:
    """Replay the ledger under other thresholds: kept share, disagreement, escalation cost."""
    start = since.replace(tzinfo=UTC).timestamp() if since else 0.0
    found = replay(source, task.name, sorted(set(thresholds or GRID)), bundle, start)
    click.echo(json.dumps(_document(found), indent=1) if as_json else _table(found))


def _document(found: Replay) -> dict[str, object]:
    return {
        "bundle": found.bundle,
        "requests": found.requests,
        "drawn": found.drawn,
        "lost": found.lost,
        "valid": found.valid,
        "thresholds": [_fields(one) for one in found.thresholds],
    }


def _fields(one: Replayed) -> dict[str, object]:
    return {
        "threshold": one.threshold,
        "kept": one.kept.value,
        "disagreement": _field(one.disagreement),
        "disagreement_of_kept": _field(one.of_kept),
        "teacher_usd": None if one.teacher_usd is None else f"{one.teacher_usd:f}",
    }


def _field(portion: Portion | None) -> dict[str, object] | None:
    if portion is None:
        return None
    low, high = portion.interval
    return {
        "value": portion.value, "low": low, "high": high, "count": portion.count, "n": portion.n,
    }  # fmt: skip


def _table(found: Replay) -> str:
    lines = [
        f"{'threshold':<11}{'kept':>8}  {'disagreement of all [95 %]':<30}"
        f"{'of the kept [95 %]':<30}{'escalation USD':>15}"
    ]
    for one in found.thresholds:
        usd = "unpriced" if one.teacher_usd is None else f"{one.teacher_usd:,.4f}"
        lines.append(
            f"{one.threshold:<11g}{one.kept.value:>8.2%}  {_words(one.disagreement):<30}"
            f"{_words(one.of_kept):<30}{usd:>15}"
        )
    lines += [
        "",
        f"{found.requests:,} requests of bundle {found.bundle}, {found.drawn:,} of them drawn at "
        "random; one threshold for all labels.",
    ]
    if found.drawn and not found.valid:
        lines.append(
            f"Not valid: {found.lost:,} of the drawn were not compared, more than {MOST_LOST:.0%}."
        )
    lines.append(
        "A look back is no certificate, and the best of several looks better than it is: certify "
        "with `raisehand distill`."
    )
    return "\n".join(lines)


def _words(portion: Portion | None) -> str:
    if portion is None or portion.value is None:
        return "unknown"
    low, high = portion.interval
    return f"{portion.value:.2%} [{low:.2%}, {high:.2%}]"
