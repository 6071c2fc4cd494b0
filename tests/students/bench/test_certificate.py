"""The simulated deployments: the truth is right, and a broken promise is seen."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from students.bench.certificate import (
    CURVES,
    PROCEDURES,
    SIZES,
    Truth,
    certificate,
    draw,
)
from students.bench.whole_way import piles


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.95])
def test_truth_is_the_rate_that_draws_show(name, threshold):
    """The integral equals the share of a large draw that is kept and wrong."""
    rows = draw(CURVES[name], 200_000, np.random.default_rng(0))
    kept_wrong = ((rows.confidence >= threshold) & rows.disagree).mean()
    assert Truth.of(CURVES[name]).wrong(threshold) == pytest.approx(kept_wrong, abs=0.003)


def test_truth_of_the_good_ranking_crosses_the_promise_at_75_percent():
    """Keeping the surest 75 % meets 95 % agreement exactly, a little more breaks it."""
    truth = Truth.of(CURVES["good ranking"])
    assert truth.wrong(0.25) / 0.75 == pytest.approx(0.05, abs=1e-4)
    assert truth.wrong(0.24) / 0.76 > 0.05 > truth.wrong(0.26) / 0.74


def test_nothing_kept_is_nothing_broken():
    """A refusal cannot break a promise."""
    assert Truth.of(CURVES["flat .945"]).wrong(2.0) == 0.0


def test_bench_reports_every_cell_and_sees_the_naive_way_fail():
    """Certified promises hold over 100 deployments a cell; the best-looking threshold fails."""
    result = CliRunner().invoke(
        certificate, ["--deployments", "100", "--pile-deployments", "2", "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert len(report["cells"]) == len(CURVES) * len(SIZES) * len(PROCEDURES)
    assert report["violation_excess"] <= 0
    assert {c["pile"] for c in report["piles"]} == {pile.name for pile in piles()}
    naive = [c for c in report["cells"] if c["procedure"] == "best looking threshold"]
    assert max(c["broken"] for c in naive) > 0.9
