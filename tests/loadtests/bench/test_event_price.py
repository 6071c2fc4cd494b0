"""The price of Locust's event is measured where it is paid."""

import pytest

from loadtests.bench.event_price import event_price


@pytest.mark.e2e
def test_the_same_requests_are_measured_with_and_without(server, rows):
    """Both have a price, in microseconds of this process' core."""
    price = event_price(server("null"), rows)
    assert 1 < price.without < 1_000
    assert 1 < price.with_event < 1_000
