"""What was paid, added up bit by bit, is what the ledger adds up to at once."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from costmodel.units import DAY_S
from router.errors import BadLedger
from router.ledger.read import read_totals
from router.ledger.rollup import fold
from router.ledger.schema import open_file
from router.ledger.sqlite import SqliteLedger
from router.process.board import spending
from router.process.board.spending import SpendingSums
from router.testing import sample_entry

NOW = datetime(2026, 11, 24, 15, tzinfo=UTC).timestamp()
MONTH = datetime(2026, 11, 1, tzinfo=UTC).timestamp()


def write(path, n, at, **changes):
    """Book so many rows from a moment on, a second apart."""
    ledger = SqliteLedger(path)
    for k in range(n):
        ledger.append(sample_entry(at=at + k, request_id=f"r-{at}-{k}", **changes))
    assert ledger.flush()
    ledger.close()


@pytest.fixture
def sums(tmp_path, monkeypatch):
    """Sums of a ledger whose chunks are small, and the waits between them."""
    monkeypatch.setattr(spending, "CHUNK", 7)
    rests = []
    made = SpendingSums(tmp_path / "ledger.sqlite", lambda: NOW, rests.append)
    made.rests = rests
    return made


def test_bit_by_bit_it_is_the_ledgers_sum(tmp_path, sums):
    """Rows of last month are out, today is a part of the month, new rows come on top."""
    path = tmp_path / "ledger.sqlite"
    write(path, 5, MONTH - 100)
    write(path, 20, MONTH + 3 * DAY_S, teacher_usd=Decimal("0.001"), attempts=1)
    write(path, 4, NOW - 10, teacher_usd=None)
    first = sums.advance(chunks=1)
    assert 0 < first.read < 1
    whole = sums.advance()
    assert whole.read == 1.0
    month, today = whole.month["urgent"], whole.today["urgent"]
    known = read_totals(path, MONTH).all
    assert (month.requests, month.unpriced) == (known.requests, known.unpriced) == (24, 4)
    assert (month.teacher_usd, month.student_usd) == (known.teacher_usd, known.student_usd)
    assert month.teacher_usd == Decimal("0.020")
    assert today.requests == 4
    write(path, 3, NOW - 5)
    assert sums.advance().month["urgent"].requests == 27
    assert all(rest >= 0 for rest in sums.rests)


def test_days_that_were_folded_are_not_counted_twice(tmp_path, sums, monkeypatch):
    """Rows that become a sum of their day move there one transaction at a time."""
    path = tmp_path / "ledger.sqlite"
    write(path, 30, MONTH + 2 * DAY_S)
    write(path, 5, NOW - 10)
    assert sums.advance().month["urgent"].requests == 35
    monkeypatch.setattr("router.ledger.rollup.CHUNK", 10)
    monkeypatch.setattr("time.time", lambda: NOW)
    connection = open_file(path)
    assert fold(connection, 5)  # ten of thirty have moved
    assert sums.advance().month["urgent"].requests == 35
    while fold(connection, 5):
        assert sums.advance().month["urgent"].requests == 35
    connection.close()
    again = SpendingSums(path, lambda: NOW, lambda s: None).advance()
    assert again.month["urgent"].requests == 35


def test_another_file_in_its_place_begins_anew(tmp_path, sums):
    """A ledger that was deleted is begun anew by the router, and here, too."""
    path = tmp_path / "ledger.sqlite"
    write(path, 9, NOW - 10)
    assert sums.advance().month["urgent"].requests == 9
    for part in tmp_path.glob("ledger.sqlite*"):
        part.unlink()
    write(path, 2, NOW - 10)
    assert sums.advance().month["urgent"].requests == 2


def test_no_file_is_one_sentence(tmp_path):
    """The page then shows no money."""
    with pytest.raises(BadLedger, match="there is no ledger"):
        SpendingSums(tmp_path / "none.sqlite").advance()
