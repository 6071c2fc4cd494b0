"""A linear and an encoder student as one: weighed on validation rows, served from one bundle."""

import numpy as np
import pytest

from students.confidence import softmax
from students.distill.answers import answer
from students.distill.run import distill, take_parts
from students.errors import BadBundle, BadTask
from students.runtime.blend import Shares
from students.runtime.bundle import Bundle
from students.runtime.encoders.network import load_network
from students.runtime.load import load_student
from students.teachers.protocol import TeacherDescriptor
from students.train.blend import blend
from students.train.encoder import load_base

pytestmark = pytest.mark.torch

TEACHER = TeacherDescriptor("classify", "scripted", "1", "", "{}")


def _logits(seed, noise, n=400, classes=5):
    """A teacher, and a student that sees it through noise of its own."""
    truth = 3 * np.random.default_rng(0).normal(size=(n, classes))
    seen = truth + noise * np.random.default_rng(seed).normal(size=(n, classes))
    return seen.astype(np.float32), softmax(truth).astype(np.float32)


def test_two_students_that_err_apart_are_better_together():
    """The chosen weight lies between the two, and its KL below that of either alone."""
    (one, teacher), (other, _) = _logits(1, 2.0), _logits(2, 2.0)
    shares, trial = blend(one, other, teacher)
    assert 0.2 < trial.linear_weight < 0.8
    assert min(shares.linear_share, shares.encoder_share) > 0
    alone = [blend(part, part, teacher)[1].kl for part in (one, other)]
    assert trial.kl < 0.8 * min(alone)


def test_a_part_that_knows_nothing_has_next_to_no_weight():
    """Noise is left out, and the other part decides what it decided alone."""
    knows, teacher = _logits(1, 0.5)
    noise = np.random.default_rng(3).normal(size=knows.shape).astype(np.float32)
    shares, trial = blend(noise, knows, teacher)
    assert trial.linear_weight <= 0.05
    assert (shares.of(noise, knows).argmax(1) == knows.argmax(1)).mean() > 0.98
    assert blend(knows, noise, teacher)[1].linear_weight >= 0.95


@pytest.fixture(scope="module")
def blend_task(make_task, tiny_encoder, tmp_path_factory):
    """The small task with a blend as its student."""
    student = {"family": "blend", "encoder_path": tiny_encoder, "temperatures": [1]}
    return make_task(tmp_path_factory.mktemp("blend"), student=student, agreement=0.9)


@pytest.fixture(scope="module")
def blended(blend_task, make_labels, split_rows):
    """A blend distilled from the easy labels."""
    return distill(blend_task, take_parts(blend_task, make_labels(), split_rows), teacher=TEACHER)


def test_a_blend_is_one_bundle_and_serves_what_its_parts_say(blended, make_labels, split_rows):
    """Linear weights, encoder, head and their shares: certified and served together."""
    m = blended.bundle.manifest
    assert m.family == "blend"
    assert m.certificate is not None
    assert sorted(m.files) == [
        "config.json", "linear.safetensors", "seen.npy", "tokenizer.json", "weights.safetensors",
    ]  # fmt: skip
    assert m.trials[0].linear_weight is not None
    assert m.trials[0].kl <= min(trial.kl for trial in m.trials[1:]) + 1e-6
    student = load_student(blended.bundle)
    rows = make_labels().take(split_rows["test"])
    said = answer(student, rows.texts)
    assert (said.labels == rows.teacher).mean() == pytest.approx(m.evaluation.agreement.rate)
    together = Shares.from_config(m.config).of(
        student._linear.logits(rows.texts), student._encoder.logits(rows.texts)
    )
    np.testing.assert_allclose(said.probabilities, softmax(together, m.temperature), atol=1e-5)
    assert student.token_count("x" * 40) == student._encoder.token_count("x" * 40)
    assert m.usual.unknown is not None
    assert student.unknown_share("qqqq zzzz") == 1.0


def test_a_blends_encoder_stays_frozen(blended, tiny_encoder):
    """`blend_with: frozen`, the default, trains a head on the encoder as it is."""
    network = load_network(blended.bundle.path, 2)
    base, _, _ = load_base(tiny_encoder, 2, 0)
    for name, tensor in base.encoder.state_dict().items():
        assert np.array_equal(network.encoder.state_dict()[name].numpy(), tensor.numpy())


@pytest.mark.parametrize("target", ["onnx", "int8"])
def test_a_blend_is_exported_with_its_linear_part(
    target, blended, blend_task, make_labels, split_rows
):
    """Its encoder changes the runtime, the linear part goes along; certified anew."""
    pytest.importorskip("onnxruntime" if target == "onnx" else "nncf")
    from students.distill.export import exported

    data = make_labels()
    part = take_parts(blend_task, data, split_rows)
    done = exported(blend_task, blended.bundle, part, target)
    m = done.bundle.manifest
    assert (m.family, m.config["encoder"]) == ("blend", f"encoder-{target}")
    for beside in ("linear.safetensors", "seen.npy"):
        assert m.files[beside] == blended.bundle.manifest.files[beside]
    assert m.certificate.use > blended.bundle.manifest.certificate.use
    if target == "onnx":  # the same scores, so calibrating anew finds the same temperature
        assert m.temperature == pytest.approx(blended.bundle.manifest.temperature, rel=0.01)
    texts = part["test"].texts
    said, before = (answer(load_student(b), texts) for b in (done.bundle, blended.bundle))
    assert (said.labels == before.labels).mean() > 0.98
    with pytest.raises(BadTask, match="its encoder of 'encoder-"):
        exported(blend_task, done.bundle, part, target)


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"linear_share": None}, "could not convert"),
        ({"encoder": "abacus"}, "an encoder of kind 'abacus'"),
    ],
)
def test_a_blend_that_lacks_a_part_is_refused(change, fault, blended):
    """Shares and the encoder's runtime are in the manifest; nothing is guessed."""
    manifest = blended.bundle.manifest
    broken = manifest.model_copy(update={"config": manifest.config | change})
    with pytest.raises(BadBundle, match=fault):
        load_student(Bundle(blended.bundle.path, broken))
