"""How far the ledger's rows have come on their way to the database."""

from __future__ import annotations

import time

from router.ledger.shipping.shipper import Shipping
from router.telemetry.metrics import Metrics, Reading


def watch_shipping(metrics: Metrics, state: Shipping) -> None:
    """Show it at every scrape: of several workers the one that ships, the others show 0."""

    def age() -> float:
        oldest = state.unshipped.oldest_at
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    metrics.watch(
        [
            Reading(
                "raisehand_ledger_database_up",
                "Whether the database took rows when it was last asked.",
                lambda: state.up,
            ),
            Reading(
                "raisehand_ledger_unshipped",
                "Ledger rows that the database has not got yet.",
                lambda: state.unshipped.rows,
            ),
            Reading(
                "raisehand_ledger_unshipped_age_seconds",
                "Age of the oldest ledger row that the database has not got yet.",
                age,
            ),
            Reading(
                "raisehand_ledger_shipped_total",
                "Ledger rows that this process gave to the database.",
                lambda: state.rows,
                counter=True,
            ),
            Reading(
                "raisehand_ledger_ship_errors_total",
                "Times that the database did not take rows, or its days could not be looked after.",
                lambda: state.errors,
                counter=True,
            ),
            Reading(
                "raisehand_ledger_days_ahead",
                "Days after today that have a partition in the database.",
                lambda: state.days_ahead,
            ),
            Reading(
                "raisehand_ledger_unreconciled_days",
                "Old days whose rows and sums differ: their rows are kept until somebody looks.",
                lambda: state.unreconciled,
            ),
        ]
    )
