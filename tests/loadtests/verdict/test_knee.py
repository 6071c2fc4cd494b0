"""The knee of a server whose limit is known."""

import pytest

from loadtests.errors import GeneratorFailed
from loadtests.figures.load_report import report_of
from loadtests.generator.tallies import RequestOutcome, Tally
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec
from loadtests.report.knee_page import knee_page
from loadtests.verdict.knee import KneeSearch

SPEC = LoadSpec(
    url="http://127.0.0.1:1", inputs="x.csv", rate=100, duration_s=5, shape={"kind": "ramp"}
)


def find_knee(spec, run, **how):
    """One search, confirmed by a single run unless the test asks for more."""
    return KneeSearch(spec, run, **{"repeats": 1, **how}).find()


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
            tally.record(RequestOutcome(offset, i, 0.0, 0.01, 200, failure, "student"), spec)
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


@pytest.mark.parametrize("paused", [100, 200, 400])
def test_a_machine_that_pauses_once_bounds_nothing(paused):
    """A rate whose first run does not count, for the machine paused, is asked again."""
    plain, seen = server(437)
    paused_once = []

    def run(spec):
        report = plain(spec)
        if spec.rate == paused and not paused_once:
            paused_once.append(spec.rate)
            return report.model_copy(update={"valid": False, "invalid_reasons": ("paused",)})
        return report

    knee = find_knee(SPEC, run)
    assert paused_once == [paused]
    assert (437 / 1.06 <= knee.rate <= 437, knee.ended_by) == (True, "tolerance")
    assert sum(spec.rate == paused for spec in seen) == 2


def test_past_the_knee_goodput_is_measured():
    """Multiples of the knee are run afterwards; this server's goodput plateaus at its limit."""
    run, _ = server(437)
    knee = find_knee(SPEC, run, past=(1.2, 2, 5))
    assert [probe.rate / knee.rate for probe in knee.past] == pytest.approx([1.2, 2, 5])
    assert [probe.goodput_rps for probe in knee.past] == pytest.approx([437] * 3, rel=0.01)


def test_the_knee_is_below_the_first_rate_too():
    """Started at twice its limit the search goes down before it goes up."""
    run, _ = server(50)
    knee = find_knee(SPEC, run)
    assert 50 / 1.06 <= knee.rate <= 50
    assert knee.ended_by == "tolerance"


def test_server_that_never_holds_has_no_knee():
    """When no rate down to a thousandth of the first holds, there is no knee, and it is said."""
    run, _ = server(0)
    knee = find_knee(SPEC, run)
    assert (knee.rate, knee.ended_by) == (None, "nothing held")
    assert knee.probes[0].rate == pytest.approx(100 / 1024)
    assert "NO KNEE" in knee_page(knee, "x").html()


def test_a_search_from_far_below_arrives():
    """From 1 to 30,000 requests a second: bracketed by doubling, then to 5 %, as promised."""
    run, _ = counting(30_000)
    knee = find_knee(SPEC.model_copy(update={"rate": 1}), run)
    assert 30_000 / 1.06 <= knee.rate <= 30_000
    assert knee.ended_by == "tolerance"


def test_a_budget_that_is_used_up_is_told():
    """Ten runs from 1 rps do not reach 30,000: the knee says that it is none."""
    run, seen = counting(30_000)
    knee = find_knee(SPEC.model_copy(update={"rate": 1}), run, most_runs=10)
    assert len(seen) == 10
    assert knee.rate == 512
    assert knee.ended_by == "budget"
    assert "raise --most-runs" in knee.words


def counting(limit_rps):
    """Like `server`, with 500 requests at any rate."""
    run, seen = server(limit_rps)

    def short(spec):
        return run(spec.model_copy(update={"duration_s": 500 / spec.rate}))

    return short, seen


def test_a_rate_that_held_once_is_not_the_knee():
    """Above 380 it holds with one seed alone: the knee is where three seeds hold."""
    steady, _ = server(437)
    lucky, _ = server(380)

    def run(spec):
        return (steady if spec.seed == 0 else lucky)(spec)

    knee = find_knee(SPEC, run, repeats=3)
    assert 380 * 0.9 <= knee.rate <= 380
    assert knee.confirmed == 3
    assert knee.ended_by == "tolerance"


def test_probes_last_long_enough_for_their_limits():
    """A p99 needs a thousand answers: at 20 rps that is over a minute, and no probe lasts a day."""
    run, seen = server(1000)
    slo = Slo(latency_ms={"all": {"p99": 100}})
    find_knee(SPEC.model_copy(update={"rate": 20}), run, slo=slo, most_runs=3)
    assert [spec.duration_s for spec in seen] == pytest.approx([65, 32.5, 16.25])
    seen.clear()
    find_knee(SPEC.model_copy(update={"rate": 0.1}), run, slo=slo, most_runs=1)
    assert seen[0].duration_s == 120


def test_a_search_that_is_cut_short_keeps_its_probes():
    """A generator that dies at the fifth run: what held until then is the knee, marked."""
    whole, seen = server(437)

    def run(spec):
        if len(seen) == 4:
            raise GeneratorFailed("it died")
        return whole(spec)

    search = KneeSearch(SPEC, run)
    knee = search.find()
    assert isinstance(search.broken_off, GeneratorFailed)
    assert (knee.rate, knee.ended_by) == (400, "interrupted") or knee.rate > 300
    assert len(knee.probes) == 4


def test_the_page_draws_the_curve_and_says_why_it_ended():
    """The knee is the largest word; goodput and p99 by rate are drawn, wide and narrow."""
    run, _ = server(437)
    knee = find_knee(SPEC, run, past=(2,))
    html = knee_page(knee, "A server.").html()
    assert f"<b>{knee.rate:,.0f} requests per second</b>" in html
    assert "did not hold" in html
    assert html.count("<svg") == 2 * 2
    assert html.count("good answers per second") == 2
    assert html.count("p99 against the rate") == 2
    assert html.count("<tr>") >= len(knee.probes) + 2


def test_generator_s_limit_is_not_the_server_s():
    """When runs stop counting before the server fails, the knee says whose limit it is."""
    run, _ = server(10_000, generator_rps=500)
    knee = find_knee(SPEC, run)
    assert knee.limited_by_generator
    assert 470 <= knee.rate <= 500
