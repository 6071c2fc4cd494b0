"""What /metrics says of the way to the database."""

import time

from prometheus_client import CollectorRegistry, generate_latest

from router.ledger.shipping.carrier import Shipping
from router.ledger.shipping.spool import Unshipped
from router.telemetry.metrics import Metrics
from router.telemetry.shipping import watch_shipping


def test_what_waits_is_shown_with_its_age():
    """Rows and age of what the database has not got, and 0 where there is nothing."""
    metrics, state = Metrics(CollectorRegistry()), Shipping()
    watch_shipping(metrics, lambda: state)
    shown = generate_latest(metrics.registry).decode()
    assert "raisehand_ledger_unshipped_age_seconds 0.0" in shown
    state.unshipped = Unshipped(7, time.time() - 100)
    shown = generate_latest(metrics.registry).decode()
    assert "raisehand_ledger_unshipped 7.0" in shown
    assert "raisehand_ledger_unshipped_age_seconds 100." in shown
