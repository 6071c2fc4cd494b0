"""A worker's link: verdicts reach all workers, a store that is away loses and clears nothing."""

import shutil

import msgspec
import numpy as np
import pytest

from router.promise.watch import Watch, judged_by
from router.shared.keeper import Keeper
from router.shared.memory import Memory
from router.shared.records import StoreAway
from router.shared.sqlite_store import SqliteStore
from students.labels import Prediction

JUDGE = judged_by("strict", 0.95)
LABELS = ("calm", "urgent")
SURE = Prediction(0, 0.97, np.array([0.97, 0.03]))


class Worker:
    """One worker's keeper and the bundle that it watches."""

    def __init__(self, path, task="urgent", **options):
        self.keeper = Keeper(SqliteStore(path), **options)
        self.watch = Watch(task, "bundle000001", LABELS, JUDGE, self.keeper.put)
        self.keeper.follow(self.watch)

    def audits(self, *disagreed):
        """Kept answers were audited."""
        for one in disagreed:
            self.watch.compared("r", 0.01, SURE, int(one), escalated=False)


@pytest.fixture
def workers(tmp_path):
    """Start workers with one store."""
    made = []

    def start(count=1, **options):
        made.extend(Worker(tmp_path / "work" / "s.sqlite", **options) for _ in range(count))
        return made[-count:]

    yield start
    for worker in made:
        worker.keeper.close()


def test_an_alarm_reaches_every_worker(workers):
    """By the audits of all; the one that told nothing hears of it, too."""
    first, second, idle = workers(3)
    for _ in range(20):
        first.audits(True)
        second.audits(True)
        assert first.keeper.exchange()
        assert second.keeper.exchange()
    assert idle.keeper.exchange()
    assert [w.watch.alarmed for w in (first, second, idle)] == [True] * 3
    versions = {w.watch.ruling.version for w in (first, second, idle)}
    assert versions == {2}


def test_a_worker_that_starts_knows_the_alarm_before_its_first_request(workers):
    """A restart forgets nothing."""
    (first,) = workers()
    first.audits(*[True] * 50)
    first.keeper.exchange()
    (later,) = workers()
    assert later.watch.alarmed


def test_a_store_that_is_away_clears_no_alarm_and_loses_no_audit(workers, tmp_path):
    """Audits wait, and are told once it is there again."""
    (worker,) = workers()
    worker.audits(*[True] * 50)
    assert worker.keeper.exchange()
    shutil.move(tmp_path / "work", tmp_path / "gone")
    (tmp_path / "work").write_text("in the way")
    worker.audits(False, False)
    assert not worker.keeper.exchange()
    assert (worker.watch.alarmed, worker.keeper.away, worker.keeper.waiting) == (True, True, 2)
    (tmp_path / "work").unlink()
    shutil.move(tmp_path / "gone", tmp_path / "work")
    assert worker.keeper.exchange()
    assert (worker.watch.alarmed, worker.keeper.away, worker.keeper.waiting) == (True, False, 0)
    assert len(worker.keeper.store.audits("urgent")) == 52


def test_a_store_that_was_emptied_clears_no_alarm(workers, tmp_path):
    """Somebody deletes the files under a running router: the last ruling stays."""
    (worker,) = workers()
    worker.audits(*[True] * 50)
    worker.keeper.exchange()
    shutil.rmtree(tmp_path / "work")
    worker.audits(False)
    assert worker.keeper.exchange()
    assert worker.watch.alarmed


def test_a_store_that_was_emptied_alarms_again(workers, tmp_path):
    """Its versions begin anew: what is more careful counts all the same."""
    (worker,) = workers()
    ruling = worker.watch.ruling
    worker.watch.ruling = msgspec.structs.replace(ruling, version=9)
    shutil.rmtree(tmp_path / "work")
    worker.audits(*[True] * 100)
    assert worker.keeper.exchange()
    assert worker.watch.alarmed


def test_what_fits_nowhere_is_counted(workers, tmp_path):
    """The memory of a worker whose store stays away is bounded."""
    (worker,) = workers(capacity=3)
    worker.audits(*[False] * 5)
    assert (worker.keeper.waiting, worker.keeper.lost) == (3, 2)


def test_a_worker_whose_store_was_never_there_does_not_start(tmp_path):
    """An alarm might be forgotten."""
    (tmp_path / "work").write_text("in the way")
    with pytest.raises(StoreAway):
        Worker(tmp_path / "work" / "s.sqlite")


def test_a_start_while_the_database_is_away_goes_by_what_this_host_remembers(workers, tmp_path):
    """Known, the last ruling; unknown, everything escalates; the store rules as soon as it can."""
    memory, store = Memory(tmp_path / "host"), tmp_path / "work"
    first, calm = workers(memory=memory), workers(memory=memory, task="other")
    first[0].audits(*[True] * 50)
    first[0].keeper.exchange()
    shutil.move(store, tmp_path / "gone")
    store.write_text("in the way")
    (again,), (other,) = workers(memory=memory), workers(memory=memory, task="other")
    (new,) = workers(memory=memory, task="new")
    assert (again.watch.alarmed, again.watch.ruling.verdict.reason) == (True, "promise_broken")
    assert not other.watch.alarmed
    assert (new.watch.alarmed, new.watch.ruling.verdict.reason) == (True, "ruling_unknown")
    store.unlink()
    shutil.move(tmp_path / "gone", store)
    for worker in (again, other, new):
        assert worker.keeper.exchange()
    assert [w.watch.alarmed for w in (again, other, new)] == [True, False, False]
    assert calm[0].watch.ruling.version == other.watch.ruling.version


def test_the_thread_tells_and_hears(workers):
    """Without anybody who asks; what waits at the end is stored."""
    first, second = workers(2, tick_s=0.01)
    first.keeper.start()
    second.keeper.start()
    first.audits(*[True] * 50)
    first.keeper.close()
    second.keeper.close()
    assert first.watch.alarmed
    assert second.watch.alarmed


@pytest.mark.parametrize("count", [1, 8])
def test_workers_alarm_as_one_does(tmp_path, count):
    """150 lives at 10 % against 5 %: until all of eight escalate, 1.2 times the audits of one."""
    rng = np.random.default_rng(1)
    taken = []
    for life in range(150):
        workers = [Worker(tmp_path / f"{life}.sqlite") for _ in range(count)]
        audits = 0
        while not all(worker.watch.alarmed for worker in workers):
            for _ in range(5):  # audits between two exchanges of all workers
                workers[rng.integers(count)].audits(rng.random() < 0.1)
                audits += 1
            for worker in workers:
                if worker.keeper.waiting or any(other.watch.alarmed for other in workers):
                    worker.keeper.exchange()
        taken.append(audits)
        for worker in workers:
            worker.keeper.store.close()
    assert np.median(taken) <= 162 * 1.2
