"""The soak's verdict: what counts as a leak."""

import random
from collections import Counter

import pytest

from loadtests.bench.soak import Samples, judge, slope_of


def _samples(mb_per_hour, noise_mb=0.3, descriptors=lambda i: 40, n=180):
    rng = random.Random(2)
    seconds = [10.0 * (i + 1) for i in range(n)]
    # The first quarter warms up: memory may climb as it likes.
    resident = [
        200 + mb_per_hour * s / 3600 + rng.gauss(0, noise_mb) - (80 * max(0, 0.25 - i / n))
        for i, s in enumerate(seconds)
    ]
    open_ = [descriptors(i) for i in range(n)]
    return Samples(seconds, resident, open_, seconds, [1.0] * n, [3.0] * n)


@pytest.mark.parametrize(("mb_per_hour", "passed"), [(0.0, True), (0.5, True), (5.0, False)])
def test_memory_that_surely_grows_fails(mb_per_hour, passed):
    """Half a MiB an hour passes, five do not; the climb of the warm-up does not count."""
    assert judge(_samples(mb_per_hour))["passed"] is passed


@pytest.mark.parametrize(("leak_every", "passed"), [(1000, True), (10, False)])
def test_leaking_descriptors_fail(leak_every, passed):
    """A descriptor now and then is noise; one in every hundred seconds is a leak."""
    samples = _samples(0.0, descriptors=lambda i: 40 + i // leak_every)
    assert judge(samples)["passed"] is passed


def test_one_failed_request_fails_the_soak():
    """Nothing may fail below the knee, whether it was answered or not."""
    for kind in ("dropped", "timeout", "connection", "http_500"):
        samples = _samples(0.0)
        samples.answers = Counter({"ok": 100_000, kind: 1})
        assert not judge(samples)["passed"]


@pytest.mark.parametrize(("refused", "passed"), [(100, True), (101, False)])
def test_a_thousandth_may_be_refused(refused, passed):
    """Up to 0.1 % of 429s passes, one more does not; they are reported."""
    samples = _samples(0.0)
    samples.answers = Counter({"ok": 100_000 - refused, "http_429": refused})
    assert judge(samples)["passed"] is passed
    assert judge(samples)["refused"] == refused


def test_the_slope_is_found_with_its_interval_and_ignores_one_jump():
    """A line of 3 MiB an hour with noise and one jump: the interval holds 3."""
    rng = random.Random(1)
    seconds = [10.0 * i for i in range(180)]
    values = [100 + 3 * s / 3600 + rng.gauss(0, 0.1) for s in seconds]
    values[50] += 40
    slope = slope_of(seconds, values)
    assert slope.low < 3.0 < slope.high
    assert slope.high - slope.low < 0.5
