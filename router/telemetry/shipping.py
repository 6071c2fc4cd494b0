"""How far the ledger's rows have come on their way to the database."""

from __future__ import annotations

import time
from collections.abc import Callable

from router.ledger.shipping.carrier import Shipping
from router.telemetry.metrics import Metrics, Reading


def watch_shipping(metrics: Metrics, known: Callable[[], Shipping]) -> None:
    """Show it at every scrape: of several workers the one that ships, the others show 0.

    Args:
        metrics: of this process.
        known: returns what is known now.
    """

    def age() -> float:
        oldest = known().unshipped.oldest_at
        return 0.0 if oldest is None else max(0.0, time.time() - oldest)

    metrics.watch(
        [
            Reading(
                "raisehand_ledger_database_up",
                "Whether the database took rows when it was last asked.",
                lambda: known().up,
            ),
            Reading(
                "raisehand_ledger_unshipped",
                "Ledger rows that the database has not got yet.",
                lambda: known().unshipped.rows,
            ),
            Reading(
                "raisehand_ledger_unshipped_age_seconds",
                "Age of the oldest ledger row that the database has not got yet.",
                age,
            ),
            Reading(
                "raisehand_ledger_shipped_total",
                "Ledger rows that this process gave to the database.",
                lambda: known().rows,
                counter=True,
            ),
            Reading(
                "raisehand_ledger_ship_errors_total",
                "Times that the database did not take rows, or its days could not be looked after.",
                lambda: known().errors,
                counter=True,
            ),
            Reading(
                "raisehand_ledger_days_ahead",
                "Days after today that have a partition in the database.",
                lambda: known().days_ahead,
            ),
            Reading(
                "raisehand_ledger_unreconciled_days",
                "Old days whose rows and sums differ: their rows are kept until somebody looks.",
                lambda: known().unreconciled,
            ),
        ]
    )
