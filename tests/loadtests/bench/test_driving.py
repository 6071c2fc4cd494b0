"""A load of a bench lasts as long as what it is to tell needs."""

import pytest

from loadtests.bench.driving import chat_spec, for_p99
from loadtests.inputs.percentiles import MIN_SAMPLES


@pytest.mark.parametrize("rate", [7, 109, 5_000])
def test_a_slow_machine_is_asked_for_longer(rate, tmp_path):
    """However few a second it can, there are answers enough for a p99; never fewer seconds."""
    spec = chat_spec(tmp_path).model_copy(update={"duration_s": 5.0})
    found = for_p99(spec, rate)
    assert found.duration_s * rate > MIN_SAMPLES["p99"] * 1.1
    assert found.duration_s >= 5.0
    assert (found.duration_s > 5.0) == (rate < 240)
