"""Two sides of a load test: what changed is told from chance, by pairs."""

import json
from pathlib import Path

import numpy as np
import pytest

from loadtests.compare.comparison import compare_runs
from loadtests.compare.page import comparison_page
from loadtests.compare.results import read_results
from loadtests.errors import BadLoadSpec
from loadtests.verdict.conclusion import Conclusion

REPORTS = Path(__file__).parents[3] / "docs" / "reports"


@pytest.fixture(scope="module")
def peak():
    """A published load test."""
    return Conclusion.model_validate_json((REPORTS / "peak.json").read_bytes())


def repeated(conclusion, p50, p99, valid=True):
    """The same test with a run for each latency."""
    run = conclusion.runs[0].model_copy(update={"valid": valid})
    runs = [
        run.model_copy(update={"seed": seed, "p50_ms": low, "p99_ms": high})
        for seed, (low, high) in enumerate(zip(p50, p99, strict=True))
    ]
    return conclusion.model_copy(update={"repeats": tuple(runs), "planned_runs": len(runs)})


def words(comparison):
    """What is said of each figure."""
    return {figure.name: figure.word for figure in comparison.figures}


def test_a_change_common_to_all_pairs_is_seen_under_a_larger_spread(peak):
    """p99 doubles from seed to seed and is a fifth higher in B each time: worse, by 20 %."""
    a = repeated(peak, [1, 1, 1, 1], [100, 200, 400, 800])
    b = repeated(peak, [1, 1, 1, 1], [121, 239, 478, 964])
    found = compare_runs([a], [b])
    p99 = {figure.name: figure for figure in found.figures}["p99, ms"]
    assert p99.word == "worse"
    assert p99.change == pytest.approx(0.2, abs=0.01)
    assert p99.low < 0.2 < p99.high
    assert p99.pairs == 4
    assert words(found)["p50, ms"] == "same"
    assert (found.verdict, found.passed) == ("WORSE", False)
    assert compare_runs([b], [a]).verdict == "BETTER"


def test_noise_is_not_called_a_change(peak):
    """Pairs that differ in both directions by more than the tolerance are unclear, not worse."""
    found = compare_runs(
        [repeated(peak, [1, 1, 1], [10, 10, 10])], [repeated(peak, [1, 1, 1], [12, 9, 11])]
    )
    assert words(found)["p99, ms"] == "unclear"
    assert (found.verdict, found.passed) == ("UNCLEAR", True)


def test_intervals_hold_together(peak):
    """Of 400 comparisons of equal sides with noise, at most 5 % call any figure changed."""
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(400):
        p50, p99 = (10 * np.exp(rng.normal(0, 0.3, (2, 4))) for _ in range(2))
        found = compare_runs(
            [repeated(peak, p50[0], p99[0])], [repeated(peak, p50[1], p99[1])], tolerance=0
        )
        called += bool({"worse", "better"} & set(words(found).values()))
    assert called <= 0.05 * 400 + 3 * np.sqrt(400 * 0.05 * 0.95)


def test_one_run_each_is_compared_by_its_stretches(peak):
    """Without repeats ten parts of the run give the interval, and the report says so."""
    slower = [
        i.model_copy(update={"p50_ms": i.p50_ms and 1.5 * i.p50_ms}) for i in peak.report.intervals
    ]
    report = peak.report.model_copy(update={"intervals": tuple(slower)})
    found = compare_runs([peak], [peak.model_copy(update={"report": report})])
    p50 = {figure.name: figure for figure in found.figures}["p50, ms"]
    assert found.paired_by == "stretch"
    assert (p50.pairs, p50.word) == (10, "worse")
    assert p50.change == pytest.approx(0.5, abs=0.01)


def test_a_side_that_does_not_count_says_nothing(peak):
    """INVALID on one side is INVALID of the comparison, whatever the figures say."""
    a = repeated(peak, [1, 1, 1], [10, 10, 10])
    b = repeated(peak, [1, 1, 1], [10, 10, 10], valid=False)
    found = compare_runs([a], [b])
    assert (found.verdict, found.passed) == ("INVALID", False)


def test_sides_without_a_common_run_are_refused(peak):
    """Another rate is another test: both sides are named."""
    spec = peak.report.spec.model_copy(update={"rate": 17.0})
    other = peak.model_copy(update={"report": peak.report.model_copy(update={"spec": spec})})
    with pytest.raises(BadLoadSpec, match=r"no run in common.*B has peak at 17 rps"):
        compare_runs([peak], [other])


def test_page_says_the_word_and_draws_the_intervals(peak):
    """The page of a comparison has the verdict and an interval for each ratio."""
    a = repeated(peak, [1, 1, 1, 1], [100, 200, 400, 800])
    b = repeated(peak, [1, 1, 1, 1], [121, 239, 478, 964])
    html = comparison_page(compare_runs([a], [b])).html()
    assert "WORSE" in html
    assert "change from A to B" in html


@pytest.mark.e2e
def test_command_compares_two_servers_in_turns(command, server, rows, tmp_path):
    """A B B A: the second server takes 50 ms more: WORSE, exit code 1, and both are kept."""
    out = tmp_path / "both.json"
    asked = [
        *("--url", server("null"), "--against", server("freezing", "--latency", "0.05")),
        *("--inputs", str(rows), "--rate", "60", "--duration", "4", "--warmup", "0"),
        *("--repeats", "3", "--json", str(out), "--html", str(tmp_path / "both.html")),
        *("--max-send-lag-ms", "60000", "--max-generator-cpu", "1", "--no-null-check"),
    ]
    done = command(*asked)
    if "UNCLEAR" in done.stdout:  # a machine that pauses in one of three pairs: asked again
        done = command(*asked)
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["comparison"]["verdict"] == "WORSE"
    assert [run["seed"] for run in found["b"]["repeats"]] == [0, 1, 2]
    assert "WORSE" in (tmp_path / "both.html").read_text()


def test_command_compares_two_folders(raisehand, peak, tmp_path):
    """Folders of reports: exit code 0 where nothing changed; a folder without any is refused."""
    from click.testing import CliRunner

    from loadtests.commands import loadtest

    for side in "ab":
        (tmp_path / side).mkdir()
        (tmp_path / side / "one.json").write_text(peak.model_dump_json())
        (tmp_path / side / "other.json").write_text("{}")
    assert len(read_results(tmp_path / "a")) == 1
    call = ["compare", str(tmp_path / "a"), str(tmp_path / "b")]
    done = CliRunner().invoke(loadtest, [*call, "--json", str(tmp_path / "c.json")])
    assert done.exit_code == 0, done.output
    assert "SAME" in done.output
    assert json.loads((tmp_path / "c.json").read_text())["verdict"] == "SAME"
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadLoadSpec, match="holds no report of a load test"):
        read_results(tmp_path / "empty")
