"""`raisehand accuracy`: how often student, teacher and cascade were right."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from router.commands.ledger import of_a_task
from router.insight.accuracy import Accuracy, Portion, read_accuracy

if TYPE_CHECKING:
    from students.task import Task

_BIASED = """\
Feedback comes from whoever gave it: unsolicited, so biased; it enters no bound and no alarm.
Agreement is of requests that the router drew by its own chance. Intervals are 95 % confidence
sequences: they hold however often one looks."""


@click.command(epilog="Example: raisehand accuracy --task task.yaml")
@of_a_task
@click.option("--since", type=click.DateTime(), help="Only requests from this moment on (UTC).")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def accuracy(task: Task, source: str, since: datetime | None, as_json: bool) -> None:
    """Show what POST /v1/feedback says of the answers, beside their agreement with the teacher."""
    start = since.replace(tzinfo=UTC).timestamp() if since else 0.0
    found = read_accuracy(source, task.name, start)
    click.echo(json.dumps(_document(found), indent=1) if as_json else _table(found))


def _document(found: Accuracy) -> dict[str, object]:
    return {
        "biased": "unsolicited feedback; it enters no bound",
        "all": _fields(found.all),
        "by_source": {source: _fields(who) for source, who in found.by_source.items()},
        "agreement": _field(found.agreement),
        "audits_lost": found.lost,
        "unmatched": found.unmatched,
        "ambiguous": found.ambiguous,
        "of_other_keys": found.of_others,
    }


def _fields(portions: Mapping[str, Portion]) -> dict[str, object]:
    return {who: _field(portion) for who, portion in portions.items()}


def _field(portion: Portion) -> dict[str, object]:
    low, high = portion.interval
    return {
        "count": portion.count,
        "n": portion.n,
        "value": portion.value,
        "low": low,
        "high": high,
    }


def _table(found: Accuracy) -> str:
    lines = [f"{'judged by':<12}{'who':<12}{'judged':>9}  right [95 %]"]
    everybody = {"all": found.all} if len(found.by_source) > 1 else {}
    for source, portions in {**found.by_source, **everybody}.items():
        lines += [_line(source, who, portion) for who, portion in portions.items()]
    if not found.by_source:
        lines.append("No feedback on these requests yet; POST /v1/feedback takes it.")
    lines += ["", _line("audits", "agreement", found.agreement)]
    if found.lost:
        lines.append(f"{found.lost:,} drawn requests were not compared.")
    for count, words in (
        (found.unmatched, "verdicts fit no request that the ledger has (yet, or any more)"),
        (found.ambiguous, "verdicts name an id that several requests had: not counted"),
        (found.of_others, "verdicts are of a key on another key's answers: not counted"),
    ):
        if count:
            lines.append(f"{count:,} {words}.")
    return "\n".join([*lines, "", _BIASED])


def _line(source: str, who: str, portion: Portion) -> str:
    low, high = portion.interval
    value = "none yet" if portion.value is None else f"{portion.value:.2%} [{low:.2%}, {high:.2%}]"
    return f"{source:<12}{who:<12}{portion.n:>9,}  {value}"
