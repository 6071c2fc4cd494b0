"""What judges is a random sample of the pile as it came; what is learnt from does not leak."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from students.errors import BadInputs
from students.label.inputs import SPLITS, make_inputs
from students.label.split import (
    JUDGED,
    LEARNT,
    drop_spare,
    near_copy_key,
    sample_rows,
    split_inputs,
    unlike,
)


@pytest.mark.parametrize("group", [1, 2, 3, 10, 50, 800])
def test_any_share_of_any_template_is_found_wherever_rows_judge(group):
    """Near-copies are drawn as the rows they are: 20 % of the pile is 20 % of what judges."""
    words = _words(4000)
    template = [f"{words[i // group]} {words[i // group]} order {i}" for i in range(800)]
    split = split_inputs(make_inputs(template + words[800:]))
    for name in JUDGED:
        found = (split[name] < 800).mean()
        assert abs(found - 0.2) < 4 * np.sqrt(0.2 * 0.8 / len(split[name])), (name, found)


def test_copies_judge_as_often_as_they_came():
    """A text that is a tenth of the rows is a tenth of the rows that judge."""
    split = split_inputs(make_inputs(["again"] * 400 + _words(3600)))
    for name in JUDGED:
        assert abs((split[name] == 0).mean() - 0.1) < 0.05
    assert sum((split[name] == 0).sum() for name in LEARNT) == 1


@pytest.mark.parametrize("where", [0, 500, 1000])
def test_a_row_that_is_added_moves_no_other(where):
    """The same text is in the same split, wherever and however many rows are put in."""
    words = _words(1000)
    before = _homes(words)
    grown = [*words[:where], *(f"new {w}" for w in _words(50)), *words[where:]]
    after = _homes(grown)
    assert {text: after[text] for text in words} == before


def test_the_order_of_rows_does_not_matter():
    """Shuffled rows have the same splits."""
    words = [w for w in _words(300) for _ in range(2)]
    shuffled = [words[i] for i in np.random.default_rng(1).permutation(len(words))]
    assert _homes(words) == _homes(shuffled)


def test_every_seed_is_another_draw():
    """Two seeds agree about a row's judging no more often than chance."""
    inputs = make_inputs(_words(2000))
    one, other = (set(split_inputs(inputs, seed=s)["calibration"].tolist()) for s in (0, 1))
    assert abs(len(one & other) / len(one) - 0.15) < 0.08


def test_split_is_complete_and_near_its_shares():
    """Every row is in exactly one split, in about its share."""
    split = split_inputs(make_inputs(_words(4000)), seed=3)
    assert list(split) == list(SPLITS)
    assert sorted(np.concatenate(list(split.values()))) == list(range(4000))
    shares = np.array([len(split[s]) for s in SPLITS]) / 4000
    assert np.abs(shares - [0.55, 0.1, 0.05, 0.15, 0.15]).max() < 0.03


def test_the_latest_rows_judge():
    """With times whatever judges is later than whatever is learnt from, and divided at random."""
    rng = np.random.default_rng(0)
    time = rng.permutation(1000).astype(float)
    split = split_inputs(make_inputs(_words(1000), time=time))
    judged = np.concatenate([split[name] for name in JUDGED])
    learnt = np.concatenate([split[name] for name in LEARNT])
    assert time[judged].min() > time[learnt].max()
    assert len(judged) == 300
    assert 110 < len(split["calibration"]) < 190


@pytest.mark.parametrize("moments", [1, 2, 4])
def test_of_rows_of_one_moment_random_ones_judge(moments):
    """Where a date is all there is, calibration had none of the day that is drawn in part."""
    days = np.arange(4_000) % moments
    split = split_inputs(make_inputs(_words(4_000), time=days.astype(float)))
    counts = [np.bincount(days[split[name]], minlength=moments) for name in JUDGED]
    for in_calibration, in_test in zip(*counts, strict=True):
        n = in_calibration + in_test
        assert abs(in_calibration - n / 2) <= 4 * np.sqrt(n / 4)
    assert sum(map(sum, counts)) == 1_200


def test_one_row_of_each_group_judges():
    """With groups one row of each drawn judges, and nobody learns from a group that judges."""
    group = [f"customer {i // 10}" for i in range(4000)]
    split = split_inputs(make_inputs(_words(4000), group=group))
    judged = [group[i] for name in JUDGED for i in split[name]]
    learnt = {group[i] for name in LEARNT for i in split[name]}
    assert len(judged) == len(set(judged))
    assert 80 < len(judged) < 160
    assert not learnt & set(judged)


def test_rows_that_nothing_uses_need_not_be_asked():
    """Other rows of groups that judge are dropped and counted; the split stays as it was."""
    group = [f"customer {i // 10}" for i in range(4000)]
    inputs = make_inputs(_words(4000), group=group)
    asked = drop_spare(inputs)
    one, other = split_inputs(inputs), split_inputs(asked)
    assert asked.dropped.spare == 4000 - len(asked) > 4000 * 0.2
    for name in SPLITS:
        assert [inputs.texts[i] for i in one[name]] == [asked.texts[i] for i in other[name]]
    plain = make_inputs(["a", "a", "b"])
    assert drop_spare(plain) is plain


@pytest.mark.parametrize("seed", range(8))
def test_a_large_template_is_always_learnt_from(seed):
    """Near-copies are drawn whole, and a template that is 30 % of the pile does not leave train."""
    template = [f"Your order {i} has been sent" for i in range(600)]
    split = split_inputs(make_inputs(template + _words(1400)), seed=seed)
    assert (split["train"] < 600).sum() == sum((split[name] < 600).sum() for name in LEARNT) > 300


def test_times_and_groups_together_are_refused():
    """They ask for two different statements."""
    inputs = make_inputs(["a", "b"], time=np.array([1.0, 2.0]), group=["x", "y"])
    with pytest.raises(BadInputs, match="leave one out"):
        split_inputs(inputs)


def test_a_larger_sample_has_all_of_a_smaller_one():
    """`--limit` draws rows at random; what was paid for stays in the sample, in its split."""
    inputs = make_inputs([w for i, w in enumerate(_words(500)) for _ in range(1 + i % 3)])
    samples = [set(sample_rows(inputs, n).texts) for n in (50, 100, 500)]
    assert [len(s) for s in samples] == [50, 100, 500]
    assert all(small <= large for small, large in pairwise(samples))
    everywhere = _homes_of(inputs)
    for text, names in _homes_of(sample_rows(inputs, 100)).items():
        judged = [name for name in names if name in JUDGED]
        assert all(names.count(n) <= everywhere[text].count(n) for n in judged)


def test_near_copies_are_learnt_in_one_split():
    """Copies up to case, marks and numbers do not choose the student that remembers best."""
    words = _words(300)
    texts = [t for w in words for t in (f"Ticket 12 {w}!", f"ticket 7:  {w.upper()}")]
    split = split_inputs(make_inputs(texts))
    home = {int(i): name for name in LEARNT for i in split[name]}
    pairs = [(home.get(2 * i), home.get(2 * i + 1)) for i in range(300)]
    assert all(one == two for one, two in pairs if one and two)


def test_given_splits_do_not_leak():
    """A given train row whose near-copy is a given test row is dropped; the test row stays."""
    texts = ["Pay $5", "pay 6", "hello", "HELLO!", "free"]
    split = split_inputs(
        make_inputs(texts, None, ["train", "test", "calibration", "test", "train"])
    )
    assert split["train"].tolist() == [4]
    assert split["test"].tolist() == [1, 3]
    assert split["calibration"].tolist() == [2]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Pay 1", "pay 22!", "PAY  3", "hello", "Hello?", "free", "a b"]),
            st.sampled_from([None, *SPLITS]),
        ),
        min_size=1,
    ),
    st.integers(0, 5),
)
def test_no_learnt_row_is_a_near_copy_of_a_given_judged_one(rows, seed):
    """Whatever splits are given, and however often a text comes, given judged rows keep theirs."""
    inputs = make_inputs([text for text, _ in rows], None, [split for _, split in rows])
    split = split_inputs(inputs, seed=seed)
    learnt = [inputs.texts[i] for name in LEARNT for i in split[name]]
    judged = [text for text, name in rows if name in JUDGED]
    assert len(learnt) == len(set(learnt))
    assert unlike(learnt, judged).all()
    for name in JUDGED:
        found = [inputs.texts[i] for i in split[name]]
        for text in inputs.texts:
            assert found.count(text) >= rows.count((text, name))


def test_fractions_must_make_sense():
    """Shares that do not sum to 1 or name another split are refused."""
    inputs = make_inputs(["a", "b"])
    with pytest.raises(BadInputs, match="sum to 1"):
        split_inputs(inputs, {"train": 0.5, "test": 0.4})
    with pytest.raises(BadInputs, match="fractions"):
        split_inputs(inputs, {"train": 0.5, "dev": 0.5})


def test_texts_without_letters_are_still_told_apart():
    """A text of marks only is its own key; other scripts keep their letters."""
    assert near_copy_key("?!") != near_copy_key("...")
    assert near_copy_key("水をください") != near_copy_key("助けて")
    assert near_copy_key("Ａ１") == near_copy_key("a 9".replace(" ", ""))


def _homes(texts):
    return _homes_of(make_inputs(texts))


def _homes_of(inputs):
    """The splits that each text stands in, as often as it does."""
    split = split_inputs(inputs)
    found = {}
    for name in SPLITS:
        for text in split[name].tolist():
            found.setdefault(inputs.texts[text], []).append(name)
    return {text: tuple(sorted(names)) for text, names in found.items()}


def _words(n):
    letters = "abcdefghijklmnopqrstuvwxyz"
    return [letters[i % 26] + letters[i // 26 % 26] + letters[i // 676] for i in range(n)]
