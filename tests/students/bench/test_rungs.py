"""`raisehand bench rungs`: each student distilled as the product does, compared in pairs."""

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from students.bench.rungs import RungFigures, rungs, summary
from students.label.record import LABELS_FILE, RECORD_FILE


def _outcome(escalated, seed, n=500):
    rng = np.random.default_rng(seed)
    out = rng.random(n) < escalated
    agree = rng.random(n) < 0.9
    rows = np.stack([agree, out, agree | out], axis=1).astype(float)
    return RungFigures(rows, True, escalated, 10.0 + seed, 20.0, 100.0)


def test_a_rung_is_compared_with_the_one_before_in_pairs():
    """A real difference excludes zero; the same students differ by exactly nothing."""
    dear, cheap = ([_outcome(rate, seed) for seed in range(3)] for rate in (0.3, 0.1))
    shown = summary({"linear": dear, "frozen": cheap, "blend": cheap})
    first, second, third = shown
    assert "escalated_less_than_before" not in first
    assert "system_accuracy" not in first  # there is no gold
    estimate, low, _ = second["escalated_less_than_before"]
    assert estimate == pytest.approx(0.2, abs=0.05)
    assert low > 0.1
    assert third["escalated_less_than_before"] == [0.0, 0.0, 0.0]
    low, high = first["escalated"][1:]
    assert low < first["escalated"][0] < high
    assert (first["train_s"], first["first_train_s"], first["certified"]) == (11.0, 10.0, 3)


@pytest.mark.torch
def test_every_student_is_measured_without_touching_the_tasks_ledger(
    make_labels, split_rows, keep_labels, tiny_encoder, tmp_path, monkeypatch
):
    """Linear, frozen and blend on two seeds; vectors are kept for the next run, looks are not."""
    work = tmp_path / ".raisehand"
    data = make_labels()
    keep_labels(work, data, split_rows)
    task = tmp_path / "task.yaml"
    task.write_text(
        yaml.safe_dump(
            {
                "name": "demo",
                "labels": list(data.schema.names),
                "teacher": {
                    "mode": "classify", "base_url": "http://127.0.0.1:9", "model": "scripted",
                    "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
                },
                "inputs": {"path": "none.csv"},
                "promise": {"agreement": 0.9},
                "student": {
                    "encoder_path": str(tiny_encoder), "temperatures": [1], "epochs": 3,
                },
            }
        )
    )  # fmt: skip
    ask = ["--task", str(task), "--keep", str(tmp_path / "kept")]
    done = CliRunner().invoke(rungs, [*ask, "--seeds", "2", "--json"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.stdout)
    assert [one["student"] for one in shown["students"]] == ["linear", "frozen", "blend"]
    assert all(one["certified"] == 2 for one in shown["students"])
    assert all(0 <= one["escalated"][0] < 0.5 for one in shown["students"])
    assert all(one["system_accuracy"][0] > 0.8 for one in shown["students"])
    assert sorted(p.name for p in work.iterdir()) == ["embeddings", RECORD_FILE, LABELS_FILE]
    monkeypatch.setattr("students.bench.rungs.measure", None)  # all has been measured
    again = CliRunner().invoke(rungs, [*ask, "--seeds", "2", "--json"])
    assert json.loads(again.stdout) == shown
    words = CliRunner().invoke(rungs, [*ask, "--seeds", "1", "--family", "linear"])
    assert "linear" in words.stdout.splitlines()[1]
