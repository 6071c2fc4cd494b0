"""The store in a file: order, exactly once, events, and what happens to a damaged one."""

import sqlite3
import threading

import pytest

from router.promise.watch import judged_by
from router.shared.records import Event, StoreAway
from router.shared.sqlite_store import SqliteStore
from router.testing import sample_audit

JUDGE = judged_by("strict", 0.95)
KEY = ("urgent", "0123456789ab")


@pytest.fixture
def path(tmp_path):
    """Where the store is."""
    return tmp_path / "work" / "shared.sqlite"


@pytest.fixture
def store(path):
    """A store that is not there yet."""
    store = SqliteStore(path)
    yield store
    store.close()


def rows(*numbers, disagreed=False):
    """Audits with these numbers."""
    return [(n, sample_audit(request_id=f"r{n}", disagreed=disagreed)) for n in numbers]


def test_a_batch_that_is_told_twice_counts_once(store):
    """A worker that does not know whether its commit arrived tells it again, with what is new."""
    store.fold("a", *KEY, rows(0, 1, 2), JUDGE)
    ruling = store.fold("a", *KEY, rows(0, 1, 2, 3), JUDGE)
    assert ruling.verdict.figures["audits"] == 4
    assert store.fold("b", *KEY, rows(0), JUDGE).verdict.figures["audits"] == 5
    assert [a.request_id for _, a in store.audits("urgent")] == ["r0", "r1", "r2", "r3", "r0"]


def test_more_audits_than_one_statement_takes_are_all_there(store):
    """A worker comes back after a long absence."""
    store.fold("a", *KEY, rows(*range(1_003)), JUDGE)
    assert store.rulings()[0].verdict.figures["audits"] == 1_003
    found = store.audits(*KEY, limit=10)
    assert len(found) == 10
    assert len(store.audits(*KEY, after=found[-1][0])) == 993


def test_a_verdict_has_a_version_and_an_event(store):
    """Figures change with each audit, the version with the orders only."""
    first = store.fold("a", *KEY, rows(0), JUDGE)
    assert (first.version, store.fold("a", *KEY, rows(1), JUDGE).version) == (1, 1)
    alarm = store.fold("b", *KEY, rows(*range(2, 100), disagreed=True), JUDGE)
    assert (alarm.version, alarm.verdict.escalate_all) == (2, True)
    [event] = store.events()
    assert (event.kind, event.reason, event.actor) == ("verdict", "promise_broken", "b")
    assert event.figures["e_value"] >= 20
    assert store.fold("a", *KEY, rows(2), JUDGE).version == 2


def test_another_process_goes_on_where_the_last_one_stopped(store, path):
    """An alarm is there for whoever opens the file."""
    store.fold("a", *KEY, rows(*range(100), disagreed=True), JUDGE)
    other = SqliteStore(path)
    assert other.rulings()[0].verdict.escalate_all
    assert list(other.evidence("urgent")) == [KEY[1]]
    other.close()


def test_events_are_read_since_an_id(store):
    """In their order; the file is its owner's only."""
    for i in range(3):
        store.record(
            Event(at=i, task="t", bundle="b", kind="note", reason=f"n{i}", actor="me",
                  figures={"share": 0.5})
        )  # fmt: skip
    first, *_ = store.events(limit=1)
    assert (first.reason, first.figures) == ("n0", {"share": 0.5})
    assert [e.reason for e in store.events(after=first.id)] == ["n1", "n2"]
    assert store.path.stat().st_mode & 0o777 == 0o600


def test_workers_that_write_together_are_one_stream(path):
    """Eight threads with a connection each: every audit is folded exactly once."""
    stores = [SqliteStore(path) for _ in range(8)]

    def tell(index):
        for i in range(10):
            stores[index].fold(f"w{index}", *KEY, rows(2 * i, 2 * i + 1), JUDGE)

    threads = [threading.Thread(target=tell, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].rulings()[0].verdict.figures["audits"] == 160
    assert len(stores[0].audits("urgent")) == 160
    for one in stores:
        one.close()


def test_a_file_that_is_none_or_newer_is_away(path):
    """In one sentence that names it."""
    path.parent.mkdir()
    path.write_text("no database, whatever its name says")
    with pytest.raises(StoreAway, match=r"shared\.sqlite cannot be used"):
        SqliteStore(path).rulings()
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 99")
    with pytest.raises(StoreAway, match="newer than"):
        SqliteStore(path).rulings()
