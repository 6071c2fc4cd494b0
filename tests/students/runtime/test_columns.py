"""A column answered where it lies gives the very bits that the texts give one by one."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from students.labels import NO_LABEL, LabelSchema
from students.runtime import hashing
from students.runtime.columns import TextColumn, answer_column
from students.runtime.linear import LinearStudent, LinearWeights
from students.testing import ScriptedStudent

SCHEMA = LabelSchema(("a", "b", "c"))
ODD = [
    "plain text", "  trimmed \t", "UPPER Case", "naïve 漢字", "", "   ", "\x1cunit\x1f",
    "\xa0nbsp\xa0", "x" * 20_000, "é" * 20_000,
    "Straße İ ﬁ", "a\0b", "\x85next", "“quoted” – dash", "tail ",
]  # fmt: skip


def _student(terms="counts", folded=True):
    rng = np.random.default_rng(0)
    slots = np.arange(1 << 10, dtype=np.int32)
    weights = LinearWeights.of(
        2, 4, slots, rng.uniform(1, 5, slots.size).astype(np.float32),
        rng.normal(size=(slots.size, 3)).astype(np.float32), np.zeros(3, np.float32), terms,
    )  # fmt: skip
    fields = weights.__dict__ | {"folded": folded}
    return LinearStudent(SCHEMA, LinearWeights(**fields), temperature=2.0)


def _one_by_one(student, texts):
    found = [student.predict([t.strip()])[0] if t and t.strip() else None for t in texts]
    return [(p.label, p.confidence) if p else (NO_LABEL, None) for p in found]


def _as_column(student, column):
    said = answer_column(student, TextColumn(column))
    sure = [None if np.isnan(c) else float(c) for c in said.confidences]
    return list(zip(said.labels.tolist(), sure, strict=True)), said.empty.tolist()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(
    ("terms", "folded"), [("counts", True), ("sublinear", True), ("counts", False)]
)
def test_odd_texts_get_the_same_bits(kind, terms, folded):
    """Blanks, other scripts, long texts, nulls: as the reader of inputs and `predict` have them."""
    student, texts = _student(terms, folded), [*ODD, None, *ODD]
    found, empty = _as_column(student, pa.array(texts, kind))
    assert found == _one_by_one(student, texts)
    assert empty == [not (t and t.strip()) for t in texts]


TEXTS = st.lists(st.one_of(st.none(), st.text(), st.text("aZ \t\x1f.é")), max_size=40)


@given(TEXTS, st.integers(0, 5))
def test_any_column_and_any_slice_of_it_gets_the_same_bits(texts, cut):
    """Whatever the texts are, and wherever a batch of Arrow begins in a larger buffer."""
    texts = [None if t is None else t.encode("utf-8", "ignore").decode() for t in texts]
    student = _student()
    found, _ = _as_column(student, pa.array(texts, pa.string())[cut:])
    assert found == _one_by_one(student, texts[cut:])


def test_folding_is_what_hashing_does():
    """The packed bytes of a column are those of `hashing.pack`."""
    data, offsets, _ = TextColumn(pa.array(ODD)).packed(fold=True)
    wanted, ends = hashing.pack([text.strip() for text in ODD])
    assert data.tobytes() == wanted.tobytes()
    assert offsets.tolist() == ends.tolist()


def test_a_text_that_breaks_a_student_costs_no_other_its_answer():
    """One row fails, and stands as failed; the rest of its call is answered."""
    student = ScriptedStudent(
        SCHEMA, lambda text: RuntimeError("poison") if "poison" in text else "b"
    )
    texts = [f"text {i}" for i in range(50)] + ["poison", ""]
    said = answer_column(student, TextColumn(pa.array(texts)))
    assert said.labels.tolist() == [1] * 50 + [NO_LABEL, NO_LABEL]
    assert said.empty.tolist() == [False] * 51 + [True]
