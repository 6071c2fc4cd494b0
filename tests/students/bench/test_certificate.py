"""The simulated deployments: the truth is right, and a broken promise is seen."""

import json

from click.testing import CliRunner

from students.bench import certificate as bench
from students.bench import whole_way
from students.bench.certificate import certificate
from students.bench.certificate_page import page_of
from students.bench.placement import CURVES, PROCEDURES, SIZES
from students.bench.whole_way import piles
from students.label.split import split_inputs


def test_bench_reports_every_cell_and_sees_the_naive_way_fail():
    """Certified promises hold over 100 deployments a cell; the best-looking threshold fails."""
    result = CliRunner().invoke(
        certificate,
        ["--deployments", "100", "--pile-deployments", "2", "--processes", "1", "--json"],
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert len(report["cells"]) == len(CURVES) * len(SIZES) * len(PROCEDURES)
    assert report["violation_excess"] <= 0
    assert {c["pile"] for c in report["piles"]} == {pile.name for pile in piles()}
    naive = [c for c in report["cells"] if c["procedure"] == "best looking threshold"]
    assert max(c["broken"] for c in naive) > 0.9


def test_a_broken_promise_is_named_and_ends_with_exit_code_1(monkeypatch, tmp_path):
    """Near-copies dealt whole, as the split once did: the pile is named, figures and page stay."""
    template = next(pile for pile in piles() if pile.name == "template, 30 %")
    monkeypatch.setattr(bench, "piles", lambda: (template,))
    monkeypatch.setattr(
        whole_way,
        "split_inputs",
        lambda inputs, seed: whole_way._together(inputs, split_inputs(inputs, seed=seed), seed),
    )
    result = CliRunner().invoke(
        certificate,
        [
            *("--deployments", "100", "--pile-deployments", "12", "--processes", "1"),
            *("--out", str(tmp_path)),
        ],
    )
    assert result.exit_code == 1, result.output
    assert "Broken promises: system on the pile template, 30 %" in result.stderr
    report = json.loads((tmp_path / "certificate.json").read_text(encoding="utf-8"))
    assert report["violation_excess"] > 0
    assert (tmp_path / "certificate.md").read_text(encoding="utf-8") == page_of(report)
