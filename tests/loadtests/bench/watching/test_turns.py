"""Pairs with a failed request are taken again, and not for ever."""

from __future__ import annotations

import math

import pytest

from loadtests.bench.watching.turns import Turn, take_pairs
from loadtests.figures.latency import LatencySummary
from loadtests.generator.histogram import Histogram
from router.errors import BadSettings


def test_a_pair_with_a_failed_request_is_taken_again_whole():
    """One ill turn costs its pair, not the bench; who was ill is told, and the warm-up is free."""
    asked = []

    def turn(name, seed):
        asked.append((name, seed))
        warm, ill = seed == 0, len(asked) in (3, 6)
        return Turn(1.0, 10.0 * seed, unanswered=7 if warm or ill else 0)

    taken = take_pairs({"off": "off", "on": "on"}, turn, pairs=4)
    assert taken.failed == {"off": 1, "on": 1}
    assert taken.p99 == {"off": [10.0, 20.0, 30.0, 40.0], "on": [10.0, 20.0, 30.0, 40.0]}
    assert len(asked) == 2 * (1 + 4 + 2)
    assert asked[2:4] == [("off", 1), ("on", 1)]
    assert [name for name, _ in asked[-2:]] == ["on", "off"], "the first to go changes"


def test_a_machine_that_is_always_ill_ends_it():
    """Half as many again as were asked for, then one sentence with the figures and the way out."""
    asked = []

    def turn(name, seed):
        asked.append(name)
        return Turn(1.0, 1.0, unanswered=int(name == "on"))

    with pytest.raises(BadSettings, match=r"'on': 3.*0 pairs of 4.*give --rate"):
        take_pairs({"off": "off", "on": "on"}, turn, pairs=4)
    assert len(asked) == 2 * (1 + 1 + 2)


def test_what_got_no_answer_is_later_than_every_answer_and_not_too_few():
    """Two of a hundred lost leave no p99: the turn was ill; too few requests end the bench."""
    answered = Histogram()
    for _ in range(4_900):
        answered.record(0.001)
    ill = Turn.of(LatencySummary.of(answered, unanswered=100), 100)
    assert (ill.p50_ms, ill.p99_ms) == (pytest.approx(1.0, rel=0.01), math.inf)
    assert Turn.of(LatencySummary.of(answered, unanswered=1), 1).p99_ms < 1.1
    few = Histogram()
    few.record(0.001)
    with pytest.raises(BadSettings, match=r"1 requests in a turn have no p99: give --seconds"):
        Turn.of(LatencySummary.of(few), 0)
