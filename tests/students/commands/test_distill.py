"""`raisehand distill`: one screen, one JSON object, one exit code."""

import json
import weakref
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from students.commands.distill import distill
from students.distill import ladder, run
from students.errors import BadInputs, BadTask, NotCertifiable, SavesNothing
from students.label.labelled import LabelledSet
from students.labels import LabelSchema

SPLITS = {"train": 400, "validation": 60, "temperature": 60, "calibration": 200, "test": 100}


@pytest.fixture
def task_file(tmp_path, keep_labels):
    """A task whose labels are made: the text says the answer; promise set by the test."""
    rng = np.random.default_rng(0)
    n = sum(SPLITS.values())
    label = rng.integers(0, 2, n)
    texts = tuple(f"{'help us now' if y else 'all is well'} {i}" for i, y in enumerate(label))
    p = np.where(label[:, None] == np.arange(2), 0.9, 0.1).astype(np.float32)
    zero = np.zeros(n, np.float32)
    labels = LabelledSet(
        LabelSchema(("no", "yes")), texts, p, zero, zero > 1, label.astype(np.int32)
    )
    ends = np.cumsum(list(SPLITS.values()))
    splits = {
        name: np.arange(end - SPLITS[name], end)
        for name, end in zip(SPLITS, ends.tolist(), strict=True)
    }
    keep_labels(tmp_path / ".raisehand", labels, splits)

    def write(promise: str) -> str:
        path = tmp_path / "task.yaml"
        path.write_text(
            "name: demo\nlabels: ['no', 'yes']\n"
            "teacher: {mode: classify, base_url: 'http://127.0.0.1:9', model: m, "
            "price: {usd_per_mtok_input: 1, usd_per_mtok_output: 1}}\n"
            "inputs: {path: none.csv}\nstudent: {epochs: 3, temperatures: [1], hard_weights: [0]}\n"
            f"promise: {promise}\n"
        )
        return str(path)

    return write


@pytest.mark.torch
def test_the_screen_says_what_was_trained_and_what_is_proved(task_file):
    """The chosen setting, the agreement, the statement and where the bundle lies."""
    result = CliRunner().invoke(distill, ["--task", task_file("{agreement: 0.95}")])
    assert result.exit_code == 0, result.output
    for words in ("Chosen", "T = 1, λ = 0, L2 = ", "With probability at least 95%", "Written to"):
        assert words in result.output


@pytest.mark.parametrize(
    ("l2", "fault"),
    [
        ("[0, -1]", "student.l2.1: Input should be greater than or equal to 0 (found -1)"),
        ("[.inf]", "student.l2.0: Input should be a finite number (found inf)"),
        ("0.1", "student.l2: Input should be a valid tuple (found 0.1)"),
        ("[]", "student.l2: Tuple should have at least 1 item after validation, not 0"),
    ],
)
def test_a_wrong_l2_is_one_clear_sentence(task_file, tmp_path, l2, fault):
    """The field, what it takes and what was found; nothing is trained."""
    path = Path(task_file("{agreement: 0.95}"))
    path.write_text(path.read_text().replace("epochs: 3", f"epochs: 3, l2: {l2}"))
    result = CliRunner().invoke(distill, ["--task", str(path)])
    assert isinstance(result.exception, BadTask)
    assert fault in str(result.exception)
    assert not (tmp_path / ".raisehand/bundles").exists()


@pytest.mark.torch
def test_json_is_one_object_with_the_certificate(task_file):
    """Machines get every number under its name."""
    result = CliRunner().invoke(distill, ["--task", task_file("{agreement: 0.95}"), "--json"])
    out = json.loads(result.stdout)
    assert out["certificate"]["n_calibration"] == 200
    assert out["refusal"] is None
    assert out["evaluation"]["agreement"]["rate"] == 1.0
    assert len(out["bundle"]) == 12


@pytest.mark.torch
def test_a_refusal_is_exit_code_3_and_names_the_bundle(task_file):
    """99.9 % cannot be proved on 200 rows: the feasible best, the rows needed, the bundle's id."""
    result = CliRunner().invoke(distill, ["--task", task_file("{agreement: 0.999}"), "--json"])
    assert isinstance(result.exception, NotCertifiable)
    assert result.exception.exit_code == 3
    out = json.loads(result.stdout)
    assert out["certificate"] is None
    assert out["refusal"]["rows_needed"] > 200
    assert f"Bundle {out['bundle']} is written without a certificate" in str(result.exception)


@pytest.mark.torch
def test_a_certificate_that_saves_nothing_is_exit_code_5_and_says_so_first(task_file, monkeypatch):
    """The first line says it, the message says what would help, the bundle is there."""
    monkeypatch.setattr("students.distill.worth.LEAST_KEPT", 1.01)
    path = task_file("{agreement: 0.95}")
    result = CliRunner().invoke(distill, ["--task", path])
    assert isinstance(result.exception, SavesNothing)
    assert result.exception.exit_code == 5
    assert result.stdout.startswith("This certificate saves nothing: the student keeps 100.0% of")
    assert "Written to" in result.stdout
    assert "or promise less" in str(result.exception)
    out = json.loads(CliRunner().invoke(distill, ["--task", path, "--json"]).stdout)
    assert out["saves_nothing"].startswith("This certificate saves nothing")


def test_without_labels_it_says_what_to_run(task_file, tmp_path):
    """Labels come first."""
    result = CliRunner().invoke(
        distill, ["--task", task_file("{}"), "--labels", str(tmp_path / "nothing")]
    )
    assert isinstance(result.exception, BadInputs)
    assert "raisehand label" in str(result.exception)


def test_labels_are_not_held_beside_their_parts(task_file, monkeypatch):
    """A million rows of 77 labels are 0.3 GB: they were held twice while a student learnt."""
    held = []
    take_parts = run.take_parts

    def noted(task, labelled, splits):
        held.append(weakref.ref(labelled.probabilities))
        return take_parts(task, labelled, splits)

    def climb(task, part, **_):
        assert held[0]() is None
        assert len(part["train"]) == SPLITS["train"]
        raise BadInputs("seen")

    monkeypatch.setattr(run, "take_parts", noted)
    monkeypatch.setattr(ladder, "climb", climb)
    result = CliRunner().invoke(distill, ["--task", task_file("{agreement: 0.95}")])
    assert isinstance(result.exception, BadInputs), result.exception
