"""Results on disk are read whatever wrote them, and shown in a row."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from loadtests.commands import loadtest
from loadtests.compare.results import read_history
from loadtests.errors import BadLoadSpec
from loadtests.verdict.conclusion import Conclusion, history_line

REPORTS = Path(__file__).parents[3] / "docs" / "reports"


@pytest.fixture
def lines(tmp_path):
    """A history of two tests, the later one first, and one line as older versions wrote it."""
    peak = Conclusion.model_validate_json((REPORTS / "peak.json").read_bytes())
    later = peak.model_copy(update={"at": "2027-01-01T00:00:00+00:00"})
    old = '{"at":"2025-01-01T00:00:00+00:00","scenario":"peak",'
    old += '"passed":true,"rate":1,"goodput_rps":1}'
    path = tmp_path / "loadtests.jsonl"
    path.write_text(history_line(later) + history_line(peak) + old + "\n")
    return path


def test_a_history_is_read_the_oldest_first(lines):
    """Lines of other versions, too; a verdict that a line lacks follows from what it has."""
    found = read_history([lines])
    assert [line.at[:4] for line in found] == ["2025", "2026", "2027"]
    assert [line.verdict for line in found] == ["PASS"] * 3


def test_reports_are_part_of_a_history():
    """A folder of reports is a history, too."""
    assert {line.scenario for line in read_history([REPORTS])} >= {"peak", "burst"}


def test_a_line_that_is_none_is_named(lines):
    """The file and the line are said."""
    with lines.open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(BadLoadSpec, match=r"loadtests\.jsonl, line 4"):
        read_history([lines])


def test_command_shows_the_trend(lines, tmp_path):
    """Every test is a row, each scenario a plot of the page."""
    page = tmp_path / "trend.html"
    done = CliRunner().invoke(loadtest, ["history", str(lines), "--html", str(page)])
    assert done.exit_code == 0, done.output
    assert done.output.count("peak") == 3
    html = page.read_text()
    assert "p99, ms" in html
    assert "3 tests of peak" in html


def test_options_of_a_test_before_a_subcommand_are_refused(lines):
    """`loadtest --rate 5 history …` would ignore the rate."""
    done = CliRunner().invoke(loadtest, ["--rate", "5", "history", str(lines)])
    assert isinstance(done.exception, BadLoadSpec)
