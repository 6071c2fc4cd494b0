"""`raisehand evaluate`: the bundle itself answers the test rows, as it would when serving."""

import json

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from router.cli import main
from students.certify.calibration import fit_temperature
from students.distill.answers import answer
from students.errors import BadBundle, BadInputs
from students.label.labelled import LabelledSet
from students.label.record import (
    Agreement,
    LabellingRecord,
    LabelUsage,
    TeacherIdentity,
    load_labels,
    save_labels,
)
from students.runtime.bundle import Bundle, find_bundle
from students.runtime.load import load_student
from students.task import load_task

pytestmark = pytest.mark.torch
SPLITS = {"train": 500, "validation": 100, "temperature": 100, "calibration": 400, "test": 300}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A task with labels of 1,400 texts and the bundle that was distilled from them."""
    path = tmp_path_factory.mktemp("evaluate")
    task = {
        "name": "mail",
        "labels": ["calm", "urgent"],
        "teacher": {
            "mode": "classify",
            "base_url": "http://127.0.0.1:9",
            "model": "m",
            "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
        },
        "inputs": {"path": "inputs.csv"},
        "promise": {"agreement": 0.9, "confidence": 0.9},
        "student": {"epochs": 2, "temperatures": [1.0], "hard_weights": [0.0]},
        "work_dir": "work",
    }
    (path / "task.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
    write_labels(path)
    done = CliRunner().invoke(main, ["distill", "--task", str(path / "task.yaml")])
    assert done.exit_code == 0, done.output
    return path


def write_labels(path, seed=0):
    """Write labels that a text gives away, save for one in twenty."""
    rng = np.random.default_rng(seed)
    n = sum(SPLITS.values())
    urgent = rng.random(n) < 0.4
    texts = [
        f"{'please help us now' if u else 'a fine quiet day'} {rng.integers(10**9)}" for u in urgent
    ]
    said = np.where(rng.random(n) < 0.05, ~urgent, urgent)
    p = np.where(said, 0.9, 0.1).astype(np.float32)
    labelled = LabelledSet(
        load_task(path / "task.yaml").schema_,
        tuple(texts),
        np.stack([1 - p, p], axis=1),
        np.zeros(n, np.float32),
        np.zeros(n, bool),
        urgent.astype(np.int32),
    )
    ends = np.cumsum(list(SPLITS.values()))
    record = LabellingRecord(
        task="mail",
        teacher=TeacherIdentity(
            mode="classify", model="m", revision="unknown", prompt_sha256="", parameters="{}"
        ),
        labels_sha256=labelled.sha256,
        inputs_sha256="",
        n=n,
        usd=1,
        unconfirmed_usd=0,
        usage=LabelUsage(input_tokens=1, output_tokens=1, cached_input_tokens=0, requests=1),
        price="a price",
        asked=n,
        cached=0,
        rejected=0,
        refused=0,
        unusable=0,
        self_agreement=Agreement(n=100, agreed=99),
        label_mass=(0,) * 9 + (n,),
        unsure=0,
        truncated=0,
        gold=None,
        splits={
            name: list(range(end - size, end))
            for (name, size), end in zip(SPLITS.items(), ends, strict=True)
        },
        seed=0,
        date="2026-11-24",
    )
    save_labels(path / "work", labelled, record)


def run(folder, *options):
    """Run the command."""
    return CliRunner().invoke(main, ["evaluate", "--task", str(folder / "task.yaml"), *options])


def test_the_block_has_every_part(folder):
    """Teacher, student, cascade, probabilities, routing and promise, with n and the statement."""
    done = run(folder)
    assert done.exit_code == 0, done.output
    for part in ("Teacher", "Student", "Cascade", "Probabilities", "Routing", "Promise"):
        assert part in done.stdout
    assert "300 untouched test rows" in done.stdout
    assert "99.00%" in done.stdout


def test_json_is_one_object_with_what_the_bundle_says_of_itself(folder):
    """The same rows measured again give what distillation wrote into the manifest."""
    done = run(folder, "--json")
    report = json.loads(done.stdout)
    bundle = folder / "work" / "bundles" / report["bundle"]
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert report["evaluation"] == manifest["evaluation"]
    assert report["evaluation"]["n"] == 300
    assert report["certificate"]["agreement"] == 0.9
    assert "With probability at least 90%" in report["statement"]


def test_html_is_written_and_says_where(folder, tmp_path):
    """The page lands where it was asked for, in a folder that is made."""
    target = tmp_path / "new" / "report.html"
    done = run(folder, "--html", str(target))
    assert f"Wrote {target}" in done.stderr
    assert target.read_text(encoding="utf-8").count("<svg") == 2


def test_rows_of_other_labels_are_not_test_rows(folder, tmp_path):
    """New labels may have dealt training rows into test: refused, in one sentence."""
    labelled, record = load_labels(folder / "work")
    other = labelled.take(np.arange(len(labelled))[::-1])
    save_labels(tmp_path, other, record.model_copy(update={"labels_sha256": other.sha256}))
    done = run(folder, "--labels", str(tmp_path))
    assert isinstance(done.exception, BadInputs)
    assert "made from other labels" in str(done.exception)


def test_an_unknown_bundle_is_one_sentence(folder):
    """The bundles that there are get named."""
    done = run(folder, "--bundle", "ffffffffffff")
    assert isinstance(done.exception, BadBundle)


def test_the_temperature_is_fitted_on_rows_of_its_own(folder):
    """Fitting again on the temperature rows gives the bundle's; training rows are not it."""
    bundle = find_bundle(folder / "work")
    labelled, record = load_labels(folder / "work")
    raw = Bundle(bundle.path, bundle.manifest.model_copy(update={"temperature": 1.0}))
    student = load_student(raw)

    def fitted(split):
        rows = labelled.take(record.split_rows()[split])
        p = answer(student, rows.texts).probabilities
        return fit_temperature(np.log(np.maximum(p, np.finfo(np.float32).tiny)), rows.probabilities)

    assert fitted("temperature") == pytest.approx(bundle.manifest.temperature, abs=1e-6)
    assert fitted("train") != pytest.approx(bundle.manifest.temperature, abs=1e-3)
