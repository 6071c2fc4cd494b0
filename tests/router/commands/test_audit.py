"""`raisehand audit` shows what the router saved."""

import json

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from router.cli import main
from router.commands.audit import _table, _with_interval
from router.errors import BadSettings
from router.promise.watch import judged_by
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from router.testing import sample_audit


@pytest.fixture
def task_file(tmp_path):
    """A task file beside an empty work_dir."""
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
        "work_dir": "work",
    }
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(task), encoding="utf-8")
    return path


def run(task_file, *options):
    """Run the command."""
    return CliRunner().invoke(main, ["audit", "--task", str(task_file), *options])


def tell(task_file, bundle, outcomes):
    """Store audits of kept answers, and whether student and teacher differed."""
    store = SqliteStore(task_file.parent / "work" / STORE_FILE)
    row = sample_audit(task="mail", bundle=bundle)
    audits = [(i, msgspec.structs.replace(row, disagreed=one)) for i, one in enumerate(outcomes)]
    store.fold("host/0", "mail", bundle, audits, judged_by("strict", 0.95))
    store.close()


def test_each_bundle_has_its_estimate_interval_and_status(task_file):
    """A bundle in alarm says what to do; the other is watched."""
    tell(task_file, "aaa", [i < 2 for i in range(100)])
    tell(task_file, "bbb", [True] * 100)
    done = run(task_file)
    assert done.exit_code == 0, done.output
    assert "2.00% [0.03%, 10.71%], at most 5.00%" in done.output
    assert "rung 0 of 1: the certified threshold" in done.output
    assert "rung 1 of 1: only the teacher answers (broken: overall)" in done.output
    assert "promise_broken, rung 1" in done.output
    report = json.loads(run(task_file, "--json").output)
    assert (report["aaa"]["status"], report["bbb"]["status"]) == ("watching", "alarm")
    assert report["aaa"]["disagreement"] == pytest.approx(0.02)


def test_no_audits_yet_is_said(task_file):
    """Nothing to show is not an error."""
    assert "No audits in" in run(task_file).output
    assert json.loads(run(task_file, "--json").output) == {}


def test_a_damaged_store_is_one_sentence(task_file):
    """It is named with what to do."""
    (task_file.parent / "work").mkdir()
    (task_file.parent / "work" / STORE_FILE).write_text("no database, whatever its name says")
    assert isinstance(run(task_file).exception, BadSettings)


def test_each_promised_class_has_a_line():
    """Its own audits, interval and what it may; a class that was never audited says so."""
    judge = judged_by("system", 0.8, classes={"urgent": 0.85})(None)
    for i in range(20):
        judge.observe(sample_audit(teacher_label="urgent", disagreed=i == 0, propensity=1.0))
    lines = _table({"a": _with_interval(judge.verdict.figures)})
    assert "urgent: 1 of 20 audits differ [" in lines[-1]
    assert lines[-1].endswith("at most 15.00%")
