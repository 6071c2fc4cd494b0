"""Arrivals have the rate, the scatter and the lengths they were asked for."""

import itertools

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.special import ndtr

from costmodel.errors import BadScenario
from costmodel.inputs.workload import (
    BUSINESS_DAY,
    Bursts,
    Lengths,
    Trace,
    Workload,
    arrivals,
    read_trace,
)
from costmodel.kernel import layout
from costmodel.kernel.chance import length_at


def times(workload, duration_s, seed=3):
    """Arrival seconds as an array."""
    return np.array([a.at_s for a in arrivals(workload, seed=seed, duration_s=duration_s)])


def test_the_same_seed_gives_the_same_arrivals():
    """Arrivals are a function of workload and seed, in time order."""
    workload = Workload(per_second=50)
    once = list(arrivals(workload, seed=1, duration_s=30))
    assert once == list(arrivals(workload, seed=1, duration_s=30))
    assert once != list(arrivals(workload, seed=2, duration_s=30))
    assert all(a.at_s < b.at_s for a, b in itertools.pairwise(once))


@pytest.mark.parametrize(("kind", "cv"), [("even", 0.0), ("poisson", 1.0), ("gamma", 3.0)])
def test_gaps_have_their_mean_and_variation(kind, cv):
    """The coefficient of variation of the gaps is what was asked for."""
    gaps = np.diff(times(Workload(per_second=100, arrivals=kind, cv=cv or 1.0), 1000))
    assert gaps.mean() == pytest.approx(0.01, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05, abs=1e-6)


def test_bursts_keep_the_mean_rate_and_disperse_the_counts():
    """An MMPP has the same number of arrivals and a much larger index of dispersion."""
    bursts = Bursts(factor=4, share=0.1, mean_s=10)
    at = times(Workload(per_second=100, bursts=bursts), 5000)
    counts = np.histogram(at, bins=np.arange(0, 5001, 10))[0]
    assert at.size / 5000 == pytest.approx(100, rel=0.15)
    assert counts.var() / counts.mean() > 20


def test_bursts_of_more_than_all_the_traffic_are_refused():
    """Exactly all of the traffic in bursts is possible, more is not."""
    assert Bursts(factor=10, share=0.1, mean_s=1).table()[0] == 0
    with pytest.raises(ValidationError, match="more than all of the traffic"):
        Bursts(factor=10.1, share=0.1, mean_s=1)


def test_a_day_has_its_shape_and_its_total():
    """Hourly rates are followed and do not change the number of requests a day."""
    workload = Workload(per_day=200_000, hourly=BUSINESS_DAY)
    hours = np.histogram(times(workload, 86_400), bins=np.arange(0, 86_401, 3600))[0]
    assert hours.sum() == pytest.approx(200_000, rel=0.01)
    assert hours == pytest.approx(200_000 / 24 * np.array(BUSINESS_DAY), rel=0.12)


def test_weekend_and_growth_change_the_rate():
    """A weekly shape and a monthly growth multiply the rate where they should."""
    week = Workload(per_day=1000, weekly=(1, 1, 1, 1, 1, 0, 0)).rates(7 * 86_400)
    assert week[-1] == 0
    assert week.mean() * 86_400 == pytest.approx(1000)
    grown = Workload(per_second=1, growth_per_month=0.5).rates(2 * 730 * 3600)
    assert grown[-1] / grown[0] == pytest.approx(1.5**2, rel=0.01)


def test_lengths_have_their_mean():
    """A lognormal table keeps mean and variation; a constant is a constant."""
    table = Lengths(mean=40, cv=0.8).table()
    cells = (table[1:] + table[:-1]) / 2
    assert cells.mean() == pytest.approx(40)
    assert cells.std() == pytest.approx(32, rel=0.03)
    assert Lengths(mean=7).table().tolist() == [7]
    tokens = [a.tokens for a in arrivals(Workload(per_second=1000), seed=1, duration_s=30)]
    assert np.mean(tokens) == pytest.approx(40, rel=0.02)


@pytest.mark.parametrize("cv", [0.3, 0.8, 3.0, 5.0])
def test_heavy_tails_realise_their_moments(cv):
    """Mean, second moment and far quantiles of what is drawn lie within 2 % of the lognormal's."""
    lengths = Lengths(mean=400, cv=cv, most=1e15)
    told = layout.tell({"tokens": lengths.table(), "tokens_tail": lengths.tail()})
    state = np.zeros(1, layout.STATE)
    state["tables"] = told.tables.ctypes.data
    at, n, tail_at, tail_n = (
        int(told.record[0][f"tokens_{end}"]) for end in ("at", "n", "tail_at", "tail_n")
    )
    z = np.linspace(-8, 8, 8001)
    weight = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi) * (z[1] - z[0])
    ranks = np.minimum(ndtr(z), 1 - 2.0**-53)
    drawn = np.array([length_at(state[0], at, n, tail_at, tail_n, u) for u in ranks])
    sigma = np.sqrt(np.log1p(cv**2))
    exact = 400 * np.exp(sigma * z - sigma**2 / 2)
    assert (drawn * weight).sum() == pytest.approx(400, rel=1e-3)
    assert (drawn**2 * weight).sum() == pytest.approx(400**2 * (1 + cv**2), rel=0.02)
    far = (z > 2) & (z < 6)
    assert drawn[far] == pytest.approx(exact[far], rel=0.02)
    assert (np.diff(drawn) >= 0).all()


@pytest.fixture
def trace_file(tmp_path):
    """Five requests in the Azure format, seven digits of a second."""
    path = tmp_path / "trace.csv"
    path.write_text(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:47.6805900,396,109\n"
        "2023-11-16 18:15:47.9305900,10,1\n2023-11-16 18:15:50.6805900,5000,7\n"
    )
    return path


def test_a_trace_is_replayed_row_by_row(trace_file):
    """Gaps and tokens come back as they stand, and the trace starts again at its end."""
    workload = Workload(arrivals="replay", trace=Trace(path=trace_file))
    replayed = list(arrivals(workload, seed=1, duration_s=11))
    assert [a.tokens for a in replayed[:5]] == [374, 396, 10, 5000, 374]
    assert [a.output_tokens for a in replayed[:4]] == [44, 109, 1, 7]
    gaps = np.diff([a.at_s for a in replayed])
    assert gaps[:3] == pytest.approx([1, 0.25, 2.75], abs=1e-6)
    assert [a.length_rank for a in replayed[:4]] == [0.375, 0.625, 0.125, 0.875]


def test_a_trace_can_be_stretched_to_a_rate(trace_file):
    """Twice the rate halves every gap."""
    slow = read_trace(Trace(path=trace_file)).per_s
    fast = Workload(arrivals="replay", trace=Trace(path=trace_file), per_second=2 * slow)
    assert np.diff(times(fast, 4))[:3] == pytest.approx([0.5, 0.125, 1.375], abs=1e-6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no column 'TIMESTAMP'; it has none"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "has 0 rows; it needs at least 2"),
        ("time,ContextTokens\n1,2\n", "no column 'TIMESTAMP'; it has 'time', 'ContextTokens'"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n2,x,3\n", "bad value"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n1,2,3\n", "forward in time"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n1,2,3\n2026-01-01,2,3\n", "among numbers"),
    ],
)
def test_a_bad_trace_is_one_sentence(tmp_path, text, words):
    """Empty, short, misnamed, unreadable or timeless traces say what is wrong."""
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(BadScenario, match=words):
        read_trace(Trace(path=path))


def test_a_missing_trace_is_one_sentence(tmp_path):
    """A path that is not there is named."""
    with pytest.raises(BadScenario, match="does not exist"):
        read_trace(Trace(path=tmp_path / "none.csv"))
