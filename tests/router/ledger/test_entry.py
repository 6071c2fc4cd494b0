"""The ledger: complete, exact, and never in the way of a request."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import BadLedger
from router.ledger.entry import Backlog, MemoryLedger, Sums
from router.ledger.read import read_entries, read_totals
from router.ledger.schema import SCHEMA_VERSION
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
from router.testing import sample_entry
from tests.waiting import until

NANO = Decimal("1e-9")
OTHERS = {
    "at": 1_700_000_000.5,
    "task": "other",
    "bundle": "bundle000002",
    "surface": "chat",
    "route": Route.DEGRADED,
    "reason": Reason.TEACHER_BUSY,
    "label": None,
    "confidence": None,
    "student_usd": None,
    "teacher_usd": Decimal("0.000123"),
    "input_tokens": 101,
    "output_tokens": 3,
    "attempts": 4,
    "degraded": True,
    "audited": True,
    "propensity": 0.25,
    "text_sha256": "0f",
    "client": "team-z",
    "cached_input_tokens": 5,
    "estimated": True,
    "model": "another",
    "student_label": "calm",
    "teacher_label": "",
}
"""A value for each field that `sample_entry` has not, but for what is counted up."""


@pytest.fixture
def path(tmp_path):
    """Where a ledger may be written."""
    return tmp_path / "ledger.sqlite"


def test_an_entry_comes_back_as_it_went_in(path):
    """Every field survives the file: money to the pico-dollar, None as None."""
    entries = [
        sample_entry(),
        sample_entry(
            route=Route.DEGRADED,
            reason=Reason.TEACHER_TIMEOUT,
            label=None,
            confidence=None,
            teacher_usd=None,
            attempts=2,
            degraded=True,
            audited=True,
            estimated=True,
            client="team-a",
            input_tokens=31,
            output_tokens=2,
            cached_input_tokens=7,
            student_label="calm",
            teacher_label="",
        ),
    ]
    ledger = SqliteLedger(path)
    for entry in entries:
        ledger.append(entry)
    ledger.close()
    assert list(read_entries(path)) == entries


@settings(max_examples=20, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Route)),
            st.sampled_from(list(Reason)),
            st.none() | st.integers(0, 10**16).map(lambda pico: Decimal(pico).scaleb(-12)),
            st.integers(0, 3),
        ),
        max_size=60,
    )
)
def test_totals_of_the_file_equal_totals_in_memory(tmp_path_factory, rows):
    """What SQLite adds up is what Decimal adds up, to the last digit."""
    path = tmp_path_factory.mktemp("ledger") / "l.sqlite"
    memory, ledger = MemoryLedger(), SqliteLedger(path, interval_s=0.01)
    for route, reason, usd, attempts in rows:
        entry = sample_entry(route=route, reason=reason, teacher_usd=usd, attempts=attempts)
        memory.append(entry)
        ledger.append(entry)
    ledger.close()
    assert read_totals(path) == memory.totals()


def test_entries_that_are_stored_together_are_not_mixed_up(path):
    """Each comes back with its own values, whichever of them it has in common with others."""
    plain = sample_entry().__struct_fields__
    kinds = [{}, *({name: other} for name, other in OTHERS.items()), OTHERS]
    entries = [
        sample_entry(**{"request_id": f"r{i:03}", "latency_ms": float(i), **kinds[i % len(kinds)]})
        for i in range(7 * len(kinds))
    ]
    assert OTHERS.keys() == set(plain) - {"request_id", "latency_ms"}
    ledger = SqliteLedger(path, interval_s=60.0)
    for entry in entries:
        ledger.append(entry)
    ledger.close()
    assert sorted(read_entries(path), key=lambda entry: entry.request_id) == entries


def test_sums_beyond_64_bits_of_pico_dollars(path):
    """A ledger of more than nine million dollars still adds up exactly."""
    ledger = SqliteLedger(path)
    for _ in range(3):
        ledger.append(sample_entry(teacher_usd=Decimal("9000000.000000000001")))
    ledger.close()
    assert read_totals(path).all.teacher_usd == Decimal("27000000.000000000003")


def test_unpriced_is_counted_and_never_zero_dollars(path):
    """A request with an unknown price stands in `unpriced`, beside the sums."""
    ledger = SqliteLedger(path)
    ledger.append(sample_entry(route=Route.TEACHER, teacher_usd=None, attempts=1))
    ledger.append(sample_entry(route=Route.TEACHER, teacher_usd=NANO, attempts=1))
    ledger.close()
    sums = read_totals(path).by_route["teacher"]
    assert (sums.requests, sums.unpriced, sums.teacher_usd) == (2, 1, NANO)


def test_totals_since_a_moment(path):
    """`since` includes its own moment and nothing before."""
    ledger = SqliteLedger(path)
    for at in (99.9, 100.0, 100.1):
        ledger.append(sample_entry(at=at))
    assert ledger.flush()
    assert read_totals(path, since=100.0).all.requests == 2
    ledger.close()


def test_batches_of_every_size_share_a_few_statements(path):
    """A connection keeps each statement's program: one for every size would take ever more room."""
    statements = set()

    class Connection(sqlite3.Connection):
        def execute(self, sql, *values):
            statements.add(sql)
            return super().execute(sql, *values)

    def connect(path):
        return sqlite3.connect(
            path, factory=Connection, isolation_level=None, check_same_thread=False
        )

    ledger, sizes = SqliteLedger(path, connect=connect), range(1, 400, 13)
    for size in sizes:
        for n in range(size):
            ledger.append(sample_entry(request_id=f"{size}-{n}"))
        assert ledger.flush()
    ledger.close()
    written = [entry.request_id for entry in read_entries(path)]
    assert written == [f"{size}-{n}" for size in sizes for n in range(size)]
    assert sum("insert" in sql for sql in statements) == 5


def test_a_full_buffer_drops_and_counts(path):
    """Beyond `capacity` entries are dropped and counted; `append` neither waits nor raises."""
    ledger = SqliteLedger(path, capacity=3, interval_s=60)
    for _ in range(5):
        ledger.append(sample_entry())
    assert ledger.dropped == 2
    ledger.close()
    assert read_totals(path).all.requests == 3


def test_a_locked_file_only_delays(path):
    """While another process holds the file, entries wait; afterwards all are there."""
    ledger = SqliteLedger(path, interval_s=0.01, connect=_impatient)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    for _ in range(10):
        ledger.append(sample_entry())
    assert not ledger.flush(timeout_s=0.2)
    until(lambda: ledger.write_errors > 0)
    assert ledger.pending == 10
    other.execute("rollback")
    other.close()
    assert ledger.flush()
    assert (ledger.dropped, read_totals(path).all.requests) == (0, 10)
    ledger.close()


def test_a_full_disk_never_fails_a_request(path):
    """SQLITE_FULL is retried; when space comes back nothing was lost, and no append ever raised."""
    full = False

    def connect(to):
        connection = _impatient(to)
        if full:
            pages = connection.execute("pragma page_count").fetchone()[0]
            connection.execute(f"pragma max_page_count = {pages + 2}")
        return connection

    ledger = SqliteLedger(path, interval_s=0.1, connect=connect)
    full = True
    for _ in range(2_000):
        ledger.append(sample_entry())
    assert not ledger.flush(timeout_s=0.3)
    until(lambda: "full" in (ledger.last_error or ""))
    full = False
    assert ledger.flush()
    assert (ledger.dropped, read_totals(path).all.requests) == (0, 2_000)
    ledger.close()


@pytest.mark.parametrize("fault", [MemoryError(), RuntimeError("who knows"), OSError("gone")])
def test_no_fault_of_whatever_kind_ends_the_writer(path, fault):
    """It is counted and tried again; every entry is stored in the end, and the backlog shows."""
    faults = [fault] * 3

    def connect(to):
        if faults and threading.current_thread().name == "ledger":
            raise faults.pop()
        return _impatient(to)

    ledger = SqliteLedger(path, interval_s=0.01, connect=connect)
    ledger.append(sample_entry(at=time.time() - 5))
    assert ledger.backlog.entries == 1
    assert ledger.backlog.oldest_s >= 5
    assert ledger.flush()
    assert ledger.backlog == Backlog(errors=3)
    ledger.close()
    assert read_totals(path).all.requests == 1


@pytest.mark.parametrize("replaced", [False, True])
def test_a_deleted_file_is_noticed_and_begun_anew(path, caplog, replaced):
    """Rows no longer go where nobody can read them."""
    ledger = SqliteLedger(path, interval_s=0.01)
    ledger.append(sample_entry())
    assert ledger.flush()
    path.unlink()
    if replaced:
        path.touch()
    for _ in range(3):
        ledger.append(sample_entry())
        assert ledger.flush()
    assert ledger.backlog.errors == 1
    assert "deleted or replaced" in caplog.text
    ledger.close()
    assert read_totals(path).all.requests == 3


def test_only_its_owner_reads_a_ledger(path):
    """The file, and what SQLite puts beside it."""
    ledger = SqliteLedger(path)
    ledger.append(sample_entry())
    assert ledger.flush()
    modes = {file.stat().st_mode & 0o777 for file in path.parent.glob(path.name + "*")}
    ledger.close()
    assert modes == {0o600}


def test_close_gives_up_in_time_and_counts_what_is_lost(path):
    """A file that stays locked for ever cannot hold up a shutdown; the loss is counted."""
    ledger = SqliteLedger(path, interval_s=0.01, close_timeout_s=0.2, connect=_impatient)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin exclusive")
    ledger.append(sample_entry())
    ledger.close()
    assert ledger.dropped == 1
    other.close()


def test_one_entry_that_cannot_be_stored_costs_only_itself(path):
    """A lone surrogate in one entry is dropped and counted; its neighbours are stored."""
    ledger = SqliteLedger(path)
    for label in ("a", "\ud800", "b"):
        ledger.append(sample_entry(label=label))
    ledger.close()
    assert [entry.label for entry in read_entries(path)] == ["a", "b"]
    assert ledger.dropped == 1


def test_close_drains_and_a_later_append_is_counted(path):
    """Closing stores what is buffered; what comes after is dropped and counted."""
    ledger = SqliteLedger(path, interval_s=60)
    for _ in range(5_000):
        ledger.append(sample_entry())
    ledger.close()
    ledger.append(sample_entry())
    ledger.close()
    assert (read_totals(path).all.requests, ledger.dropped) == (5_000, 1)


def test_kill_9_loses_at_most_the_last_moment(path):
    """After SIGKILL everything that had been flushed is in the file, and the file opens."""
    script = f"""
import sys, time
from decimal import Decimal
from pathlib import Path
from router.ledger.entry import Entry
from router.ledger.schema import SCHEMA_VERSION
from router.ledger.sqlite import SqliteLedger
from router.policy import Reason, Route
ledger = SqliteLedger(Path({str(path)!r}), interval_s=0.01)
fields = dict(at=1.0, task="t", bundle="b", surface="s", route=Route.STUDENT,
    reason=Reason.CONFIDENT, label="x", confidence=0.9, student_usd=Decimal(0),
    teacher_usd=Decimal(0), input_tokens=0, output_tokens=0, attempts=0, latency_ms=1.0,
    degraded=False, audited=False, propensity=0.0, text_sha256="")
for i in range(1000):
    ledger.append(Entry(request_id=str(i), **fields))
assert ledger.flush()
print("flushed", flush=True)
while True:
    ledger.append(Entry(request_id="late", **fields))
    time.sleep(0.001)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "flushed\n"
    time.sleep(0.1)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    ids = [entry.request_id for entry in read_entries(path)]
    assert ids[:1000] == [str(i) for i in range(1000)]
    SqliteLedger(path).close()


def test_two_processes_may_share_one_file(path):
    """Two writers at once lose nothing."""
    ledgers = [SqliteLedger(path, interval_s=0.001) for _ in range(2)]
    for _ in range(500):
        for ledger in ledgers:
            ledger.append(sample_entry())
    for ledger in ledgers:
        ledger.close()
    assert read_totals(path).all.requests == 1_000
    assert [ledger.dropped for ledger in ledgers] == [0, 0]


def test_append_is_cheap_beside_a_busy_writer(path):
    """The hot path pays microseconds, also while the writer writes."""
    ledger = SqliteLedger(path, capacity=10**6)
    entry = sample_entry()
    best = min(_seconds_of(lambda: [ledger.append(entry) for _ in range(10_000)]) for _ in range(5))
    assert best / 10_000 < 20e-6
    ledger.close()
    assert ledger.dropped == 0


def test_writer_keeps_up_beside_a_busy_interpreter(path):
    """A thread that never rests does not starve the writer (executemany would write 100 rows/s)."""
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    busy.start()
    ledger = SqliteLedger(path)
    try:
        for _ in range(5_000):
            ledger.append(sample_entry())
        assert ledger.flush(timeout_s=30.0)
    finally:
        stop.set()
        busy.join()
        ledger.close()


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"not a database, surely not one at all" * 40, "not a database"), (None, "cannot be opened")],
)
def test_a_file_that_is_no_ledger_is_refused_at_start(path, content, words):
    """A wrong file or an unwritable place is one clear sentence before the first request."""
    if content is None:
        path = path / "under" / "a" / "file"
        path.parents[2].write_bytes(b"x")
    else:
        path.write_bytes(content)
    with pytest.raises(BadLedger, match=words):
        SqliteLedger(path)


def test_a_newer_schema_is_refused(path):
    """A file of a later version is never written to."""
    SqliteLedger(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"pragma user_version = {SCHEMA_VERSION + 1}")
    with pytest.raises(BadLedger, match="upgrade raisehand"):
        SqliteLedger(path)
    with pytest.raises(BadLedger, match="upgrade raisehand"):
        read_totals(path)


def test_reading_what_is_not_there(path):
    """Totals of a missing or a foreign file are refused, and nothing is created."""
    with pytest.raises(BadLedger, match="there is no ledger"):
        read_totals(path)
    assert not path.exists()
    sqlite3.connect(path).execute("create table other (x)")
    with pytest.raises(BadLedger, match="no raisehand ledger"):
        read_totals(path)


def test_sums_add():
    """Sums of routes add up to the sums of all."""
    one = Sums(requests=1, student_usd=NANO, teacher_usd=2 * NANO, attempts=1)
    assert (one + one).usd == 6 * NANO
    assert (one + one).requests == 2


def _impatient(path):
    connection = sqlite3.connect(path, timeout=0.02, isolation_level=None, check_same_thread=False)
    connection.execute("pragma journal_mode = wal")
    connection.execute("pragma synchronous = normal")
    return connection


def _seconds_of(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_a_ledger_that_another_worker_is_making_is_waited_for(tmp_path):
    """Locked for 0.3 s at the start, as when two workers open the same new file: it opens."""
    path = tmp_path / "l.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("pragma locking_mode = exclusive")
    other.execute("create table t (x)")
    timer = threading.Timer(0.3, other.close)
    timer.start()
    SqliteLedger(path, connect=_impatient).close()
    timer.join()


def test_a_file_without_the_newest_columns_is_read_and_brought_up(path):
    """Rows of an earlier version say nothing of what it did not know, and new rows join them."""
    ledger = SqliteLedger(path)
    ledger.append(sample_entry(request_id="old"))
    ledger.close()
    with sqlite3.connect(path) as connection:
        for name in ("student_label", "teacher_label", "model"):
            connection.execute(f"alter table entries drop column {name}")
    [old] = read_entries(path)
    assert (old.student_label, old.teacher_label, old.model) == (None, None, "")
    ledger = SqliteLedger(path)
    ledger.append(sample_entry(request_id="new", student_label="calm"))
    ledger.close()
    assert [entry.student_label for entry in read_entries(path)] == [None, "calm"]
