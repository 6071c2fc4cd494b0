"""What the router's own ledger says of traffic, escalation and tokens: real instead of assumed.

The ledger is a SQLite file with one row for each request, or the database that has those of all
hosts; this module reads the few columns it needs and writes nothing.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from costmodel.errors import BadProjection
from costmodel.inputs.deployment import Deployment, with_changes
from costmodel.inputs.ledger.database import OTHERS, is_database, read_sums
from costmodel.units import DAY_S

LEAST_SECONDS = 60.0
"""A rate measured over less time than this says nothing."""
QUANTILES = 1001
LEAST_AUDITS = 30
"""Audited answers from which the tokens of kept requests are taken."""

_TRAFFIC = f"reason not in {OTHERS} and surface <> 'batch' and (:task is null or task = :task)"
"""Rows of tables (`raisehand batch`) are no traffic, and only those asked about have entries."""
_SUMS = f"""
select count(*), min(at), max(at),
       sum(route != 'student' and attempts > 0),
       sum(route != 'student' and attempts = 0),
       sum(case when route != 'student' then attempts end),
       sum(case when route != 'student' then input_tokens end),
       sum(case when route != 'student' then output_tokens end),
       sum(case when route != 'student' then cached_input_tokens end),
       sum(route = 'student' and audited),
       sum(case when route = 'student' and input_tokens > 0 then attempts end),
       sum(case when route = 'student' then input_tokens end),
       sum(case when route = 'student' then output_tokens end),
       sum(case when route = 'student' then cached_input_tokens end)
from entries where {_TRAFFIC}
"""
_LENGTHS = f"""
select cast(input_tokens as real) / attempts from entries
where {_TRAFFIC} and attempts > 0 and input_tokens > 0 limit 1000000
"""
_BUSIEST_HOUR = f"""
select max(n) from (
    select count(*) as n from entries where {_TRAFFIC} group by cast(at / 3600 as int)
)
"""


@dataclass(frozen=True, slots=True)
class TrafficLog:
    """Sums over a ledger.

    Left out is what nobody had to decide: requests passed through, which no student could answer,
    and those that asked the student alone, which no teacher would have.
    """

    requests: int
    seconds: float
    escalated: int
    """Asked of the teacher, whether it answered or not."""
    unasked: int
    """Unsure and answered by nobody else: a budget, a queue or a breaker was in the way; free."""
    escalated_calls: int
    escalated_input_tokens: int
    escalated_output_tokens: int
    escalated_cached_tokens: int
    audited: int
    audit_calls: int
    audit_input_tokens: int
    audit_output_tokens: int
    audit_cached_tokens: int
    busiest_hour: int
    input_quantiles: tuple[float, ...] = ()
    """Evenly spaced quantiles of the input tokens of a call."""

    @property
    def per_day(self) -> float:
        """Requests in 24 hours at the mean rate of the ledger."""
        return self.requests / self.seconds * DAY_S


def read_traffic(ledger: Path | str, task: str | None = None) -> TrafficLog:
    """Add up a ledger, a file or the address of a database; of one task, or of all that it has.

    Raises:
        BadProjection: it is missing, is no ledger, or covers less than a minute.
    """
    if is_database(ledger):
        name, (sums, busiest, lengths) = "the database", read_sums(str(ledger), task)
    else:
        name, (sums, busiest, lengths) = str(ledger), _read_file(Path(ledger), task)
    n, first, last, *rest = sums
    if last - first < LEAST_SECONDS:
        of_task = f" of task {task}" if task else ""
        raise BadProjection(
            f"{name} holds {n:.0f} requests{of_task} over {last - first:.0f} s; at least "
            f"{LEAST_SECONDS:.0f} s of traffic are needed for a rate"
        )
    names = [field.name for field in fields(TrafficLog)][2:-1]
    counts = {each: int(value) for each, value in zip(names, [*rest, busiest], strict=True)}
    return TrafficLog(int(n), last - first, **counts, input_quantiles=_quantiles(lengths))


def _read_file(path: Path, task: str | None) -> tuple[list[float], float, list[tuple[float]]]:
    if not path.is_file():
        raise BadProjection(f"{path} does not exist; name the ledger that `raisehand serve` writes")
    asked = {"task": task}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            sums = connection.execute(_SUMS, asked).fetchone()
            busiest = connection.execute(_BUSIEST_HOUR, asked).fetchone()[0]
            lengths = connection.execute(_LENGTHS, asked).fetchall()
    except sqlite3.Error as error:
        raise BadProjection(f"{path} is not a router's ledger: {error}") from None
    return [value or 0 for value in sums], busiest or 0, lengths


def _quantiles(lengths: list[tuple[float]]) -> tuple[float, ...]:
    """Evenly spaced, so that a price with tiers is applied to lengths and not to their mean."""
    if len(lengths) < LEAST_AUDITS:
        return ()
    at = np.linspace(0, 1, min(len(lengths), QUANTILES))
    return tuple(float(x) for x in np.quantile([length for (length,) in lengths], at))


def observed(deployment: Deployment, log: TrafficLog) -> Deployment:
    """The deployment with the ledger's traffic, escalation, audits and tokens in it.

    Agreement is not in a ledger: kept answers are taken to disagree as often as on the test rows.
    """
    counts = deployment.evaluation
    kept = counts.n - counts.escalated
    wrong = counts.disagreements / kept if kept else 0.0
    answered = log.requests - log.escalated
    changes: dict[str, Any] = {
        "traffic.requests_per_day": log.per_day,
        "evaluation.n": log.requests,
        "evaluation.escalated": log.escalated,
        "evaluation.disagreements": round(wrong * answered),
    }
    if answered:
        changes["audit_rate"] = log.audited / answered
    if log.escalated and log.escalated_calls:
        changes["operation.attempts"] = max(log.escalated_calls / log.escalated, 1.0)
        changes |= _tokens(deployment, log)
    if log.seconds >= DAY_S:
        mean = log.requests / log.seconds * 3600
        changes["fleet.peak_to_mean"] = max(log.busiest_hour / mean, 1.0)
    return with_changes(deployment, changes)


def _tokens(deployment: Deployment, log: TrafficLog) -> dict[str, Any]:
    """Mean tokens of a call; kept requests as the audits saw them, or as the labels had them."""
    read = log.escalated_input_tokens / log.escalated_calls
    written = log.escalated_output_tokens / log.escalated_calls
    if not read:
        return {}
    cached = log.escalated_cached_tokens / log.escalated_input_tokens
    share = log.escalated / log.requests
    if log.audited >= LEAST_AUDITS and log.audit_input_tokens and log.audit_calls:
        kept_read = log.audit_input_tokens / log.audit_calls
        kept_written = log.audit_output_tokens / log.audit_calls
        mean = share * read + (1 - share) * kept_read
        kept_cached = log.audit_cached_tokens / log.audit_calls
        cached = (share * read * cached + (1 - share) * kept_cached) / mean
        out = share * written + (1 - share) * kept_written
    elif deployment.usage is not None and deployment.usage.input_tokens:
        mean, out = deployment.usage.input_tokens, deployment.usage.output_tokens
    else:
        mean, out = read, written
    return {
        "usage.input_tokens": mean,
        "usage.output_tokens": out,
        "usage.cached_input_tokens": min(cached, 1.0) * mean,
        "usage.input_quantiles": log.input_quantiles,
        "usage.escalated_factor": read / mean,
    }
