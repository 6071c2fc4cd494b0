"""Where a run turned is read from its intervals: saturation of a ramp, recovery from an outage."""

from decimal import Decimal
from pathlib import Path

import pytest

from loadtests.figures.load_report import LoadInterval, LoadReport
from loadtests.figures.turning_points import checks_of, judged_with, turning_points
from loadtests.inputs.slo import Slo
from loadtests.verdict.conclusion import Conclusion

PEAK = Path(__file__).parents[3] / "docs" / "reports" / "peak.json"
SLO = Slo(latency_ms={"all": {"p99": 20}})


def interval(at_s, requested, achieved=None, p99_ms=5.0, failed=0, degraded=0):
    """One second of a run."""
    answered = requested if achieved is None else achieved
    routes = {"student": answered - degraded} | ({"degraded": degraded} if degraded else {})
    return LoadInterval(
        at_s=at_s,
        length_s=1,
        requested_rps=requested,
        offered_rps=requested,
        achieved_rps=answered,
        good_rps=answered,
        failed=failed,
        p50_ms=1,
        p99_ms=p99_ms,
        routes=routes,
        usd=Decimal(0),
        generator_cpu=0.1,
    )


def run(intervals, **spec):
    """A report with these intervals."""
    report = Conclusion.model_validate_json(PEAK.read_bytes()).report
    update = {"duration_s": float(len(intervals)), **spec}
    changed = report.spec.model_copy(update=update)
    return report.model_copy(update={"intervals": tuple(intervals), "spec": changed})


def ramp(intervals) -> LoadReport:
    """A ramp with these intervals."""
    shape = Conclusion.model_validate_json(PEAK.read_bytes()).report.spec.shape
    return run(intervals, shape=shape.model_copy(update={"kind": "ramp", "factor": 10.0}))


def test_a_ramp_saturates_before_two_bad_seconds_in_a_row():
    """One slow second is chance; from 500 rps on the p99 stays above its limit: 400 was carried."""
    slow = {200: 50.0, 500: 25.0, 600: 80.0, 700: 200.0}
    found = turning_points(
        ramp([interval(k, r, p99_ms=slow.get(r, 5)) for k, r in enumerate(range(100, 800, 100))]),
        SLO,
    )
    assert (found.saturation_rps, found.saturated_at_s) == (400, 4)
    assert found.saturated_by == "p99 was 25.0 ms"
    assert found.words.startswith("saturated above 400 rps, after 4 s")


@pytest.mark.parametrize(
    ("bad", "why"),
    [({"achieved": 200}, "200 of 300 rps were answered"), ({"failed": 30}, "10.0% failed")],
)
def test_falling_behind_and_failing_saturate_too(bad, why):
    """A server that answers too little, or fails too much, is past its limit."""
    seconds = [interval(0, 100), interval(1, 200), interval(2, 300, **bad), interval(3, 300, **bad)]
    found = turning_points(ramp(seconds), SLO)
    assert (found.saturation_rps, found.saturated_by) == (200, why)


def test_a_ramp_that_is_carried_whole_says_so_and_a_steady_run_says_nothing():
    """The last rate is a lower bound; without a ramp there is no such figure."""
    seconds = [interval(k, 100 * (k + 1)) for k in range(5)]
    assert turning_points(ramp(seconds), SLO).words == "not saturated up to 500 rps"
    assert turning_points(run(seconds), SLO).words == ""


def test_recovery_counts_from_the_end_of_the_outage():
    """Degraded from 3 on, outage over at 5, degraded until 8: three seconds."""
    seconds = [interval(k, 100, degraded=40 if 3 <= k < 8 else 2) for k in range(12)]
    found = turning_points(run(seconds), SLO, [(3.0, 5.0)])
    assert (found.recovery_s, found.recovered) == (3, True)
    assert "recovered 3 s after the outage" in found.words


def test_what_does_not_recover_within_the_run_is_told():
    """Degraded to the end: seven seconds were waited for, and the limit is broken."""
    seconds = [interval(k, 100, degraded=40 if k >= 3 else 2) for k in range(12)]
    found = turning_points(run(seconds), SLO, [(3.0, 5.0)])
    assert (found.recovery_s, found.recovered) == (7, False)
    assert [c.passed for c in checks_of(Slo(max_recovery_s=30), found)] == [False]


def test_limits_on_turning_points_decide():
    """Both limits are checks beside the others; what was judged before is judged anew."""
    slo = Slo(max_recovery_s=2, min_saturation_rps=50)
    seconds = [interval(k, 100, degraded=40 if 3 <= k < 8 else 2) for k in range(12)]
    report = judged_with(run(seconds), slo, ())
    report = judged_with(report, slo, [(3.0, 5.0)])
    found = {c.name: c for c in report.checks if c.name in ("saturation", "recovery")}
    assert found["recovery"].found == 3
    assert not found["recovery"].passed
    assert found["saturation"].words == "no ramp was run; at least 50 rps must be"
    assert judged_with(run(seconds), Slo(max_recovery_s=3), [(3.0, 5.0)]).checks[-1].passed
