"""The encoder student: trained, interrupted, written, read, exported, proved anew."""

import shutil

import numpy as np
import pytest

from students.distill.answers import answer
from students.distill.run import distill, take_parts
from students.errors import BadBundle, BadTask
from students.runtime.bundle import Bundle, draft, hash_files
from students.runtime.load import load_student
from students.teachers.protocol import TeacherDescriptor

pytestmark = pytest.mark.torch

TEACHER = TeacherDescriptor("classify", "scripted", "1", "", "{}")


@pytest.fixture(scope="module")
def encoder_task(make_task, tiny_encoder, tmp_path_factory):
    """The small task with the tiny encoder as its student."""
    return make_task(
        tmp_path_factory.mktemp("encoder"),
        student={
            "family": "encoder",
            "encoder_path": tiny_encoder,
            "temperatures": [1],
            "epochs": 3,
        },
        agreement=0.95,
    )


@pytest.fixture(scope="module")
def encoder(encoder_task, make_labels, split_rows):
    """An encoder student distilled from the easy labels."""
    return distill(
        encoder_task, take_parts(encoder_task, make_labels(), split_rows), teacher=TEACHER
    )


def test_an_encoder_is_distilled_certified_and_served(encoder, make_labels, split_rows):
    """The bundle found on disk gives the answers it was certified with."""
    m = encoder.bundle.manifest
    assert encoder.refusal is None
    assert m.family == "encoder"
    assert sorted(m.files) == ["config.json", "seen.npy", "tokenizer.json", "weights.safetensors"]
    rows = make_labels().take(split_rows["calibration"])
    said = answer(load_student(encoder.bundle), rows.texts)
    assert (said.labels == rows.teacher).mean() > 0.8
    kept = said.confidence >= np.array(m.thresholds)[said.labels]
    assert abs(int(kept.sum()) - m.certificate.n_accepted) <= 1


def test_a_student_with_other_scores_than_certified_is_not_loaded(encoder):
    """A bundle remembers what its student said; weights that say otherwise here are refused."""
    m = encoder.bundle.manifest
    first = m.probes[0]
    moved = first.model_copy(update={"probability": (first.probability + 0.5) % 1.0})
    other = m.model_copy(update={"probes": (moved, *m.probes[1:])})
    with pytest.raises(BadBundle, match="other scores here than where it was certified"):
        load_student(Bundle(encoder.bundle.path, other))


def test_a_label_does_not_depend_on_its_batch(encoder):
    """Alone or among longer texts: the same label, confidence within float32 rounding."""
    student = load_student(encoder.bundle)
    texts = ["please send water", "nice photo " * 20, "", "\ud800\0 food", "news " * 50_000]
    together = student.predict(texts)
    alone = [student.predict([text])[0] for text in texts]
    assert [p.label for p in together] == [p.label for p in alone]
    assert np.allclose([p.confidence for p in together], [p.confidence for p in alone], atol=1e-5)
    assert student.predict([]) == []
    assert student.token_count("") == 2
    assert student.token_count("x" * 10**6) == student.token_count("x" * 10**5)


def test_an_interrupted_training_goes_on_to_the_same_weights(
    tiny_encoder, make_labels, split_rows, tmp_path
):
    """Stopped after an epoch and started again: the same network as without the interruption."""
    from students.train.encoder import train_encoder_student
    from students.train.training import Recipe

    data = make_labels()
    parts = data.take(split_rows["train"][:128]), data.take(split_rows["validation"])
    recipe = Recipe(epochs=3, lr=1e-3)

    def train(checkpoints, progress=None):
        return train_encoder_student(
            *parts, tiny_encoder, recipe, checkpoints=checkpoints, progress=progress
        )

    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done > total // 3:
            raise Killed

    with pytest.raises(Killed):
        train(tmp_path, kill)
    assert len(list(tmp_path.glob("*.pt"))) == 1
    steps = []
    resumed, whole = train(tmp_path, lambda n, of: steps.append(n)), train(None)
    assert steps[0] == 5
    assert list(tmp_path.iterdir()) == []
    for name, weight in whole.network.state_dict().items():
        assert np.array_equal(weight.numpy(), resumed.network.state_dict()[name].numpy()), name


def test_gradient_checkpointing_changes_memory_not_weights(tiny_encoder, make_labels, split_rows):
    """Activations computed twice, dropout included, give the gradients of those kept."""
    from students.train.encoder import train_encoder_student
    from students.train.training import Recipe

    data = make_labels()
    parts = data.take(split_rows["train"][:128]), data.take(split_rows["validation"])

    def train(spare):
        return train_encoder_student(
            *parts, tiny_encoder, Recipe(epochs=2, lr=1e-3), gradient_checkpointing=spare
        ).network

    kept, spared = train(False), train(True)
    assert any(getattr(part, "gradient_checkpointing", False) for part in spared.modules())
    for name, weight in kept.state_dict().items():
        assert np.allclose(weight.numpy(), spared.state_dict()[name].numpy(), atol=1e-6), name


@pytest.mark.parametrize("path", [None, "nowhere"])
def test_without_an_encoder_it_says_which_field_is_wrong(
    path, make_task, make_labels, split_rows, tmp_path
):
    """No encoder_path, or a folder that holds none."""
    student = {"family": "encoder", "encoder_path": path and str(tmp_path / path)}
    task = make_task(tmp_path, student=student)
    with pytest.raises(BadTask, match=r"student\.encoder_path"):
        distill(task, take_parts(task, make_labels(), split_rows), teacher=TEACHER)


def test_quantising_after_certifying_is_certified_anew(
    encoder, encoder_task, make_labels, split_rows, capsys
):
    """The int8 artefact is another bundle with a certificate of its own, on a second use."""
    pytest.importorskip("openvino", reason="the extra int8 is not installed")
    pytest.importorskip("nncf", reason="the extra int8 is not installed")
    from students.distill.export import exported

    part = take_parts(encoder_task, make_labels(), split_rows)
    done = exported(encoder_task, encoder.bundle, part)
    m, before = done.bundle.manifest, encoder.bundle.manifest
    assert m.family == "encoder-int8"
    assert sorted(m.files) == ["model.bin", "model.xml", "seen.npy", "tokenizer.json"]
    assert m.certificate.artefact_sha256 != before.certificate.artefact_sha256
    assert (before.certificate.use, m.certificate.use) == (1, 2)
    assert capsys.readouterr().out == "", "stdout is for the command's own JSON"
    texts = part["test"].texts
    int8 = answer(load_student(done.bundle), texts)
    full = answer(load_student(encoder.bundle), texts)
    assert (int8.labels == full.labels).mean() > 0.98


def test_an_onnx_export_answers_as_the_encoder_does_and_is_certified_anew(
    encoder, encoder_task, make_labels, split_rows, tmp_path
):
    """ONNX Runtime gives torch's numbers for any batch, under a certificate of its own."""
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="the extra onnx is not installed")
    from students.distill.export import exported

    # A third look at the same rows would certify nothing: this one has a ledger of its own.
    task = encoder_task.model_copy(update={"work_dir": tmp_path})
    part = take_parts(task, make_labels(), split_rows)
    done = exported(task, encoder.bundle, part, "onnx")
    m, before = done.bundle.manifest, encoder.bundle.manifest
    assert m.family == "encoder-onnx"
    assert sorted(m.files) == ["model.onnx", "seen.npy", "tokenizer.json"]
    assert m.certificate.artefact_sha256 == m.artefact_sha256 != before.artefact_sha256
    student, full = load_student(done.bundle), load_student(encoder.bundle)
    texts = ["", "x", *part["test"].texts[:70], "news " * 50_000]
    assert np.abs(student.logits(texts) - full.logits(texts)).max() < 1e-4
    damaged = tmp_path / "damaged"
    shutil.copytree(done.bundle.path, damaged)
    (damaged / "model.onnx").write_bytes(b"no model")
    with pytest.raises(BadBundle, match=r"model\.onnx cannot be run"):
        load_student(Bundle(damaged, m))


def test_only_an_encoder_is_exported(encoder_task, make_task, make_labels, split_rows, tmp_path):
    """A linear student is refused with the reason."""
    from students.distill.export import exported

    data = make_labels()
    part = take_parts(encoder_task, data, split_rows)
    linear = distill(make_task(tmp_path, agreement=0.9), part, teacher=TEACHER)
    with pytest.raises(BadTask, match="family 'linear'; only an encoder student is exported"):
        exported(encoder_task, linear.bundle, part)


def test_a_damaged_encoder_is_refused(encoder, tmp_path):
    """Weights of another shape are one sentence, not a traceback."""
    from safetensors.numpy import save_file

    from students.runtime.bundle import Bundle

    with draft(tmp_path) as folder:
        for name in ("config.json", "tokenizer.json"):
            (folder / name).write_bytes((encoder.bundle.path / name).read_bytes())
        save_file({"head.weight": np.zeros((1, 1), np.float32)}, folder / "weights.safetensors")
        other = encoder.bundle.manifest.model_copy(update={"files": hash_files(folder)})
        with pytest.raises(BadBundle, match="does not hold an encoder student"):
            load_student(Bundle(folder, other))
