"""When a row came."""

import pytest

from costmodel.inputs.tables.times import TimesOfOneKind, seconds_of


@pytest.mark.parametrize(
    ("word", "seconds"),
    [
        ("12.5", 12.5),
        ("1970-01-01T00:01:00Z", 60.0),
        ("1970-01-01 01:00:00+01:00", 0.0),
        ("1970-01-01 00:00:01.2500000", 1.25),
        ("1970-01-02", 86_400.0),
    ],
)
def test_a_number_or_an_iso_time_is_seconds(word, seconds):
    """Without a zone it is UTC; fractions have any number of digits."""
    assert seconds_of(word) == seconds


@pytest.mark.parametrize("word", ["", "nan", "inf", "yesterday", "24:00"])
def test_anything_else_is_no_time(word):
    """What is neither is refused."""
    with pytest.raises(ValueError, match=r"."):
        seconds_of(word)


@pytest.mark.parametrize("words", [("1764460800", "2026-11-29"), ("2026-11-29", "20261129")])
def test_a_column_has_times_of_one_kind(words):
    """A number and an ISO time have no order: the latest rows would be those of one kind."""
    times = TimesOfOneKind()
    assert times.seconds_of(words[0]) == times.seconds_of(words[0])
    with pytest.raises(ValueError, match=f"'{words[1]}' stands among"):
        times.seconds_of(words[1])
