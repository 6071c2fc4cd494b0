"""`raisehand bench gate`: a gate beside a distilled student, judged on texts of another task."""

import csv
import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from students.bench.gate import GateFigures, _auroc, gate, gate_table


@pytest.fixture
def task_file(make_labels, split_rows, keep_labels, make_task, tmp_path):
    """A labelled task."""
    keep_labels(tmp_path, make_labels(), split_rows)
    document = make_task(tmp_path, agreement=0.9).model_dump(mode="json", exclude_unset=True)
    (tmp_path / "task.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return tmp_path / "task.yaml"


def write(path, texts, column="text"):
    """Write other texts."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerows([[column], *([text] for text in texts)])
    return str(path)


@pytest.mark.torch
def test_texts_of_other_words_are_kept_less_with_the_gate(task_file, tmp_path):
    """It tells them apart; own texts lose about what they may, and with a tighter one more."""
    rng = np.random.default_rng(0)
    others = [
        " ".join("".join(rng.choice(list("qwxzjv"), 6)) for _ in range(8)) for _ in range(200)
    ]
    other = write(tmp_path / "other.csv", others, "words")
    asked = ["--task", str(task_file), "--other", other, "--column", "words"]
    done = CliRunner().invoke(gate, [*asked, "--json"])
    assert done.exit_code == 0, done.output
    wide, tight = json.loads(done.stdout)
    assert (wide["in_scope"], tight["in_scope"], wide["others"]) == (0.99, 0.95, 200)
    assert wide["auroc_gate"] > 0.99
    assert wide["others_after"] < 0.05
    assert tight["own_after"] <= wide["own_after"] <= wide["own_before"]
    assert wide["own_after"] > wide["own_before"] - 0.1
    assert not (tmp_path / "certificates.jsonl").exists()


def test_a_file_without_such_texts_is_one_sentence(task_file, tmp_path):
    """The columns that are there are named."""
    other = write(tmp_path / "other.csv", ["a"], "words")
    done = CliRunner().invoke(gate, ["--task", str(task_file), "--other", other])
    assert "has the columns words and no text" in str(done.exception)


def test_the_area_is_a_probability():
    """Ties count half."""
    assert _auroc(np.array([2.0, 3.0]), np.array([1.0])) == 1.0
    assert _auroc(np.array([1.0]), np.array([1.0, 1.0])) == 0.5
    assert _auroc(np.array([0.0, 2.0]), np.array([1.0])) == 0.5


def test_the_table_is_markdown():
    """As the page of measurements holds it."""
    one = GateFigures(0.99, 1_000, 2_000, 0.643, 0.75, 0.851, 0.842, 0.83, 0.797)
    assert gate_table([one]).splitlines()[-1] == (
        "| 2,000 | 0.643 | 0.750 | 0.99 | 85.1% → 84.2% of 1,000 | 83.0% → 79.7% |"
    )
