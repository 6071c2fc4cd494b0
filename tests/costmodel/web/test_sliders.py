"""What moving a control means for the deployment behind the page."""

import pytest

from costmodel.inputs.taskfile import read_deployment
from costmodel.web.sliders import moved
from costmodel.whatif import project_deployment


def test_a_moved_token_price_moves_its_cache_along(plain_task):
    """A price of one's own keeps the ratio of its cached input: all doubled doubles the bill."""
    price = {"usd_per_mtok_input": 2, "usd_per_mtok_output": 8, "usd_per_mtok_cached_input": 0.5}
    changes = {"evaluation.n": 2600, "evaluation.escalated": 290, "usage.input_tokens": 300,
               "usage.output_tokens": 10, "usage.cached_input_tokens": 200}  # fmt: skip
    changes |= {f"teacher.price.{name}": usd for name, usd in price.items()}
    base = read_deployment(plain_task[1], changes=changes)
    doubled = moved(base, {"input_price": "4", "output_price": "16"})
    usd = [
        float(project_deployment(one).rail("teacher_only").usd_per_month) for one in (base, doubled)
    ]
    assert usd[1] == pytest.approx(2 * usd[0])
