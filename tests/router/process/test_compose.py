"""What keeps a bundle from serving a task: found out at the start, in one sentence."""

import pytest

from router.errors import BadSettings
from router.process.compose import load_model
from router.settings import Settings
from students.certificate import Certificate
from students.runtime.bundle import Manifest, draft, hash_files, publish
from students.task import Task
from students.teachers import make_teacher


def make_task(tmp_path, revision="1"):
    """A task whose teacher has this revision."""
    return Task.model_validate(
        {
            "name": "mail",
            "labels": ["calm", "urgent"],
            "teacher": {
                "mode": "classify",
                "base_url": "http://127.0.0.1:9",
                "model": "m",
                "revision": revision,
                "price": {"usd_per_mtok_input": 1, "usd_per_mtok_output": 1},
            },
            "inputs": {"path": "inputs.csv"},
            "work_dir": tmp_path,
        }
    )


def publish_bundle(task, *, certified=True, labels=None):
    """Publish a bundle certified against the task's teacher; its weights are never read here."""
    teacher = make_teacher(task).descriptor
    with draft(task.work_dir / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        manifest = Manifest(
            task=task.name,
            labels=labels or task.schema_.names,
            family="linear",
            config={},
            temperature=1.0,
            confidence="max_probability",
            files=hash_files(folder),
            teacher=teacher,
            created="2026-11-24",
        )
        certificate = Certificate(
            promise="system",
            agreement=0.97,
            confidence=0.95,
            thresholds=(0.5, 0.5),
            n_calibration=100,
            n_accepted=90,
            disagreements=0,
            agreement_lower_bound=0.97,
            coverage=0.9,
            method="exact",
            teacher_model=teacher.model,
            teacher_revision=teacher.revision,
            teacher_mode=teacher.mode,
            artefact_sha256=manifest.artefact_sha256,
            calibration_sha256="0",
            use=1,
            date="2026-11-24",
        )
        update = {"certificate": certificate if certified else None}
        return publish(folder, manifest.model_copy(update=update))


def test_a_teacher_upgrade_decertifies(tmp_path):
    """Another revision in the task file: refused, with both revisions named."""
    publish_bundle(make_task(tmp_path, "1"))
    with pytest.raises(BadSettings, match="revision '1' is now '2'"):
        load_model(make_task(tmp_path, "2"), None, Settings())


def test_a_bundle_without_a_certificate_does_not_serve(tmp_path):
    """Nothing proved, nothing served."""
    task = make_task(tmp_path)
    publish_bundle(task, certified=False)
    with pytest.raises(BadSettings, match="has no certificate"):
        load_model(task, None, Settings())


def test_a_bundle_of_other_labels_does_not_serve(tmp_path):
    """Label order and names are part of the contract."""
    task = make_task(tmp_path)
    publish_bundle(task, labels=("urgent", "calm"))
    with pytest.raises(BadSettings, match="answers urgent, calm, task mail has calm, urgent"):
        load_model(task, None, Settings())
