"""Both stores: order, exactly once, events, and what happens when one is damaged or away."""

import sqlite3
import threading

import pytest

from router.database.migrate import migrate
from router.promise.watch import judged_by
from router.shared.postgres_store import PostgresStore
from router.shared.records import Event, StoreAway
from router.shared.sqlite_store import SqliteStore
from router.shared.store import FORGOTTEN
from router.testing import sample_audit

JUDGE = judged_by("strict", 0.95)
KEY = ("urgent", "0123456789ab")


@pytest.fixture
def path(tmp_path):
    """Where a file is."""
    return tmp_path / "work" / "shared.sqlite"


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request, path):
    """Open the same store again and again, each time as another worker does."""
    stores = []

    def again():
        if request.param == "sqlite":
            stores.append(SqliteStore(path))
        else:
            stores.append(PostgresStore(request.getfixturevalue("database")))
        return stores[-1]

    yield again
    for store in stores:
        store.close()


@pytest.fixture
def store(opened):
    """One of them."""
    return opened()


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


def test_another_process_goes_on_where_the_last_one_stopped(store, opened):
    """An alarm is there for whoever opens the file."""
    store.fold("a", *KEY, rows(*range(100), disagreed=True), JUDGE)
    other = opened()
    assert other.rulings()[0].verdict.escalate_all
    assert list(other.evidence("urgent")) == [KEY[1]]


def test_events_are_read_since_an_id(store):
    """In their order."""
    for i in range(3):
        store.record(
            Event(at=i, task="t", bundle="b", kind="note", reason=f"n{i}", actor="me",
                  figures={"share": 0.5})
        )  # fmt: skip
    first, *_ = store.events(limit=1)
    assert (first.reason, first.figures) == ("n0", {"share": 0.5})
    assert [e.reason for e in store.events(after=first.id)] == ["n1", "n2"]


def test_workers_that_write_together_are_one_stream(opened):
    """Eight threads with a connection each: every audit is folded exactly once, events in order."""
    stores = [opened() for _ in range(8)]

    def tell(index):
        for i in range(10):
            stores[index].fold(f"w{index}", *KEY, rows(2 * i, 2 * i + 1), JUDGE)
            stores[index].record(
                Event(at=0.0, task="t", bundle="b", kind="note", reason="", actor=f"w{index}")
            )

    threads = [threading.Thread(target=tell, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    seen = []
    while any(thread.is_alive() for thread in threads):
        seen += stores[0].events(after=seen[-1].id if seen else 0)
    seen += stores[0].events(after=seen[-1].id if seen else 0)
    assert len(seen) == 80
    assert stores[0].rulings()[0].verdict.figures["audits"] == 160
    assert len(stores[0].audits("urgent")) == 160


def test_old_audits_are_forgotten_and_what_they_showed_is_not(store):
    """A piece at a time, the oldest first; a batch that is told again counts no second time."""
    old = [(n, sample_audit(at=100.0 + n)) for n in range(FORGOTTEN + 5)]
    store.fold("a", *KEY, [*old, (len(old), sample_audit(at=9_000.0))], JUDGE)
    assert [store.forget(5_000.0) for _ in range(3)] == [FORGOTTEN, 5, 0]
    assert [audit.at for _, audit in store.audits("urgent")] == [9_000.0]
    again = store.fold("a", *KEY, old, JUDGE)
    assert again.verdict.figures["audits"] == len(old) + 1


def test_one_at_a_time_tells_a_receiver(store):
    """From the events after the first lease on, and from where the last one stopped."""
    note = Event(at=0.0, task="t", bundle="b", kind="note", reason="", actor="a")
    store.record(note)
    assert store.lease("hook", "a", 100.0, 10.0) == 1
    assert store.lease("hook", "b", 105.0, 10.0) is None
    store.record(note)
    store.advance("hook", "a", 2)
    assert store.lease("hook", "b", 111.0, 10.0) == 2
    store.release("hook", "b")
    assert store.lease("hook", "a", 112.0, 10.0) == 2


def test_the_file_is_its_owners_only(path):
    """Audits say what customers' requests were labelled."""
    store = SqliteStore(path)
    store.rulings()
    assert path.stat().st_mode & 0o777 == 0o600
    store.close()


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


def test_a_database_without_tables_or_without_a_server_is_away(empty_database, free_port_of):
    """In one sentence that says what to do and shows no password."""
    with pytest.raises(StoreAway, match="raisehand database migrate"):
        PostgresStore(empty_database).rulings()
    gone = PostgresStore(f"postgresql://me:secret@127.0.0.1:{free_port_of()}/raisehand")
    with pytest.raises(StoreAway, match="cannot be used") as away:
        gone.rulings()
    assert "secret" not in str(away.value)


def test_a_database_that_was_killed_is_used_again(make_postgres):
    """Without a restart of the router; what was committed is there."""
    server = make_postgres(fsync="on")
    url = server.create()
    migrate(url)
    store = PostgresStore(url)
    store.fold("a", *KEY, rows(0, 1), JUDGE)
    server.kill()
    with pytest.raises(StoreAway):
        store.rulings()
    server.start(fsync="on")
    assert store.rulings()[0].verdict.figures["audits"] == 2
    assert store.fold("a", *KEY, rows(0, 1, 2), JUDGE).verdict.figures["audits"] == 3
    store.close()
