"""Answers in arrays are the answers that were put in, and small."""

import tracemalloc
from decimal import Decimal

import numpy as np
import pytest

from costmodel.money.pricing import TokenUsage
from students.label.answers import Answers, CachedAnswer
from students.labels import LabelDistribution, LabelSchema

N, K = 200, 3
SCHEMA = LabelSchema(("a", "b", "c"))


def _kept(rng):
    """Any answer: sure, level, mostly something else, refused, of unknown consumption."""
    kind = rng.integers(5)
    p = rng.dirichlet(np.full(K, 0.5)) * rng.uniform(0.3, 1.0)
    p = np.full(K, 0.3) if kind == 1 else p
    other, truncated = float(1 - p.sum()), bool(rng.integers(2))
    # Refused in one order of the options and answered in the other: no label.
    said = LabelDistribution(tuple(p.tolist()), other, truncated, refused=bool(kind == 4))
    said = LabelDistribution.refusal(K) if kind == 2 else said
    usage = TokenUsage(int(rng.integers(50, 55)), 1, 3, cache_write_tokens=int(rng.integers(2)))
    return CachedAnswer(said, usage, Decimal(usage.input_tokens) / 1000, bool(kind == 3))


@pytest.fixture
def pair():
    """The same answers in arrays and in a dictionary: some twice, some taken out."""
    rng = np.random.default_rng(0)
    answers, plain = Answers(N), {}
    for row in rng.integers(0, N, 300).tolist():
        answers[row] = plain[row] = _kept(rng)
    for row in list(plain)[::7]:
        del answers[row]
        del plain[row]
    return answers, plain


def test_they_are_a_dictionary(pair):
    """What was put in last comes out, exactly; nothing else is there."""
    answers, plain = pair
    assert dict(answers) == plain
    assert list(answers) == sorted(plain)
    assert len(answers) == len(plain) < N
    for row in (-1, N, next(i for i in range(N) if i not in plain)):
        assert row not in answers
        with pytest.raises(KeyError):
            answers[row]
        with pytest.raises(KeyError):
            del answers[row]


def test_sums_are_those_of_the_objects(pair):
    """Bill, tokens, refusals and answers without a label."""
    answers, plain = pair
    kept = list(plain.values())
    assert answers.usd == sum(one.usd for one in kept)
    assert answers.usage == sum((one.usage for one in kept), TokenUsage(requests=0))
    assert answers.refused == sum(one.distribution.refused for one in kept) > 0
    assert answers.estimated == sum(one.estimated for one in kept) > 0
    assert answers.unusable == sum(one.distribution.label is None for one in kept) > 0


def test_labels_are_those_of_the_objects(pair):
    """Rows without an answer become answers without a label."""
    answers, plain = pair
    rows = np.arange(0, N, 2)
    texts = tuple(f"text {i}" for i in rows)
    labelled = answers.labelled(rows, texts, np.full(rows.size, -1, np.int32), SCHEMA)
    none = LabelDistribution.refusal(K)
    for at, row in enumerate(rows.tolist()):
        said = plain[row].distribution if row in plain else none
        assert labelled.probabilities[at] == pytest.approx(said.probabilities)
        assert labelled.other[at] == pytest.approx(said.other)
        assert labelled.truncated[at] == said.truncated
        assert labelled.teacher[at] == (-1 if said.label is None else said.label)


def test_nothing_known_is_no_label_and_no_bill():
    """Before the first answer there is nothing to add up."""
    answers = Answers(4)
    rows = np.arange(4)
    labelled = answers.labelled(rows, ("a", "b", "c", "d"), np.full(4, -1, np.int32), SCHEMA)
    assert not labelled.usable.any()
    assert (answers.usd, answers.usage.requests, answers.unusable) == (0, 0, 0)


def test_an_answer_of_77_labels_takes_less_than_a_kilobyte():
    """A million of them fit into 0.7 GB: 8 bytes a label and little beside."""
    said = LabelDistribution(tuple(np.full(77, 0.01).tolist()), 0.23)
    tracemalloc.start()
    answers = Answers(5000)
    for row in range(5000):
        answers[row] = CachedAnswer(said, TokenUsage(50 + row % 20), Decimal(50 + row % 20) / 1000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken / 5000 < 700


def test_filling_some_rows_is_setting_each():
    """Rows that had an answer get the new one; filling none changes nothing."""
    rng = np.random.default_rng(1)
    one_by_one, filled = Answers(N), Answers(N)
    for _ in range(5):
        rows = rng.choice(N, 40, replace=False).tolist()
        kept = [_kept(rng) for _ in rows]
        filled.fill(rows, kept)
        filled.fill([], [])
        for row, one in zip(rows, kept, strict=True):
            one_by_one[row] = one
    assert dict(filled) == dict(one_by_one)
    assert len(filled) == len(one_by_one)
    assert filled.usd == one_by_one.usd
