"""What watching costs: two real routers in turns, and a figure with its interval."""

from __future__ import annotations

import json
import os

import pytest
from click.testing import CliRunner

from loadtests.bench.watching.watching import _words, watching


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [(0.98, 1.02, "holds"), (0.9, 1.2, "is not shown"), (1.1, 1.2, "missed")],
)
def test_the_interval_and_not_the_median_says_whether_it_holds(low, high, said):
    """A median below the aim shows nothing alone."""
    ratio = {"ratio": 1.0, "low": low, "high": high}
    ms = {"off": 1.0, "on": 1.0}
    report = {"pairs": 2, "rate": 9, "p50_ms": ms, "p99_ms": ms, "p50": ratio, "p99": ratio}
    words = _words(report | {"again": {"off": 0, "on": 3}})
    assert said in words.splitlines()[-1]
    assert "0 unwatched, 3 watched" in words


@pytest.mark.e2e
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two cores are needed")
def test_audits_shadow_and_page_are_on_in_one_of_them():
    """The one that is watched compared a candidate on live answers; nothing failed."""
    cores = sorted(os.sched_getaffinity(0))
    try:
        arguments = ["--pairs", "2", "--seconds", "2.5", "--json"]
        arguments += ["--core", str(cores[0]), "--client-core", str(cores[1])]
        found = CliRunner().invoke(watching, arguments, catch_exceptions=False)
    finally:
        os.sched_setaffinity(0, cores)
    report = json.loads(found.output)
    assert report["pairs"] == 2
    assert report["compared"]["compared"] > 0
    assert report["p99"]["low"] <= report["p99"]["ratio"] <= report["p99"]["high"]
