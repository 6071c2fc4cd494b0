"""The linear student at serving time."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from students.confidence import confidence, softmax
from students.errors import BadBundle
from students.labels import LabelSchema
from students.runtime import hashing
from students.runtime.linear import LinearStudent, LinearWeights
from students.runtime.load import WARM_UP

TEXTS = ["my card is lost", "where is my parcel?", "", "card card card", "naïve 漢字", "x" * 5000]
SCHEMA = LabelSchema(("a", "b", "c"))


@pytest.fixture(scope="module", params=["counts", "sublinear"])
def weights(request) -> LinearWeights:
    """Random weights that know half of the features of TEXTS."""
    rng = np.random.default_rng(0)
    data, offsets = hashing.pack(TEXTS)
    features, _ = hashing.bag(data, offsets, 2, 4, 1 << 12)
    kept = np.unique(features)[::2]
    slots = np.full(1 << 12, -1, np.int32)
    slots[kept] = np.arange(kept.size, dtype=np.int32)
    return LinearWeights.of(
        2,
        4,
        slots,
        rng.uniform(1, 5, kept.size).astype(np.float32),
        rng.normal(size=(kept.size, 3)).astype(np.float32),
        np.array([0.1, 0.2, 0.0], np.float32),
        request.param,
    )


@pytest.mark.parametrize("text", [TEXTS[0], TEXTS[3], " ".join(["a lost card"] * 900)])
def test_logits_are_the_unit_vector_times_the_table(weights, text):
    """The kernel computes W x / |x| + b; |x|² sums squared weights, by occurrence for counts."""
    data, offsets = hashing.pack([text])
    features, _ = hashing.bag(data, offsets, 2, 4, 1 << 12)
    rows = weights.slots[features]
    if weights.terms == "sublinear":
        rows, times = np.unique(rows, return_counts=True)
        often = 1 + np.log(times[rows >= 0])
    else:
        often = np.ones((rows >= 0).sum())
    known = weights.rows[rows[rows >= 0]].astype(float)
    expected = often @ known[:, :3] / np.sqrt(often**2 @ known[:, 3]) + weights.bias
    assert np.allclose(weights.logits([text])[0], expected, rtol=1e-4, atol=2e-5)


def test_an_older_bundle_counts_occurrences_and_an_unknown_count_is_refused(weights):
    """The manifest says how terms count; one that does not was made before there was a choice."""
    config = weights.config()
    older = LinearWeights.from_tensors(weights.tensors(), {**config, "terms": "counts"})
    assert older.folded
    config.pop("terms")
    config.pop("folded")
    oldest = LinearWeights.from_tensors(weights.tensors(), config)
    assert oldest.terms == older.terms == "counts"
    assert not oldest.folded
    with pytest.raises(BadBundle, match="'cubic', this version knows counts and sublinear"):
        LinearWeights.from_tensors(weights.tensors(), {**config, "terms": "cubic"})


@pytest.mark.parametrize("kind", ["max_probability", "margin"])
def test_serving_scores_like_students_confidence(weights, kind):
    """Confidence in serving equals the function that certificates are computed with, bit by bit."""
    said = LinearStudent(SCHEMA, weights, temperature=0.7, kind=kind).predict(TEXTS)
    p = np.array([one.probabilities for one in said])
    assert np.allclose(p, softmax(weights.logits(TEXTS), 0.7), atol=1e-6)
    assert [one.confidence for one in said] == confidence(p, kind).tolist()
    assert [one.label for one in said] == p.argmax(axis=1).tolist()


def test_an_answer_does_not_depend_on_its_batch(weights):
    """Alone or among others: the same label and the same confidence to the last bit."""
    student = LinearStudent(SCHEMA, weights)
    together = student.predict(TEXTS)
    alone = [student.predict([text])[0] for text in TEXTS]
    assert [(p.label, p.confidence) for p in together] == [(p.label, p.confidence) for p in alone]


def test_threads_do_not_disturb_each_other(weights):
    """The same answers from eight threads at once."""
    student = LinearStudent(SCHEMA, weights)
    expected = [p.confidence for p in student.predict(TEXTS)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: student.predict(TEXTS), range(64)))
    assert all([p.confidence for p in one] == expected for one in answers)


def test_a_text_without_known_features_gets_the_bias(weights):
    """Empty text: no division by zero, the prior of the labels."""
    (said,) = LinearStudent(SCHEMA, weights).predict([""])
    assert said.label == 1
    assert np.allclose(said.probabilities, softmax(weights.bias[None])[0])
    assert LinearStudent(SCHEMA, weights).predict([]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"slots": np.array([0, 1], np.int32)},
        {"slots": np.zeros(3, np.int32)},
        {"rows": np.zeros((1, 3), np.float32)},
        {"rows": np.zeros((1, 8), np.float64)},
        {"shortest": 5},
        {"shortest": 0},
    ],
)
def test_weights_that_do_not_fit_are_refused(change):
    """A row outside the table, odd sizes or types: an error, never a read of foreign memory."""
    good = {
        "shortest": 2,
        "longest": 4,
        "slots": np.array([0, -1], np.int32),
        "rows": np.zeros((1, 8), np.float32),
        "bias": np.zeros(3, np.float32),
    }
    LinearWeights(**good)
    with pytest.raises(BadBundle, match="do not fit"):
        LinearWeights(**(good | change))


def test_a_text_costs_its_characters_up_to_the_cut(weights):
    """The work of a text grows with its length and is bounded."""
    student = LinearStudent(SCHEMA, weights)
    assert student.token_count("") == 1
    assert student.token_count("x" * 400) == 101
    assert student.token_count("x" * 10**6) == student.token_count("x" * hashing.CHARACTERS)


def test_nothing_is_compiled_after_the_warm_up(weights):
    """T16: after what `load_student` predicts, no text and no batch needs another compilation."""
    student = LinearStudent(SCHEMA, weights)
    student.predict(WARM_UP)
    kernels = (hashing.logits, hashing.answer)
    before = [len(kernel.signatures) for kernel in kernels]
    for texts in ([], [""], ["x"] * 300, ["\x00", "漢字 😀", "a" * 100_000], ("t", "u")):
        assert len(student.predict(texts)) == len(texts)
    assert [len(kernel.signatures) for kernel in kernels] == before
    assert min(before) > 0
