"""What tables add up to reaches all hosts: each chunk once, beside rows that were asked about."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest

from router.errors import BadLedger
from router.insight.savings import read_savings
from router.ledger.chunks import ChunkLedger
from router.ledger.entry import Sums
from router.ledger.merged import totals_of
from router.ledger.shipping.days import wrong_days
from router.ledger.shipping.opening import open_carrier
from router.ledger.shipping.shipper import Shipper
from router.ledger.shipping.tables import TableSumsCargo
from router.policy import Reason, Route
from router.process.board.spending import open_spending
from router.testing import sample_entry

NOW = time.time()
KEPT = (Route.STUDENT, Reason.CONFIDENT)
SUMS = {
    KEPT: Sums(requests=1000, student_usd=Decimal("0.012403000007")),
    (Route.REFUSED, Reason.ROUTER_STOPPED): Sums(
        teacher_usd=Decimal("12345678.25"), input_tokens=7, attempts=1, estimated=1
    ),
}


@pytest.fixture
def hosts(tmp_path):
    """Ledgers of jobs on two hosts."""
    return [ChunkLedger(tmp_path / f"{name}.sqlite") for name in ("one", "two")]


def asked(request_id):
    """A row of a table that the teacher answered."""
    return sample_entry(
        at=NOW, request_id=request_id, surface="batch", route=Route.TEACHER,
        reason=Reason.LOW_CONFIDENCE, teacher_usd=Decimal("0.5"), attempts=1,
    )  # fmt: skip


def ship(ledger, url):
    """Carry a ledger to the database, as a job does at its end."""
    assert Shipper(open_carrier(ledger.path, url)).close(60.0)


def test_tables_of_two_hosts_add_up(hosts, database):
    """Dollars to the pico-dollar, rows with and without an entry, and the books still agree."""
    for k, ledger in enumerate(hosts):
        ledger.book("job", 0, "urgent", [asked(f"{k}-0")], SUMS)
        ship(ledger, database)
        ledger.book("job", 1, "urgent", [], SUMS)
        ship(ledger, database)
    ship(hosts[0], database)  # nothing is left
    parts = [totals_of(str(ledger.path)) for ledger in hosts]
    whole = totals_of(database)
    assert whole.all == parts[0].all + parts[1].all
    assert whole.by_route["student"].student_usd == 4 * Decimal("0.012403000007")
    assert whole.all.requests == 4_002
    with psycopg.connect(database) as connection:
        assert wrong_days(connection) == []
    one, other = (open_spending(source).advance() for source in (hosts[0].path, database))
    assert 2 * one.month["urgent"].requests == other.month["urgent"].requests
    assert 2 * one.today["urgent"].teacher_usd == other.today["urgent"].teacher_usd


def test_a_kill_before_the_file_learns_of_it_adds_nothing(hosts, database):
    """The database's own word counts."""
    ledger = hosts[0]
    ledger.book("job", 0, "urgent", [], SUMS)
    with psycopg.connect(database, autocommit=True) as connection:
        cargo = TableSumsCargo(ledger.path)
        cargo.ship(connection)
        assert not cargo.waits()
        with sqlite3.connect(ledger.path) as file:
            file.execute("update table_sums set shipped = 0")
        assert cargo.waits()
        cargo.ship(connection)
    assert totals_of(database).all.requests == 1_000


def test_a_part_of_a_day_with_tables_cannot_be_told(hosts, database):
    """As in the file: of that day only the whole sum is kept."""
    hosts[0].book("job", 0, "urgent", [], SUMS)
    ship(hosts[0], database)
    day = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for source in (database, str(hosts[0].path)):
        with pytest.raises(BadLedger, match="only the sum of the whole day"):
            totals_of(source, day.timestamp() + 0.5)
        assert totals_of(source, day.timestamp()).all.requests == 1_000
        assert not totals_of(source, (day + timedelta(days=1)).timestamp()).all.requests


def test_a_table_folds_no_day(hosts):
    """Savings of the traffic of this day can still be told after a job."""
    hosts[0].book("job", 0, "urgent", [sample_entry(at=NOW)], SUMS)
    assert read_savings(hosts[0].path, "urgent", NOW - 1, NOW + 1).requests == 1
