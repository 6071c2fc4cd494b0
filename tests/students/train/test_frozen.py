"""A head on a frozen encoder: embedded once, learnt in seconds, served like any encoder student."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from students.certify.calibration import calibrated_kl
from students.distill.answers import answer
from students.distill.run import distill, take_parts
from students.errors import BadTask
from students.runtime.encoders.network import load_network, new_head
from students.runtime.load import load_student
from students.teachers.protocol import TeacherDescriptor
from students.train.embedding import EmbeddingCache, embed, fingerprint
from students.train.encoder import load_base, tokenizing
from students.train.frozen import HEADS, HeadRecipe, _Rows, frozen_logits, train_frozen_student

pytestmark = pytest.mark.torch

TEACHER = TeacherDescriptor("classify", "scripted", "1", "", "{}")
TEXTS = ["help now", "nice day", "so what", "the water is gone"]


@pytest.fixture(scope="module")
def frozen_task(make_task, tiny_encoder, tmp_path_factory):
    """The small task with a head on the tiny encoder as its student."""
    student = {"family": "frozen", "encoder_path": tiny_encoder, "temperatures": [1, 2]}
    return make_task(tmp_path_factory.mktemp("frozen"), student=student, agreement=0.9)


@pytest.fixture(scope="module")
def frozen(frozen_task, make_labels, split_rows):
    """A student distilled from the easy labels."""
    return distill(frozen_task, take_parts(frozen_task, make_labels(), split_rows), teacher=TEACHER)


def test_a_frozen_encoder_is_distilled_and_served(frozen, make_labels, split_rows):
    """The bundle is an encoder's, with the head in the same file, and answers as certified."""
    m = frozen.bundle.manifest
    assert m.family == "encoder"
    assert m.config["trained"] == "head"
    assert sorted(m.files) == ["config.json", "seen.npy", "tokenizer.json", "weights.safetensors"]
    rows = make_labels().take(split_rows["test"])
    said = answer(load_student(frozen.bundle), rows.texts)
    assert (said.labels == rows.teacher).mean() == pytest.approx(m.evaluation.agreement.rate)


def test_the_encoder_is_left_as_it_was(frozen, tiny_encoder):
    """Only the head has learnt: the encoder's weights are the base's."""
    base, _, _ = load_base(tiny_encoder, 2, 0)
    kept = load_file(frozen.bundle.path / "weights.safetensors")
    for name, tensor in base.encoder.state_dict().items():
        assert torch.equal(kept[f"encoder.{name}"], tensor)


@pytest.mark.parametrize("hidden", [0, 16])
def test_either_head_reads_back(hidden, tiny_encoder, tmp_path):
    """A linear and a hidden head are told apart by their weights alone."""
    from students.runtime.encoders.network import save_network

    network, _, _ = load_base(tiny_encoder, 3, 0)
    network.head = new_head(network.width, hidden, 3)
    save_network(network.eval(), tmp_path)
    ids = torch.tensor([[1, 2, 3]])
    with torch.inference_mode():
        before = network(ids, torch.ones_like(ids))
        after = load_network(tmp_path, 3)(ids, torch.ones_like(ids))
    assert torch.equal(before, after)


def test_a_text_is_embedded_once(tiny_encoder, tmp_path):
    """What the cache holds needs no forward pass, in any order; what it lacks is computed."""
    network, tokenizer, pad_id = load_base(tiny_encoder, 2, 0)
    asked = []

    def encode(texts):
        asked.extend(texts)
        return tokenizing(tokenizer, 16)(texts)

    key = fingerprint(network, tokenizer.to_str(), 16)
    cache = EmbeddingCache(tmp_path, key)
    first = embed(network, encode, TEXTS[:3], pad_id, cache)
    cache.close()
    again = embed(network, encode, TEXTS[::-1], pad_id, EmbeddingCache(tmp_path, key))
    assert asked == [*TEXTS[:3], TEXTS[3]]
    np.testing.assert_array_equal(again[::-1][:3], first)


def test_what_was_embedded_survives_an_interruption(tiny_encoder, tmp_path, monkeypatch):
    """Stopped after some batches, the rest alone is computed."""
    monkeypatch.setattr("students.train.embedding.BATCH", 2)
    monkeypatch.setattr("students.train.embedding.KEPT_EVERY", 1)
    network, tokenizer, pad_id = load_base(tiny_encoder, 2, 0)
    encode = tokenizing(tokenizer, 16)

    def interrupt(done, total):
        raise KeyboardInterrupt

    cache = EmbeddingCache(tmp_path, "x")
    with pytest.raises(KeyboardInterrupt):
        embed(network, encode, TEXTS, pad_id, cache, interrupt)
    out = np.empty((4, network.width), np.float32)
    assert len(EmbeddingCache(tmp_path, "x").read(TEXTS, out)) == 2


def test_other_weights_are_another_encoder(tiny_encoder):
    """Vectors are kept by what made them: a changed weight or length reads none of the old ones."""
    network, _, _ = load_base(tiny_encoder, 2, 0)
    names = {fingerprint(network, "{}", 16), fingerprint(network, "{}", 32)}
    with torch.no_grad():
        next(network.encoder.parameters()).add_(1e-3)
    names.add(fingerprint(network, "{}", 16))
    assert len(names) == 3


def test_training_stops_because_it_has_learnt(make_labels, split_rows, tiny_encoder, tmp_path):
    """The chosen head ends by its validation KL, far from any cap; the same seed gives the same."""
    labels = make_labels()
    train, validation = (labels.take(split_rows[n]) for n in ("train", "validation"))
    one, other = (
        train_frozen_student(train, validation, tiny_encoder, HeadRecipe(), cache=tmp_path)
        for _ in range(2)
    )
    assert one.trials == other.trials
    assert one.trials[0].epochs < 190
    assert one.trials[0].kl <= min(t.kl for t in one.trials[1:]) + 1e-4
    told = calibrated_kl(one.held_out, validation.probabilities)
    assert told == pytest.approx(one.trials[0].kl, abs=1e-6)


def test_the_head_learns_the_held_out_rows_in_the_end(
    make_labels, split_rows, tiny_encoder, tmp_path
):
    """What is served has learnt both; what tells of unseen rows is kept from before it had."""
    labels = make_labels(noise=0.4)  # half of the answers must be known by heart
    train, validation = (labels.take(split_rows[n]) for n in ("train", "validation"))
    done = train_frozen_student(train, validation, tiny_encoder, HeadRecipe(), cache=tmp_path)
    known = frozen_logits(done, validation.texts, tmp_path)
    teacher = validation.probabilities
    assert calibrated_kl(known, teacher) < calibrated_kl(done.held_out, teacher)


def test_copies_of_a_text_are_learnt_together_or_not_at_all(make_labels):
    """A head that learnt a text judges none of its copies; each head judges some rows."""
    labels = make_labels()
    validation = labels.take(np.tile(np.arange(40), 3))
    train = labels.take(np.arange(40, 60))
    parts = _Rows.of(np.zeros((140, 2), np.float32), train, validation, 0).part
    assert (parts[:20] == -1).all()
    copies = parts[20:].reshape(3, 40)
    assert (copies == copies[0]).all()
    assert set(copies[0]) == set(range(HEADS))


@pytest.mark.parametrize("target", ["onnx", "int8"])
def test_encoder_and_head_are_exported_in_one_file_and_certified_anew(
    target, frozen, frozen_task, make_labels, split_rows
):
    """A frozen student is exported like any encoder; the head goes with it."""
    pytest.importorskip("onnxruntime" if target == "onnx" else "nncf")
    from students.distill.export import exported

    part = take_parts(frozen_task, make_labels(), split_rows)
    done = exported(frozen_task, frozen.bundle, part, target)
    m = done.bundle.manifest
    assert m.family == f"encoder-{target}"
    assert m.certificate.use > frozen.bundle.manifest.certificate.use
    assert len(m.probes) == len(frozen.bundle.manifest.probes) > 0
    texts = part["test"].texts
    said, before = (answer(load_student(b), texts) for b in (done.bundle, frozen.bundle))
    assert (said.labels == before.labels).mean() > 0.98


def test_no_encoder_is_one_sentence(make_task, make_labels, split_rows, tmp_path):
    """Family frozen needs a folder, and says so."""
    task = make_task(tmp_path, student={"family": "frozen"})
    with pytest.raises(BadTask, match="encoder_path is missing"):
        distill(task, take_parts(task, make_labels(), split_rows), teacher=TEACHER)
