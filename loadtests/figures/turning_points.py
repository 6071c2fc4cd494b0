"""Where a run turned: the rate at which a rising load was too much, and the time until it was over.

Both are read from the intervals. One bad interval is chance: two in a row are a turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from loadtests.figures.judging import Check
from loadtests.inputs.slo import Slo

if TYPE_CHECKING:
    from loadtests.figures.load_report import LoadInterval, LoadReport

KEPT_UP = 0.95
"""A server that answers less of what is due falls behind."""
AS_BEFORE = 0.01
"""Degraded answers are back to what they were when their share is so near to it."""
IN_A_ROW = 2


class TurningPoints(BaseModel):
    """None where the run has no such point: its load does not rise, nothing failed on purpose."""

    model_config = ConfigDict(frozen=True)

    saturation_rps: float | None = None
    """The highest rate of a ramp before two intervals in a row were bad; at the end of a ramp that
    was carried whole, its last rate."""
    saturated_at_s: float | None = None
    """None where the ramp was carried whole."""
    saturated_by: str = ""
    """What was bad first."""
    recovery_s: float | None = None
    """From the end of the last outage until degraded answers were as before it."""
    recovered: bool | None = None
    """False: not within the run; `recovery_s` is what was waited for."""

    @property
    def words(self) -> str:
        """Say them in one line; "" where there is nothing to say."""
        said = []
        if self.saturation_rps is not None and self.saturated_at_s is not None:
            said.append(
                f"saturated above {self.saturation_rps:,.0f} rps, after {self.saturated_at_s:g} s: "
                f"{self.saturated_by}"
            )
        elif self.saturation_rps is not None:
            said.append(f"not saturated up to {self.saturation_rps:,.0f} rps")
        if self.recovered:
            said.append(f"recovered {self.recovery_s:g} s after the outage")
        elif self.recovered is False:
            said.append(f"not recovered {self.recovery_s:g} s after the outage")
        return "; ".join(said)


def turning_points(
    report: LoadReport, slo: Slo, outages: Sequence[tuple[float, float]] = ()
) -> TurningPoints:
    """Find them in a run."""
    found: dict[str, object] = {}
    spec = report.spec
    if spec.shape.kind == "ramp" and spec.shape.factor > 1 and report.intervals:
        found |= _saturation(report.intervals, slo)
    ended = [end for _, end in outages if end < report.measured_s]
    if ended:
        found |= _recovery(report.intervals, min(start for start, _ in outages), max(ended))
    return TurningPoints.model_validate(found)


def judged_with(report: LoadReport, slo: Slo, outages: Sequence[tuple[float, float]]) -> LoadReport:
    """Return a report whose limits on turning points are judged with what failed on purpose."""
    checks = tuple(checks_of(slo, turning_points(report, slo, outages)))
    names = {check.name for check in checks}
    others = tuple(check for check in report.checks if check.name not in names)
    return report.model_copy(update={"checks": (*others, *checks)})


def checks_of(slo: Slo, found: TurningPoints) -> Iterator[Check]:
    """Yield one check for each limit on a turning point."""
    if (least := slo.min_saturation_rps) is not None:
        rate = found.saturation_rps
        shown = "no ramp was run" if rate is None else f"the ramp was carried up to {rate:,.0f} rps"
        yield Check(
            name="saturation",
            limit=least,
            found=rate,
            passed=rate is not None and rate >= least,
            words=f"{shown}; at least {least:,.0f} rps must be",
        )
    if (most := slo.max_recovery_s) is not None:
        took = found.recovery_s if found.recovered else None
        shown = f"{took:g} s" if took is not None else "longer than the run, or there was no outage"
        yield Check(
            name="recovery",
            limit=most,
            found=took,
            passed=took is not None and took <= most,
            words=f"recovery took {shown}; at most {most:g} s is allowed",
        )


def _saturation(intervals: Sequence[LoadInterval], slo: Slo) -> dict[str, object]:
    bad = [_why_bad(interval, slo) for interval in intervals]
    for k in range(len(bad) - IN_A_ROW + 1):
        if all(bad[k : k + IN_A_ROW]):
            return {
                "saturation_rps": max((i.requested_rps for i in intervals[:k]), default=0.0),
                "saturated_at_s": intervals[k].at_s,
                "saturated_by": bad[k],
            }
    return {"saturation_rps": max(i.requested_rps for i in intervals)}


def _why_bad(interval: LoadInterval, slo: Slo) -> str:
    """Say what an interval broke, or ""."""
    due = interval.requested_rps * interval.length_s
    lost = (interval.failed + interval.dropped) / due if due else 0.0
    if lost > slo.max_failure_rate:
        return f"{lost:.1%} failed"
    if interval.achieved_rps < KEPT_UP * interval.requested_rps:
        return f"{interval.achieved_rps:,.0f} of {interval.requested_rps:,.0f} rps were answered"
    known = {"p50": interval.p50_ms, "p90": interval.p90_ms, "p99": interval.p99_ms}
    for limits in (slo.latency_ms.get("all", {}), slo.latency_ms.get("student", {})):
        for percentile, limit_ms in limits.items():
            value = known.get(percentile)
            if value is not None and value > limit_ms:
                return f"{percentile} was {value:.1f} ms"
    return ""


def _recovery(
    intervals: Sequence[LoadInterval], began_s: float, ended_s: float
) -> dict[str, object]:
    shares = [(i.at_s, i.length_s, _degraded(i)) for i in intervals]
    before = [share for at, length, share in shares if at + length <= began_s]
    normal = max(before, default=0.0) + AS_BEFORE
    after = [(at, share) for at, _, share in shares if at >= ended_s]
    for k in range(len(after) - IN_A_ROW + 1):
        if all(share <= normal for _, share in after[k : k + IN_A_ROW]):
            return {"recovery_s": after[k][0] - ended_s, "recovered": True}
    last = shares[-1][0] + shares[-1][1] if shares else ended_s
    return {"recovery_s": max(0.0, last - ended_s), "recovered": False}


def _degraded(interval: LoadInterval) -> float:
    """Return the share of an interval's due requests that were degraded or failed."""
    answered = sum(interval.routes.values())
    bad = interval.routes.get("degraded", 0) + interval.failed + interval.dropped
    due = answered + interval.failed + interval.dropped
    return bad / due if due else 0.0
