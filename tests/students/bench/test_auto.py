"""`raisehand bench auto`: several looks at one set of rows keep the promise that one look made."""

import json

from click.testing import CliRunner

from students.bench.auto import SIZES, WAYS, WORLDS, auto


def test_auto_keeps_its_promises_and_the_usual_way_is_seen_to_break_them():
    """Within delta in every world over 100 deployments; the whole delta for each is not."""
    done = CliRunner().invoke(auto, ["--deployments", "100", "--json"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    cells = shown["cells"]
    assert len(cells) == len(WORLDS) * len(SIZES) * len(WAYS)
    assert shown["violation_excess"] <= 0
    of = {(c["world"], c["n_calibration"], c["way"]): c for c in cells}
    hard = "all just too bad to keep everything"
    naive = [of[hard, n, WAYS[1]]["broken"] for n in SIZES]
    assert max(naive) > shown["delta"]
    assert all(of[hard, n, WAYS[0]]["broken"] < of[hard, n, WAYS[1]]["broken"] for n in SIZES)
    assert of["all alike and good", 3000, WAYS[0]]["looks"] > 1
    assert of["all alike and good", 3000, WAYS[0]]["coverage"] > 0.5
    assert "looks" in CliRunner().invoke(auto, ["--deployments", "20"]).stdout
