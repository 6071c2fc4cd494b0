"""The bench of Ray Serve measures a real one beside a real shared engine."""

import pytest

from router.bench.on_ray.hand_over import SIZES, measure


@pytest.mark.e2e
def test_all_three_answer_and_are_measured(tmp_path):
    """Ten calls of each size; every figure is there."""
    found = measure(tmp_path, 10, 1, ha_proxy=False)
    assert [row["texts"] for row in found["microseconds"]] == list(SIZES)
    assert all(value > 0 for row in found["microseconds"] for value in row.values())
    assert min(found["memory_mb"]["engine"], found["start_s"]["engine"]) > 0
    assert found["memory_mb"]["ray_serve"] > found["memory_mb"]["engine"]
