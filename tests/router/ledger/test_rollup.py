"""Old rows become sums of their day, and what the ledger adds up to stays the same."""

import sqlite3
import time
from collections import Counter
from contextlib import closing
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costmodel.units import DAY_S
from router.errors import BadLedger
from router.ledger import rollup as ledger_days
from router.ledger.entry import MemoryLedger
from router.ledger.read import read_entries, read_spending, read_totals
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import sample_entry
from tests.waiting import until

TODAY = int(time.time()) // DAY_S * DAY_S
OLD, KEPT = TODAY - 30 * DAY_S, TODAY - 5 * DAY_S


@pytest.fixture
def path(tmp_path):
    """Where a ledger may be written."""
    return tmp_path / "ledger.sqlite"


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 40),
            st.sampled_from(list(Route)),
            st.sampled_from(list(Reason)),
            st.none() | st.integers(0, 10**19).map(lambda pico: Decimal(pico).scaleb(-12)),
            st.sampled_from(["", "team-a"]),
        ),
        min_size=1,
        max_size=60,
    )
)
def test_folding_changes_no_sum(tmp_path_factory, rows):
    """Whatever the rows and their days: before and after, everything adds up to the same."""
    path = tmp_path_factory.mktemp("ledger") / "l.sqlite"
    memory = MemoryLedger()
    for days_ago, route, reason, usd, client in rows:
        memory.append(
            sample_entry(
                at=TODAY - days_ago * DAY_S + 60.0,
                route=route,
                reason=reason,
                teacher_usd=usd and min(usd, Decimal(9_000_000)),
                client=client,
                degraded=client == "",
                input_tokens=days_ago,
            )
        )
    _write(path, memory.entries)
    _fold(path, keep_days=7)
    assert read_totals(path) == memory.totals()
    kept = [entry for entry in memory.entries if entry.at >= TODAY - 7 * DAY_S]
    assert Counter(read_entries(path)) == Counter(kept)


def test_days_are_folded_in_chunks_that_add_up(path, monkeypatch):
    """A day of more rows than one transaction takes is one line for each task, route and reason."""
    monkeypatch.setattr(ledger_days, "CHUNK", 10)
    _write(path, [sample_entry(at=OLD + n) for n in range(95)])
    _fold(path, keep_days=7)
    assert read_totals(path).all.requests == 95
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("select count(*), sum(requests) from days").fetchone() == (1, 95)


def test_without_keep_days_every_row_stays(path):
    """By default nothing is folded."""
    _write(path, [sample_entry(at=OLD)])
    with closing(SqliteLedger(path)) as ledger:
        ledger.append(sample_entry(at=float(TODAY)))
        ledger.flush()
    assert len(list(read_entries(path))) == 2


def test_two_workers_fold_one_file(path, monkeypatch):
    """Both fold while both write: no row is counted twice and none is lost."""
    monkeypatch.setattr(ledger_days, "CHUNK", 7)
    _write(path, [sample_entry(at=OLD + n / 10) for n in range(500)])
    ledgers = [SqliteLedger(path, keep_days=7, interval_s=0.001) for _ in range(2)]
    for n in range(200):
        for ledger in ledgers:
            ledger.append(sample_entry(at=TODAY + n / 10))
    seen = set()

    def folded():
        seen.add(read_totals(path).all.requests)
        return len(list(read_entries(path))) <= 400

    until(folded)
    for ledger in ledgers:
        ledger.close()
    assert read_totals(path).all.requests == 900
    assert max(seen) <= 900
    assert len(list(read_entries(path))) == 400
    assert [ledger.dropped for ledger in ledgers] == [0, 0]


def test_since_within_a_folded_day_is_refused(path):
    """A part of a day whose rows are gone cannot be told; its midnights can."""
    _write(path, [sample_entry(at=OLD + 60.0), sample_entry(at=KEPT + 60.0)])
    _fold(path, keep_days=7)
    assert read_totals(path, since=OLD).all.requests == 2
    assert read_totals(path, since=OLD + DAY_S).all.requests == 1
    assert read_totals(path, since=KEPT + 61.0).all.requests == 0
    with pytest.raises(BadLedger, match="only the sum of the whole day is kept"):
        read_totals(path, since=OLD + 30.0)


def test_a_ledger_of_the_version_before_is_read_and_taken_over(path):
    """A file without day sums adds up; a router that opens it folds it."""
    _write(path, [sample_entry(at=OLD)])
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("drop table days; pragma user_version = 1;")
    assert read_totals(path).all.requests == 1
    _fold(path, keep_days=7)
    assert (read_totals(path).all.requests, list(read_entries(path))) == (1, [])


def test_what_keys_spent_today_is_never_folded(path):
    """The rows of today stay rows even with the shortest time; audits are none of a key's money."""
    spent = sample_entry(
        at=TODAY + 1.0, client="team-a", route=Route.TEACHER, teacher_usd=Decimal(2)
    )
    audit = sample_entry(
        at=TODAY + 1.0, client="team-a", teacher_usd=Decimal(3), student_usd=Decimal(0)
    )
    _write(path, [spent, audit, sample_entry(at=OLD)])
    _fold(path, keep_days=1)
    assert read_spending(path, TODAY)["team-a"] == spent.student_usd + 2


def _write(path, entries):
    with closing(SqliteLedger(path)) as ledger:
        for entry in entries:
            ledger.append(entry)


def _fold(path, keep_days):
    """Let a router's ledger fold until nothing is old any more."""
    before = TODAY - keep_days * DAY_S
    with closing(SqliteLedger(path, keep_days=keep_days, interval_s=0.001)):
        until(lambda: all(entry.at >= before for entry in read_entries(path)), 0.005)
