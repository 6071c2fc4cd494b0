"""The labelling bench measures what it says."""

import json

import pytest
from click.testing import CliRunner

from router.cli import main


def test_figures_are_of_the_run():
    """Rows, rate and memory fit each other; a busy share above 1 is impossible."""
    options = ["--rows", "200", "--max-concurrency", "8", "--teacher-ms", "10", "--json"]
    result = CliRunner().invoke(main, ["bench", "labelling", *options])
    assert result.exit_code == 0, result.output
    figures = json.loads(result.stdout)
    assert figures["rows"] == 200
    assert figures["seconds"] >= 200 * 0.01 / 8
    assert figures["busy"] == pytest.approx(200 * 0.01 / 8 / figures["seconds"], rel=0.05)
    assert 0 < figures["busy"] <= 1
    assert figures["peak_rss_mb"] > 10
    assert figures["cpu_us_per_text"] > 0
