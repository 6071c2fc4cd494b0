"""The knee of a server whose limit is known."""

import pytest

from loadtests.generator.tallies import Outcome, Tally
from loadtests.inputs.spec import LoadSpec
from loadtests.report.figures_of_run import report_of
from loadtests.verdict.knee import find_knee
from loadtests.verdict.slo import Slo

SPEC = LoadSpec(
    url="http://127.0.0.1:1", inputs="x.csv", rate=100, duration_s=5, shape={"kind": "ramp"}
)


def server(limit_rps, generator_rps=1e9):
    """A run of a server that answers all requests up to a rate and refuses the rest."""
    seen = []

    def run(spec):
        seen.append(spec)
        tally, n = Tally(1.0), int(spec.rate * spec.duration_s)
        answered = min(n, int(limit_rps * spec.duration_s))
        for i in range(n):
            offset = i / spec.rate
            failure = None if i < answered else "http_429"
            tally.arrive(offset)
            tally.record(Outcome(offset, i, 0.0, 0.01, 200, failure, "student"), spec)
        tally.cpu = {0: 0.5 if spec.rate <= generator_rps else 0.95}
        return report_of(spec, tally, Slo(max_failure_rate=0))

    return run, seen


@pytest.mark.parametrize("limit", [130, 437, 3210])
def test_knee_is_found_within_five_percent(limit):
    """The knee is below the limit and within 5 % of it; probes are told as they come."""
    run, seen = server(limit)
    told = []
    knee = find_knee(SPEC, run, told=told.append)
    assert limit / 1.06 <= knee.rate <= limit
    assert not knee.limited_by_generator
    assert len(told) == len(seen) == len(knee.probes)
    assert {spec.shape.kind for spec in seen} == {"steady"}


def test_past_the_knee_goodput_is_measured():
    """Multiples of the knee are run afterwards; this server's goodput plateaus at its limit."""
    run, _ = server(437)
    knee = find_knee(SPEC, run, past=(1.2, 2, 5))
    assert [probe.rate / knee.rate for probe in knee.past] == pytest.approx([1.2, 2, 5])
    assert [probe.goodput_rps for probe in knee.past] == pytest.approx([437] * 3, rel=0.01)


def test_server_that_never_holds_has_no_knee():
    """When even the first rate fails there is no knee, and one probe says why."""
    run, _ = server(50)
    knee = find_knee(SPEC, run)
    assert knee.rate is None
    assert "failure rate was 50.00%" in knee.probes[0].why


def test_generator_s_limit_is_not_the_server_s():
    """When runs stop counting before the server fails, the knee says whose limit it is."""
    run, _ = server(10_000, generator_rps=500)
    knee = find_knee(SPEC, run)
    assert knee.limited_by_generator
    assert 470 <= knee.rate <= 500
