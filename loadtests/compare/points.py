"""Load tests as points in time: each figure at the end of the stretch that it is of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from loadtests.figures.load_report import LoadInterval
from loadtests.verdict.conclusion import Conclusion


class LoadPoint(NamedTuple):
    """One figure at one moment: seconds since 1970."""

    name: str
    at_s: float
    value: float


def points_of(conclusion: Conclusion) -> Iterator[LoadPoint]:
    """Yield the figures of a test, each name's in order of time; a report is dated by its end.

    Those of an interval at its end, but for p99: a second rarely holds the thousand requests that
    it needs, so that it is of each quarter of the window.
    """
    ended = datetime.fromisoformat(conclusion.at).timestamp()
    report = conclusion.report
    for interval in report.intervals:
        at = ended - report.measured_s + interval.at_s + interval.length_s
        for name, value in _figures(interval).items():
            if value is not None:
                yield LoadPoint(name, at, value)
    for left, quarter in zip((3, 2, 1, 0), report.quarters_ms, strict=False):
        if quarter.p99 is not None:
            yield LoadPoint("p99_ms", ended - report.measured_s * left / 4, quarter.p99)
    yield LoadPoint("passed", ended, float(conclusion.passed))
    yield LoadPoint("valid", ended, float(conclusion.verdict != "INVALID"))


def labels_of(conclusion: Conclusion) -> dict[str, str]:
    """Return what tells the points of one test from those of another."""
    spec = conclusion.report.spec
    found = {"scenario": conclusion.scenario, "surface": spec.surface, "seed": str(spec.seed)}
    commit = conclusion.versions.get("commit")
    return {**found, **({"commit": commit} if commit else {})}


def _figures(interval: LoadInterval) -> dict[str, float | None]:
    answered = sum(interval.routes.values())
    student = interval.routes.get("student", 0)
    return {
        "requested_rps": interval.requested_rps,
        "achieved_rps": interval.achieved_rps,
        "good_rps": interval.good_rps,
        "failed": float(interval.failed),
        "dropped": float(interval.dropped),
        "p50_ms": interval.p50_ms,
        "p90_ms": interval.p90_ms,
        "escalated_share": 1 - student / answered if student else None,
        "generator_cpu": interval.generator_cpu,
    }
