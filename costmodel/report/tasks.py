"""Several what-ifs of one task side by side."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costmodel.bill.projection import Projection
from costmodel.bill.verdict import Verdict
from costmodel.inputs.deployment import Deployment, with_changes
from costmodel.report.tables import PageTable, percent, usd
from costmodel.whatif import project_deployment, verdict


@dataclass(frozen=True, slots=True)
class Place:
    """One place of a sweep over a task's fields."""

    words: str
    deployment: Deployment
    projection: Projection
    verdict: Verdict


def places(base: Deployment, axes: Mapping[str, Sequence[Any]]) -> list[Place]:
    """A task at every combination of the axes' values, the last axis fastest.

    Raises:
        BadProjection: a field does not exist or does not allow a value.
    """
    found = []
    for values in itertools.product(*axes.values()):
        at = dict(zip(axes, values, strict=True))
        deployment = with_changes(base, at)
        projection = project_deployment(deployment)
        words = ", ".join(f"{field}={value}" for field, value in at.items())
        found.append(Place(words, deployment, projection, verdict(deployment, projection)))
    return found


def places_table(found: Sequence[Place]) -> PageTable:
    """One row for each place."""
    rows = tuple(
        (
            one.words,
            usd(one.projection.rail("cascade").usd_per_month),
            usd(one.projection.savings.mid),
            percent(one.projection.cost_ratio.mid),
            percent(one.projection.escalation.mid),
            percent(one.projection.agreement.mid, 2),
            one.verdict.brief,
        )
        for one in found
    )
    return PageTable(
        "The task side by side",
        ("with", "cascade per month", "saving", "of teacher", "escalated", "agreement", "verdict"),
        rows,
    )


def place_records(found: Sequence[Place]) -> list[dict[str, float | str | bool | None]]:
    """One flat row of figures for each place: what a spreadsheet wants."""
    rows: list[dict[str, float | str | bool | None]] = []
    for one in found:
        got = one.projection
        row: dict[str, float | str | bool | None] = {"with": one.words or one.deployment.name}
        for rail in got.rails:
            row[f"{rail.name}_usd_per_month"] = round(float(rail.usd_per_month), 2)
        rows.append(
            row
            | {
                "saving_usd_low": round(float(got.savings.low), 2),
                "saving_usd": round(float(got.savings.mid), 2),
                "saving_usd_high": round(float(got.savings.high), 2),
                "cost_ratio": round(got.cost_ratio.mid, 6),
                "escalation_rate": round(got.escalation.mid, 6),
                "agreement": round(got.agreement.mid, 6),
                "answers": one.verdict.answers,
                "keeps_promise": one.verdict.keeps_promise,
                "pays": one.verdict.pays,
                "requests_per_month": round(got.requests_per_month),
            }
        )
    return rows
