"""A run that cannot pass any more, or whose target is dead, ends early and says why."""

import pytest

from loadtests.errors import BadLoadSpec
from loadtests.figures.load_report import Cut, report_of
from loadtests.generator.tallies import RequestOutcome, Tally
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec, load_spec
from loadtests.workers.abort import Abandoned, Lookout, lost
from loadtests.workers.workers import run_load

SPEC = LoadSpec(url="http://127.0.0.1:1", inputs="x.csv", rate=100, duration_s=100, abort="lost")


def tally_of(n, failed=0, latency_s=0.01):
    """The first n requests; the last `failed` of them failed."""
    tally = Tally(1.0, cpu={0: 0.1})
    for i in range(n):
        tally.arrive(i / 100)
        failure = "http_500" if i >= n - failed else None
        tally.record(
            RequestOutcome(i / 100, i, 0, latency_s, 500 if failure else 200, failure, "student"),
            SPEC,
        )
    return tally


def test_failures_that_no_later_answer_mends():
    """Of 10,000 requests 1 % may fail: 100 are no reason to stop, 101 are."""
    assert lost(Slo(), tally_of(500, failed=100), 10_000) is None
    assert "101 of 10000 requests have failed" in lost(Slo(), tally_of(500, failed=101), 10_000)


def test_late_answers_that_no_later_one_mends():
    """101 of 10,000 above the limit of the p99, failed ones included in `all` alone."""
    limits = Slo(max_failure_rate=1, latency_ms={"all": {"p99": 5}})
    assert lost(limits, tally_of(100), 10_000) is None
    assert "its p99 cannot be kept any more" in lost(limits, tally_of(101), 10_000)
    assert "route all" in lost(limits, tally_of(200, failed=101, latency_s=0.001), 10_000)
    own = Slo(max_failure_rate=1, latency_ms={"student": {"p99": 5}})
    assert lost(own, tally_of(200, failed=101, latency_s=0.001), 10_000) is None


def test_a_run_that_is_decided_counts_and_fails():
    """What was measured is enough for FAIL; the same part without a broken limit is INVALID."""
    cut = Cut(why="lost", measured_s=5, decided=True)
    spoilt = report_of(SPEC, tally_of(500, failed=101), Slo(), cut=cut)
    assert (spoilt.valid, spoilt.passed) == (True, False)
    assert not report_of(SPEC, tally_of(500), Slo(), cut=cut).valid


def test_a_dead_target_is_left_alone():
    """Ten seconds without an answer and with failures: not before, and not in silence alone."""
    lookout = Lookout(
        SPEC.model_copy(update={"abort": "dead"}), Slo(), 10_000, lambda: Tally(1.0), 1.0
    )
    lookout.look(1.0, answered=50, failed=0)
    lookout.look(10.9, answered=50, failed=900)
    with pytest.raises(Abandoned, match="nothing was answered for 10 s while 1000 requests"):
        lookout.look(11.0, answered=50, failed=1000)
    waiting = Lookout(SPEC, Slo(), 10_000, lambda: tally_of(0), 1.0)
    waiting.look(1.0, answered=50, failed=0)
    waiting.look(30.0, answered=50, failed=5)
    never = Lookout(
        SPEC.model_copy(update={"abort": "never"}), Slo(), 10_000, lambda: Tally(1.0), 1.0
    )
    never.look(1.0, answered=50, failed=0)
    never.look(99.0, answered=50, failed=9000)


def test_only_three_words_are_allowed():
    """Anything else is refused with what is allowed."""
    with pytest.raises(BadLoadSpec, match="abort: Input should be 'never', 'dead' or 'lost'"):
        load_spec(url="http://127.0.0.1:1", inputs="x", rate=1, abort="sometimes")


@pytest.mark.e2e
def test_a_lost_run_ends_before_its_time(server, rows):
    """Every answer is later than the limit: the run of a minute ends, counted and failed."""
    url = server("freezing", "--latency", "0.05")
    spec = LoadSpec(
        **{"url": url, "inputs": rows, "rate": 100, "duration_s": 60, "warmup_s": 0},
        **{"max_send_lag_ms": 60_000, "max_generator_cpu": 1, "abort": "lost"},
    )
    report = run_load(spec, Slo(latency_ms={"all": {"p99": 10}}))
    assert report.cut.measured_s < 30
    assert "its p99 cannot be kept any more" in report.cut.why
    assert report.faults[0] == report.cut.why
    assert (report.valid, report.passed) == (True, False)
