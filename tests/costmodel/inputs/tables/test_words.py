"""Which label a cell means."""

import pytest

from costmodel.inputs.tables.words import KnownWords


@pytest.mark.parametrize(
    ("words", "cell", "found"),
    [
        (["billing", "0"], "billing", 0),
        (["0", "1"], "1.0", 1),
        (["0.0", "1.0"], "1", 1),
        (["-1", "1"], "-1.00", 0),
        (["true", "false"], "True", 0),
        (["True", "False"], "false", 1),
        (["Billing"], "billing", None),
        (["7"], "007", None),
        (["0.5"], "0.50", None),
        (["1", "1.0"], "1.0", 1),
        (["1.0", "1.00"], "1", None),
    ],
)
def test_a_word_is_found_by_what_it_means(words, cell, found):
    """As it is written first; then integers with gaps and booleans; never by a guess."""
    assert KnownWords(words).find(cell) == found
