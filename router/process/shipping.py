"""Where a router's ledger goes on to the database of all hosts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from costmodel.companion import Companion
from router.ledger.entry import Ledger
from router.ledger.shipping.carrier import Carrier, Shipping
from router.ledger.shipping.opening import open_carrier  # psycopg is an extra
from router.ledger.shipping.shipped import ShippedLedger
from router.ledger.shipping.shipper import Shipper
from router.ledger.sqlite import SqliteLedger
from router.settings import Settings
from router.telemetry.logs import configure_logs
from router.telemetry.metrics import Metrics
from router.telemetry.shipping import watch_shipping
from students.task import Task

NICE = 10
"""It shares a core with requests that have most of it, and has to keep up with them."""


def shipped(
    file: SqliteLedger, settings: Settings, metrics: Metrics, tasks: Sequence[Task] = ()
) -> Ledger:
    """Return the ledger of a file, whose rows go on to the database where there is one.

    Feedback goes with them, and the kept texts of the tasks, from a process beside this one.

    Raises:
        BadDatabase: the database's address is wrong or its library is missing.
        BadTask: a key of texts cannot be had.
    """
    if settings.database_url is None:
        return file

    url, keep_days = settings.database_url.get_secret_value(), settings.ledger_keep_days or None
    open_here = partial(open_carrier, file.path, url, tasks, keep_days=keep_days)
    companion = Companion[None, Shipping]("shipper", partial(_rounds, open_here), NICE)
    shipper = Shipper(open_here(), companion)
    watch_shipping(metrics, lambda: shipper.state)
    return ShippedLedger(file, shipper)


def _rounds(open_here: Callable[[], Carrier]) -> Callable[[None], Shipping]:
    """Return what makes a round whenever it is asked; called in the process beside."""
    configure_logs(())
    carrier = open_here()

    def make_round(_: None) -> Shipping:
        carrier.round()
        return carrier.state

    return make_round
