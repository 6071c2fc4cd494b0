"""A router's ledger goes to the database from a process beside it."""

import os
import signal
import time

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pydantic import SecretStr

from router.bench.process import Subject
from router.ledger.shipping.spool import Spool
from router.ledger.sqlite import SqliteLedger
from router.process.shipping import shipped
from router.settings import load_settings
from router.telemetry.metrics import Metrics
from router.testing import sample_entry
from tests.waiting import until


class Router:
    """What a router has of its ledger."""

    def __init__(self, path, url):
        settings = load_settings().model_copy(update={"database_url": SecretStr(url)})
        self.metrics = Metrics(CollectorRegistry())
        self.file = SqliteLedger(path, ships=True)
        self.ledger = shipped(self.file, settings, self.metrics)
        self.booked = 0

    def book(self, n):
        """Book so many requests, and see them in the file."""
        for _ in range(n):
            self.ledger.append(sample_entry(request_id=f"r{self.booked}", at=time.time()))
            self.booked += 1
        self.ledger.flush()

    def shown(self, name):
        """Return what a metric says."""
        line = next(
            each
            for each in generate_latest(self.metrics.registry).decode().splitlines()
            if each.startswith(f"{name} ")
        )
        return float(line.split()[1])

    @property
    def shipper(self):
        """Return the process that ships; None where there is none."""
        return Subject(os.getpid(), 0, {}).companions().get("shipper")


@pytest.fixture
def router(tmp_path, database):
    """One that ships, closed afterwards."""
    one = Router(tmp_path / "ledger.sqlite", database)
    yield one
    one.ledger.close()


def stored(database):
    """Rows in the database, and how many requests they are of."""
    with psycopg.connect(database) as connection:
        return connection.execute(
            "select count(*), count(distinct request_id) from raisehand.decisions"
        ).fetchone()


def test_rows_are_shipped_by_a_process_beside_the_router(router, database):
    """They come while the router serves, and its metrics tell what that process knows."""
    router.book(50)
    until(lambda: stored(database) == (50, 50))
    assert router.shipper is not None
    until(lambda: router.shown("raisehand_ledger_shipped_total") == 50)
    assert router.shown("raisehand_ledger_database_up") == 1
    assert router.shown("raisehand_ledger_days_ahead") == 3


def test_a_killed_shipper_is_replaced_and_no_row_is_lost_or_doubled(router, database):
    """It is killed while it may be at work, and another goes on."""
    router.book(50)
    until(lambda: stored(database)[0] == 50)
    first = router.shipper
    router.book(50)
    os.kill(first, signal.SIGKILL)
    until(lambda: router.shipper not in (None, first))
    router.book(50)
    until(lambda: stored(database) == (150, 150))


def test_what_is_left_is_shipped_at_the_end_and_nobody_stays(router, database):
    """A pod that ends takes its disk with it: the last rows are there, the process is gone."""
    router.book(5)
    until(lambda: stored(database)[0] == 5)
    router.book(70)
    router.ledger.close()
    assert stored(database) == (75, 75)
    assert router.shipper is None


def test_one_of_two_routers_of_a_host_has_the_process(router, database, tmp_path):
    """Two workers share a ledger: one ships; when it has ended, the other does."""
    until(lambda: router.shipper is not None)
    other = Router(tmp_path / "ledger.sqlite", database)
    other.book(9)
    until(lambda: stored(database)[0] == 9)
    assert other.shown("raisehand_ledger_shipped_total") == 0
    router.ledger.close()
    assert router.shipper is None
    other.booked += 100
    other.book(9)
    until(lambda: stored(database)[0] == 18)
    assert other.shipper is not None
    other.ledger.close()
    with Spool(tmp_path / "ledger.sqlite") as spool:
        assert spool.unshipped().rows == 0
