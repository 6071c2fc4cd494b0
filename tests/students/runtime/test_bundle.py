"""A bundle vouches for its files, or it is refused."""

import json
import pickle
import sys

import pytest

from students.certificate import NEVER, Certificate
from students.errors import BadBundle
from students.runtime.bundle import (
    Manifest,
    draft,
    find_bundle,
    hash_files,
    publish,
    read_bundle,
)
from students.runtime.load import load_student
from students.teachers.protocol import TeacherDescriptor


def manifest(folder, **changes) -> Manifest:
    """A manifest of the files in a folder."""
    fields = {
        "task": "demo",
        "labels": ("no", "yes"),
        "family": "linear",
        "config": {"shortest": 2, "longest": 4},
        "temperature": 1.0,
        "confidence": "max_probability",
        "files": hash_files(folder),
        "teacher": TeacherDescriptor("classify", "m", "1", "", "{}"),
        "created": "2026-01-01",
    }
    return Manifest.model_validate(fields | changes)


def certificate(artefact: str, **changes) -> Certificate:
    """A certificate of an artefact."""
    fields = {
        "promise": "system",
        "agreement": 0.97,
        "confidence": 0.95,
        "thresholds": (0.5, 0.6),
        "n_calibration": 100,
        "n_accepted": 90,
        "disagreements": 0,
        "agreement_lower_bound": 0.97,
        "coverage": 0.9,
        "method": "test",
        "teacher_model": "m",
        "teacher_revision": "1",
        "teacher_mode": "classify",
        "artefact_sha256": artefact,
        "calibration_sha256": "0",
        "use": 1,
        "date": "2026-01-01",
    }
    return Certificate.model_validate(fields | changes)


def write(tmp_path, content: bytes = b"weights"):
    """Publish a bundle with this content."""
    with draft(tmp_path / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(content)
        return publish(folder, manifest(folder))


def test_what_is_published_is_found_again(tmp_path):
    """By `latest`, by id and by the beginning of the id; no draft is left behind."""
    first, second = write(tmp_path, b"1"), write(tmp_path, b"2")
    assert find_bundle(tmp_path) == second
    assert find_bundle(tmp_path, first.id) == first
    assert find_bundle(tmp_path, first.id[:6]) == first
    assert len(first.id) == 12
    assert sorted(p.name for p in (tmp_path / "bundles").iterdir()) == sorted(
        [first.id, second.id, "latest"]
    )


def test_a_manifest_from_before_l2_still_loads(tmp_path):
    """Its trials were trained without the penalty, and say so."""
    trial = {"temperature": 2.0, "hard_weight": 0.1, "kl": 0.07, "agreement": 0.95, "epochs": 6}
    with draft(tmp_path / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        text = json.loads(manifest(folder).model_dump_json()) | {"trials": [trial]}
        bundle = publish(folder, Manifest.model_validate_json(json.dumps(text)))
    (found,) = read_bundle(bundle.path).manifest.trials
    assert (found.l2, found.epochs) == (0.0, 6)


def test_nothing_to_find_is_one_clear_sentence(tmp_path):
    """No bundle yet, or no such bundle."""
    with pytest.raises(BadBundle, match="run `raisehand distill`"):
        find_bundle(tmp_path)
    one = write(tmp_path)
    with pytest.raises(BadBundle, match=f"0 bundles begin with 'zz'; there are {one.id}"):
        find_bundle(tmp_path, "zz")


def test_an_abandoned_draft_leaves_nothing(tmp_path):
    """A failure while writing leaves the older bundle as the newest."""
    one = write(tmp_path)
    with pytest.raises(OSError, match="disk"), draft(tmp_path / "bundles") as folder:
        raise OSError(f"disk full in {folder}")
    assert find_bundle(tmp_path) == one
    assert len(list((tmp_path / "bundles").iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"altered"])
def test_altered_weights_are_refused(tmp_path, content):
    """One changed byte is named with the file."""
    one = write(tmp_path)
    (one.path / "weights.safetensors").write_bytes(content)
    with pytest.raises(BadBundle, match=r"weights.safetensors was altered"):
        read_bundle(one.path)


def test_missing_files_are_refused(tmp_path):
    """No weights, no manifest: named, with what to do."""
    one = write(tmp_path)
    (one.path / "weights.safetensors").unlink()
    with pytest.raises(BadBundle, match="distil again"):
        read_bundle(one.path)
    (one.path / "manifest.json").unlink()
    with pytest.raises(BadBundle, match=r"holds no manifest\.json"):
        read_bundle(one.path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "raisehand-bundle/2"}'])
def test_another_format_is_refused(tmp_path, text):
    """Whatever stands in manifest.json, the answer is one sentence."""
    one = write(tmp_path)
    (one.path / "manifest.json").write_text(text)
    with pytest.raises(BadBundle, match="not a bundle manifest"):
        read_bundle(one.path)


def test_a_manifest_cannot_name_files_outside_its_bundle(tmp_path):
    """A path in `files` is not followed."""
    one = write(tmp_path)
    raw = json.loads((one.path / "manifest.json").read_text())
    raw["files"] = {"../latest": "0" * 64}
    (one.path / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(BadBundle, match="outside itself"):
        read_bundle(one.path)


@pytest.mark.parametrize("changes", [{"temperature": 1.1}, {"confidence": "margin"}])
def test_a_certificate_of_another_artefact_is_refused(tmp_path, changes):
    """Weights, temperature and kind of confidence are all certified: another one is refused."""
    with draft(tmp_path / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        plain = manifest(folder)
        good = plain.model_copy(update={"certificate": certificate(plain.artefact_sha256)})
        with pytest.raises(BadBundle, match="certificate of other weights"):
            publish(folder, good.model_copy(update=changes))
        assert publish(folder, good).manifest.thresholds == (0.5, 0.6)


def test_a_certificate_has_a_threshold_for_each_label(tmp_path):
    """One threshold too few is refused, not guessed."""
    with draft(tmp_path / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        plain = manifest(folder)
        short = certificate(plain.artefact_sha256, thresholds=(0.5,))
        with pytest.raises(BadBundle, match="1 thresholds for 2 labels"):
            publish(folder, plain.model_copy(update={"certificate": short}))


def test_without_a_certificate_everything_escalates(tmp_path):
    """The thresholds of an uncertified bundle are above every confidence."""
    assert write(tmp_path).manifest.thresholds == (NEVER, NEVER)


class _Trap:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (self.path.touch, ())


@pytest.mark.parametrize("family", ["linear", "encoder", "encoder-int8"])
def test_nothing_in_a_bundle_is_ever_unpickled(tmp_path, family):
    """T26: a pickle in place of every file that a student reads is refused, not run."""
    sprung = tmp_path / "sprung"
    trap = pickle.dumps(_Trap(sprung))
    names = ("weights.safetensors", "tokenizer.json", "config.json", "model.xml", "model.bin")
    with draft(tmp_path / "bundles") as folder:
        for name in (*names, "pytorch_model.bin", "model.pkl"):
            (folder / name).write_bytes(trap)
        config = {"shortest": 2, "longest": 4, "max_length": 16, "pad_id": 0}
        bundle = publish(folder, manifest(folder, family=family, config=config))
    with pytest.raises(BadBundle):
        load_student(bundle)
    assert not sprung.exists()
    pickle.loads(trap)
    assert sprung.exists()


@pytest.mark.parametrize(
    ("family", "library", "extra"),
    [
        ("encoder", "torch", "encoder"),
        ("encoder-onnx", "onnxruntime", "onnx"),
        ("encoder-int8", "openvino", "int8"),
    ],
)
def test_a_runtime_that_is_not_installed_is_named_with_its_extra(
    tmp_path, monkeypatch, family, library, extra
):
    """An operator who swaps in such a bundle reads what the router lacks."""
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delitem(sys.modules, "students.runtime.encoders.network", raising=False)
    with draft(tmp_path / "bundles") as folder:
        (folder / "weights.safetensors").write_bytes(b"weights")
        config = {"max_length": 16, "pad_id": 0}
        bundle = publish(folder, manifest(folder, family=family, config=config))
    with pytest.raises(BadBundle, match=rf"runs on {library}.*raisehand\[{extra}\]"):
        load_student(bundle)
