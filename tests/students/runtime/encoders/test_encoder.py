"""How the texts of one call share forward passes."""

import threading
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from students.labels import LabelSchema
from students.runtime.encoders.encoder import EncoderStudent, cut
from tests.waiting import PATIENCE_S

SCHEMA = LabelSchema(("even", "odd"))


class Numbers:
    """Tokenizing: a text is a number, and so many tokens long."""

    def encode(self, texts):
        """Return each number as often as it says."""
        return [[int(text)] * int(text) for text in texts]


@given(st.lists(st.integers(1, 60), max_size=8).map(sorted), st.integers(1, 5), st.integers(0, 40))
def test_no_other_cut_is_cheaper(lengths, most, pass_tokens):
    """Of all ways to cut, none costs less, pads and passes counted; every text is in one batch."""

    def cost(ends):
        return sum((b - a) * lengths[b - 1] + pass_tokens for a, b in pairwise([0, *ends]))

    n = len(lengths)
    parts = sorted(cut(lengths, most, pass_tokens), key=lambda part: part.start)
    assert [i for part in parts for i in range(n)[part]] == list(range(n))
    allowed = [
        [*inner, n]
        for k in range(n)
        for inner in combinations(range(1, n), k)
        if all(b - a <= most for a, b in pairwise([0, *inner, n]))
    ]
    assert cost([part.stop for part in parts]) == min(map(cost, allowed), default=0)


@pytest.mark.parametrize(("n", "sizes"), [(0, []), (3, [3]), (9, [4, 4, 1])])
def test_where_a_pass_is_everything_there_are_as_few_as_can_be(n, sizes):
    """On a GPU a short text does not get a pass of its own."""
    parts = cut(range(1, n + 1), 4, None)
    assert [len(range(n)[part]) for part in parts] == sizes


def test_streams_compute_batches_at_once_and_keep_the_order():
    """Two forwards wait for each other, so that one at a time would never end."""
    both = threading.Barrier(2, timeout=PATIENCE_S)

    def forward(ids, mask):
        both.wait()
        odd = (ids[:, 0] % 2 == 1).astype(np.float32)
        return np.stack([1 - odd, odd], axis=1)

    student = EncoderStudent(
        SCHEMA, Numbers(), forward, max_length=64, pad_id=0, batch=2, pass_tokens=None, streams=2
    )
    numbers = [7, 2, 9, 4, 1, 12, 3, 8]
    said = student.predict([str(n) for n in numbers])
    assert [p.label for p in said] == [n % 2 for n in numbers]
