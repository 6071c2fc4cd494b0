"""Power and grid factors: sourced, dated, and unknown where nobody says."""

import pytest

from costmodel.errors import UnknownFootprint
from costmodel.money.footprint import shipped_factors
from costmodel.money.machines import shipped_machines


def test_a_machine_is_the_sum_of_its_cards_and_processors():
    """Idle and busy watts add up over what the price list says is in it."""
    factors = shipped_factors()
    assert factors.machine("2 vCPU, 4 GiB") == pytest.approx((1.48, 7.0))
    assert factors.machine("2× A100 80 GB, 8 vCPU") == pytest.approx((97.92, 842.0))


def test_a_card_that_nobody_has_estimated_is_no_zero():
    """A figure for an unknown card would be invented: it is asked for."""
    with pytest.raises(UnknownFootprint, match="no power is known for H100; give --watts"):
        shipped_factors().machine("8× H100 SXM 80 GB")
    with pytest.raises(UnknownFootprint, match="its parts are not known"):
        shipped_factors().machine("a rack")


def test_a_grid_is_found_by_its_region_or_the_near_one_named():
    """A misspelt region is told which one was probably meant."""
    assert shipped_factors().grid("eu-central-1") == 0.338
    with pytest.raises(UnknownFootprint, match="did you mean eu-central-1"):
        shipped_factors().grid("eu-central1")


def test_every_shipped_machine_has_a_figure_or_a_card_that_has_none():
    """Whatever the price list says of a machine is read: nothing in it is passed over."""
    factors = shipped_factors()
    for row in shipped_machines():
        if "×" in row.hardware and not any(f" {card} " in row.hardware for card in factors.watts):
            with pytest.raises(UnknownFootprint):
                factors.machine(row.hardware)
        else:
            idle, busy = factors.machine(row.hardware)
            assert 0 < idle < busy
