"""Batches of one call, computed at once."""

import threading

import numpy as np

from students.labels import LabelSchema
from students.runtime.encoder import EncoderStudent

SCHEMA = LabelSchema(("even", "odd"))


class Numbers:
    """Tokenizing: a text is a number, and so many tokens long."""

    def encode(self, texts):
        """Return each number as often as it says."""
        return [[int(text)] * int(text) for text in texts]


def test_streams_compute_batches_at_once_and_keep_the_order():
    """Two forwards wait for each other, so that one at a time would never end."""
    both = threading.Barrier(2, timeout=10.0)

    def forward(ids, mask):
        both.wait()
        odd = (ids[:, 0] % 2 == 1).astype(np.float32)
        return np.stack([1 - odd, odd], axis=1)

    student = EncoderStudent(
        SCHEMA, Numbers(), forward, max_length=64, pad_id=0, batch=2, streams=2
    )
    numbers = [7, 2, 9, 4, 1, 12, 3, 8]
    said = student.predict([str(n) for n in numbers])
    assert [p.label for p in said] == [n % 2 for n in numbers]
