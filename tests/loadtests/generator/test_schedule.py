"""Arrivals are fixed by the seed alone."""

import numpy as np
import pytest

from loadtests.generator.schedule import lay_out
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec

ROWS = [Row(i, "x" * (1 + i % 100)) for i in range(500)]


def spec(**settings):
    """A spec with the settings that matter here."""
    base = {"url": "http://127.0.0.1:1", "inputs": "x.csv", "rate": 1000, "duration_s": 20}
    return LoadSpec.model_validate({**base, "warmup_s": 0, **settings})


def gap_variation(offsets):
    """Coefficient of variation of the gaps."""
    gaps = np.diff(offsets)
    return gaps.std() / gaps.mean()


def test_constant_arrivals_are_evenly_spaced():
    """Constant: exactly rate · duration arrivals, 1 / rate apart, from 0 on."""
    offsets = lay_out(spec(arrivals="constant"), ROWS).offsets_s
    assert len(offsets) == 20_000
    assert np.allclose(np.diff(offsets), 0.001)
    assert offsets[0] == 0.0


@pytest.mark.parametrize(("arrivals", "cv"), [("poisson", 1.0), ("gamma", 3.0)])
def test_random_arrivals_have_the_variation_asked_for(arrivals, cv):
    """The count is within 4 standard deviations, the gaps' variation within 8 %."""
    offsets = lay_out(spec(arrivals=arrivals, cv=cv), ROWS).offsets_s
    assert abs(len(offsets) - 20_000) < 4 * cv * np.sqrt(20_000)
    assert gap_variation(offsets) == pytest.approx(cv, rel=0.08)
    assert offsets.min() >= 0
    assert offsets.max() < 20


def test_traffic_is_the_simulator_s_of_the_same_seed():
    """A steady test without warm-up sends at the instants that costmodel draws for the seed."""
    from costmodel.inputs.workload import Workload, arrivals

    drawn = [a.at_s for a in arrivals(Workload(per_second=50), seed=7, duration_s=20)]
    assert lay_out(spec(rate=50, seed=7), ROWS).offsets_s == pytest.approx(drawn)


def test_shares_of_three_workers_are_the_whole_schedule():
    """Three workers' shares merge into exactly the one schedule, and are of about one size."""
    whole = lay_out(spec(processes=3, warmup_s=2), ROWS)
    shares = [whole.share(worker, 3) for worker in range(3)]
    merged = np.sort(np.concatenate([share.offsets_s for share in shares]))
    assert (merged == whole.offsets_s).all()
    assert max(len(s.rows) for s in shares) - min(len(s.rows) for s in shares) <= 1


def test_another_seed_is_other_traffic():
    """The seed moves both the instants and the order of the rows; the same seed moves nothing."""
    one, same, other = (lay_out(spec(seed=seed), ROWS) for seed in (0, 0, 1))
    assert (one.offsets_s == same.offsets_s).all()
    assert (one.rows == same.rows).all()
    assert one.offsets_s[:500].tolist() != other.offsets_s[:500].tolist()
    assert one.rows[:500].tolist() != other.rows[:500].tolist()


def test_window_asks_every_row_once_before_any_twice():
    """With as many arrivals as rows, the window asks each row once."""
    found = lay_out(spec(arrivals="constant", rate=100, duration_s=5, warmup_s=2), ROWS)
    assert sorted(found.rows[found.offsets_s >= 0]) == list(range(500))
    assert (found.offsets_s < 0).sum() == 200
    sequential = lay_out(spec(arrivals="constant", order="sequential"), ROWS[:7])
    assert sequential.rows[:9].tolist() == [0, 1, 2, 3, 4, 5, 6, 0, 1]


def test_warmup_rows_are_not_asked_in_the_window():
    """When there are rows enough, the warm-up asks others than the window."""
    found = lay_out(spec(rate=100, duration_s=2, warmup_s=2, arrivals="constant"), ROWS)
    warm = found.offsets_s < 0
    assert set(found.rows[warm]) & set(found.rows[~warm]) == set()


@pytest.mark.parametrize(
    ("shape", "per_second"),
    [
        ({"kind": "step", "factor": 3, "at_s": 2}, [100, 100, 300, 300, 300, 300]),
        (
            {"kind": "spike", "factor": 10, "at_s": 1, "length_s": 2},
            [100, 1000, 1000, 100, 100, 100],
        ),
        ({"kind": "square", "factor": 4, "period_s": 2}, [100, 400, 100, 400, 100, 400]),
        ({"kind": "ramp", "factor": 13}, [200, 400, 600, 800, 1000, 1200]),
    ],
)
def test_shape_moves_the_rate(shape, per_second):
    """Arrivals counted second by second are what the shape says, and so is the mean rate."""
    asked = spec(arrivals="constant", rate=100, duration_s=6, shape=shape, warmup_s=1)
    offsets = lay_out(asked, ROWS).offsets_s
    counted = np.histogram(offsets[offsets >= 0], bins=range(7))[0]
    assert counted == pytest.approx(per_second, abs=2)
    assert asked.requested_rps == pytest.approx(np.mean(per_second), rel=0.001)
    assert (offsets < 0).sum() == pytest.approx(100, abs=1)


def test_diurnal_shape_is_a_day_in_small():
    """The busiest hour of the day has about 7.5 times the quietest; the mean rate is the rate."""
    asked = spec(arrivals="constant", rate=1000, duration_s=24, shape={"kind": "diurnal"})
    counted = np.histogram(lay_out(asked, ROWS).offsets_s, bins=range(25))[0]
    assert counted.sum() == pytest.approx(24_000, rel=0.01)
    assert counted.max() / counted.min() == pytest.approx(7, abs=0.7)


def test_replay_keeps_the_trace_s_bursts_and_lengths(tmp_path):
    """A trace is stretched to the rate; long requests of the trace become long texts."""
    path = tmp_path / "trace.csv"
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    lines += [f"{i + (0.9 if i % 2 else 0)},{1000 if i % 2 else 10},5" for i in range(200)]
    path.write_text("\n".join(lines) + "\n")
    found = lay_out(spec(arrivals="replay", trace=path, rate=20, duration_s=5), ROWS)
    assert len(found.offsets_s) == pytest.approx(100, abs=2)
    lengths = np.array([len(ROWS[row].text) for row in found.rows])
    assert set(lengths[::2] > 50) == {False}
    assert set(lengths[1::2] > 50) == {True}
    assert gap_variation(found.offsets_s) == pytest.approx(0.9, abs=0.05)
