"""Energy of a month of machines, by hand."""

from decimal import Decimal

import pytest

from costmodel.bill.footprint import footprint
from costmodel.bill.machines import Fleet, by_request, rented
from costmodel.money.pricebook import price_of
from costmodel.money.pricing import MachinePrice, PriceSpec


@pytest.fixture
def bill():
    """Two machines of 10 requests a second, for a tenth of what they could carry."""
    price = price_of(PriceSpec(usd_per_hour=Decimal(1), requests_per_second=10))
    assert isinstance(price, MachinePrice)
    return rented("student", price, Decimal(2 * 730 * 3600), Fleet())


def test_idle_hours_draw_power_too(bill):
    """730 hours × 2 machines × (idle + a tenth of the way to busy) × PUE."""
    found = footprint(bill, (10.0, 110.0), 1.5, 0.4)
    assert found.utilisation == pytest.approx(0.1)
    assert found.kwh == pytest.approx(730 * 2 * 20 * 1.5 / 1000)
    assert found.kg_co2e == pytest.approx(found.kwh * 0.4)


def test_what_is_paid_by_the_request_has_no_machines_here():
    """Nothing of one's own draws power: 0, and the command says that the supplier's is unknown."""
    assert footprint(by_request("teacher", Decimal(5)), (10.0, 20.0), 1.1, 1.0).kwh == 0
