"""How many calls a teacher can take now."""

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.teacher.adaptive_limit import AdaptiveLimit


@given(
    st.integers(1, 64),
    st.integers(1, 64),
    st.lists(st.tuples(st.floats(0, 10), st.integers(0, 64), st.booleans()), max_size=200),
)
def test_never_leaves_its_bounds(max_limit, min_limit, calls):
    """Whatever happens, the limit stays between its bounds and at least 1."""
    limit = AdaptiveLimit(max_limit, slow_s=1.0, min_limit=min_limit)
    for seconds, inflight, congested in calls:
        assert min(min_limit, max_limit) <= limit.record(seconds, inflight, congested) <= max_limit


@given(st.integers(1, 64), st.integers(0, 300))
def test_good_calls_never_lower_it_and_congested_ones_never_raise_it(max_limit, congested):
    """The limit moves the right way, from wherever it stands."""
    limit = AdaptiveLimit(max_limit, slow_s=1.0)
    for _ in range(congested):
        before = limit.limit
        assert limit.record(0.1, before, congested=True) <= before
    before = limit.limit
    assert limit.record(0.1, before, congested=False) >= before


@pytest.mark.parametrize(("seconds", "grows"), [(1.0, True), (1.001, False)])
def test_a_slow_answer_counts_as_congestion(seconds, grows):
    """At `slow_s` a call is still good, above it is not."""
    limit = AdaptiveLimit(64, slow_s=1.0)
    for _ in range(20):
        limit.record(0.1, 64, congested=True)
    before = limit.limit
    for _ in range(20):
        limit.record(seconds, limit.limit, congested=False)
    assert (limit.limit > before) is grows


def test_idle_slots_teach_nothing():
    """With less than half of the slots in use, good calls do not raise the limit."""
    limit = AdaptiveLimit(64, slow_s=1.0)
    for _ in range(20):
        limit.record(0.1, 64, congested=True)
    before = limit.limit
    for _ in range(100):
        limit.record(0.1, before // 2 - 1, congested=False)
    assert limit.limit == before


@pytest.mark.parametrize("servers", [2, 4, 8, 16])
def test_finds_the_knee_of_a_queueing_teacher(servers):
    """Before c servers of 0.1 s that queue without bound: full throughput, no long queue."""
    throughput, mean_s = _saturate(servers, service_s=0.1, limit=AdaptiveLimit(64, slow_s=0.3))
    assert throughput > 0.9 * servers / 0.105
    assert mean_s < 0.3


def test_recovers_after_an_outage():
    """From one slot, a healthy teacher has all its slots back after some hundred answers."""
    limit = AdaptiveLimit(8, slow_s=1.0)
    for _ in range(100):
        limit.record(1.0, 8, congested=True)
    assert limit.limit == 1
    calls = 0
    while limit.limit < 8 and calls < 1000:
        limit.record(0.1, limit.limit, congested=False)
        calls += 1
    assert calls < 100


def _saturate(servers, service_s, limit, calls=4000):
    """As many callers as allowed, always; returns (answers a second, mean seconds of a call)."""
    rng = random.Random(1)
    now, inflight, free, spent = 0.0, [], [0.0] * servers, []
    for _ in range(calls):
        while len(inflight) < limit.limit:
            begins = max(now, heapq.heappop(free))
            ends = begins + service_s * rng.lognormvariate(0, 0.3)
            heapq.heappush(free, ends)
            heapq.heappush(inflight, (ends, now))
        now, started = heapq.heappop(inflight)
        spent.append(now - started)
        limit.record(now - started, len(inflight) + 1, congested=False)
    return calls / now, sum(spent[-1000:]) / 1000
