"""`raisehand bundle` takes a bundle from one host's folder to another's."""

import json

import pytest
import yaml
from click.testing import CliRunner

from router.cli import main
from students.runtime.bundle import Manifest, draft, find_bundle, hash_files, publish
from students.teachers.protocol import TeacherDescriptor


def host(folder):
    """A host with the task."""
    folder.mkdir()
    teacher = {
        "mode": "classify",
        "base_url": "http://127.0.0.1:9",
        "model": "m",
        "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
    }
    task = {"name": "demo", "labels": ["no", "yes"], "teacher": teacher, "inputs": {"path": "x"}}
    (folder / "task.yaml").write_text(yaml.safe_dump(task))
    return folder


def make(work_dir):
    """Publish a bundle."""
    with draft(work_dir / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        manifest = Manifest(
            task="demo",
            labels=("no", "yes"),
            family="linear",
            config={},
            temperature=1.0,
            confidence="max_probability",
            files=hash_files(folder),
            teacher=TeacherDescriptor("classify", "m", "1", "", "{}"),
            created="2026-01-01",
        )
        return publish(folder, manifest)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the command at a host, with the store in the environment."""
    monkeypatch.setenv("RAISEHAND_BUNDLE_STORE", f"file://{tmp_path}/store")

    def at(where, *arguments, code=0):
        task = [] if arguments[0] == "list" else ["--task", str(where / "task.yaml")]
        done = CliRunner().invoke(main, ["bundle", *arguments, *task])
        assert done.exit_code == code, done.output
        return done.stdout

    return at


def test_a_bundle_goes_from_host_to_host(tmp_path, run):
    """Push the newest, list it, pull it by the beginning of its id; it serves where none was."""
    one, two = host(tmp_path / "one"), host(tmp_path / "two")
    bundle = make(one / ".raisehand")
    assert run(one, "push").strip() == bundle.id
    [listed] = json.loads(run(one, "list", "--json"))
    assert (listed["id"], listed["sha256"]) == (bundle.id, bundle.digest)
    assert f"{bundle.id}  2026-01-01  demo" in run(one, "list")
    assert run(two, "pull", bundle.id[:5]).strip() == bundle.id
    assert find_bundle(two / ".raisehand").id == bundle.id


def test_no_store_is_a_usage_error(tmp_path, monkeypatch):
    """The sentence names the option and the variable."""
    monkeypatch.delenv("RAISEHAND_BUNDLE_STORE", raising=False)
    done = CliRunner().invoke(main, ["bundle", "list"])
    assert done.exit_code == 2
    assert "--store" in done.output
