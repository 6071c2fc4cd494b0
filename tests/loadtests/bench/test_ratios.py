"""Two that took turns, and how sure it is which was the better."""

from __future__ import annotations

from loadtests.bench.ratios import ratio_of_pairs


def test_a_ratio_has_the_interval_of_its_pairs():
    """The machine's mood of a pair is in both of its turns; what is left is what is asked about."""
    moods = [1.0, 5.0, 2.0, 9.0, 3.0, 1.5, 4.0, 2.5] * 5
    same = ratio_of_pairs([1.02 * mood for mood in moods], moods)
    assert same == {"ratio": 1.02, "low": 1.02, "high": 1.02}
    wide = ratio_of_pairs([0.9, 1.1] * 20, [1.0] * 40)
    assert wide["low"] < 1.0 < wide["high"]
