"""`raisehand audit` shows what the router saved."""

import json

import pytest
import yaml
from click.testing import CliRunner

from router.cli import main
from router.errors import BadSettings
from router.promise.audit import open_watch


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


def test_each_bundle_has_its_estimate_interval_and_status(task_file):
    """A bundle in alarm says what to do; the other is watched."""
    folder = task_file.parent / "work" / "audits"
    good, bad = (open_watch(folder, name, "strict", 0.95) for name in ("aaa", "bbb"))
    for i in range(100):
        good.audited(i < 2, 0.01)
        bad.audited(True, 0.01)
    good.save()
    done = run(task_file)
    assert done.exit_code == 0, done.output
    assert "2.00% [0.24%, 7.04%], at most 5.00%" in done.output
    assert "In alarm: everything escalates" in done.output
    report = json.loads(run(task_file, "--json").output)
    assert (report["aaa"]["status"], report["bbb"]["status"]) == ("watching", "alarm")
    assert report["aaa"]["disagreement"] == pytest.approx(0.02)


def test_each_worker_has_its_own_evidence(task_file):
    """Evidence of a worker process is shown under its folder's name."""
    watch = open_watch(task_file.parent / "work/audits/worker-0-of-2", "aaa", "strict", 0.95)
    watch.audited(False, 0.01)
    watch.save()
    assert list(json.loads(run(task_file, "--json").output)) == ["worker-0-of-2/aaa"]
    assert "worker-0-of-2/aaa  watching" in run(task_file).output


def test_no_audits_yet_is_said(task_file):
    """Nothing to show is not an error."""
    assert "No audits in" in run(task_file).output
    assert json.loads(run(task_file, "--json").output) == {}


def test_a_damaged_file_is_one_sentence(task_file):
    """It is named with what to do."""
    folder = task_file.parent / "work" / "audits"
    folder.mkdir(parents=True)
    (folder / "aaa.json").write_text("{}")
    assert isinstance(run(task_file).exception, BadSettings)
