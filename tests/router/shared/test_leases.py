"""Nobody overspends beyond what one holds, whoever dies; nothing is stranded that is in demand."""

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.shared.leases import LEASE_S, PICO, BudgetStanding, Claim, SharedBudget, settle
from router.shared.purser import Purser
from router.shared.records import StoreAway
from router.shared.sqlite_store import SqliteStore
from router.testing import ManualClock

amounts = st.integers(0, 3 * PICO)


@given(
    size=amounts, out=amounts, held=amounts, spent=amounts, want=amounts,
    others=st.integers(0, 50), per_s=st.floats(0, 1e12), age=st.floats(0, 1e5),
)  # fmt: skip
def test_a_slice_is_a_small_part_of_what_is_left(size, out, held, spent, want, others, per_s, age):
    """At most 1/(2N) of it, or the floor; and never more than is wanted, or left."""
    budget = SharedBudget("b", size, per_s)
    claim = Claim(budget, spent, want)
    after, lease = settle(budget, BudgetStanding(held + out, 0.0), held, claim, others, age)
    slice_, left = lease.limit - spent, lease.left + (lease.limit - spent)
    assert 0 <= slice_ <= want
    assert slice_ <= max(left / (2 * (others + 1)), min(left, budget.floor))
    assert 0 <= left <= size
    assert after.handed_out >= slice_
    if not per_s:
        assert after.handed_out == max(0, out + spent) + slice_


class _Fleet:
    """Processes on several hosts that spend what they can get of one budget, by a clock of ours."""

    def __init__(self, folder, budget, hosts, chance):
        self.clock = ManualClock(now=1e9)
        self.chance = chance
        self.budget = budget
        self.store = _Dated(folder / "shared.sqlite", self.clock)
        self.hosts = [folder / f"host-{n}" for n in range(hosts)]
        self.workers = {}
        self.spent = self.overdrawn = 0
        self.most = 0

    def start(self, host):
        """Start a process; it takes the seat of one that died, or a new one."""
        purser = Purser(self.store, host, clock=self.clock)
        self.workers[purser] = purser.open(self.budget)
        purser.renew()

    def kill(self, purser):
        """End a process as SIGKILL does: the kernel drops its lock, nobody writes anything."""
        self.workers.pop(purser)
        seat = purser._seat
        seat._map.close()
        __import__("os").close(seat._descriptor)

    def step(self, seconds, demand):
        """Let time pass and every process ask for the teacher, so many dollars' worth in all."""
        self.clock.now += seconds
        for purser, purse in self.workers.items():
            with suppress(StoreAway):
                purser.renew()
            self.most = max(self.most, purse.in_hand)
            want = int(demand * self.chance.random() * PICO)
            while want > 0 and purse.affords():
                one = min(want, self.chance.randint(1, PICO // 500))
                purse.spend(one)
                self.spent += one
                want -= one


class _Dated(SqliteStore):
    """A store by the clock of the test, that may be away."""

    def __init__(self, path, clock):
        super().__init__(path)
        self._clock = clock
        self.gone = False

    def _now(self, execute):
        return self._clock()

    def lease_budgets(self, seat, claims):
        if self.gone:
            raise StoreAway("gone")
        return super().lease_budgets(seat, claims)


@pytest.mark.parametrize("seed", range(12))
def test_random_crashes_neither_overspend_nor_strand(tmp_path, seed):
    """Whoever dies and comes back, and whenever the store is away: a dollar is a dollar."""
    chance = random.Random(seed)
    fleet = _Fleet(tmp_path, SharedBudget("key/a/day", PICO), 2, chance)
    for _ in range(chance.randint(1, 6)):
        fleet.start(chance.choice(fleet.hosts))
    for _ in range(600):
        event = chance.random()
        if event < 0.02 and len(fleet.workers) > 1:
            fleet.kill(chance.choice(list(fleet.workers)))
        elif event < 0.05 and len(fleet.workers) < 8:
            fleet.start(chance.choice(fleet.hosts))
        elif event < 0.08:
            fleet.store.gone = not fleet.store.gone
        fleet.step(chance.choice([0.2, 0.2, 5.0]), demand=0.02)
        assert fleet.spent <= PICO + fleet.most
    fleet.store.gone = False
    for host in fleet.hosts:
        for _ in range(8):  # whoever comes back takes the seats of those who died
            fleet.start(host)
    for _ in range(100):
        fleet.step(1.0, demand=0.1)
    assert 0.95 * PICO <= fleet.spent <= PICO + fleet.most


def test_a_seat_that_is_lost_with_its_disk_counts_as_spent(tmp_path):
    """Its slice is never spent twice: what the others get is the rest."""
    fleet = _Fleet(tmp_path, SharedBudget("b", PICO), 2, random.Random(1))
    fleet.start(fleet.hosts[0])
    [(purser, purse)] = fleet.workers.items()
    lost = purse.in_hand
    fleet.kill(purser)
    __import__("shutil").rmtree(fleet.hosts[0])
    fleet.start(fleet.hosts[1])
    for _ in range(200):
        fleet.step(1.0, demand=0.1)
    assert PICO - lost - PICO // 500 <= fleet.spent <= PICO - lost + PICO // 500


def test_those_who_spend_nothing_hold_next_to_nothing(tmp_path):
    """One of eight gets all the traffic: nearly all of the money goes there."""
    fleet = _Fleet(tmp_path, SharedBudget("b", PICO), 1, random.Random(2))
    for _ in range(8):
        fleet.start(fleet.hosts[0])
    idle = list(fleet.workers.items())[1:]
    for _ in range(3):
        fleet.step(LEASE_S, demand=0.0)
    for purser, _ in idle:
        del fleet.workers[purser]
    for _ in range(300):
        fleet.step(1.0, demand=0.1)
    assert fleet.spent >= 0.98 * PICO


@pytest.mark.parametrize("workers", [1, 4])
def test_a_budget_that_refills_gives_what_comes_in(tmp_path, workers):
    """An hour of demand above it spends the burst and the refill, within 5 %; a restart no more."""
    budget = SharedBudget("teacher/t", PICO // 10, per_s=PICO / 600)
    fleet = _Fleet(tmp_path, budget, 1, random.Random(3))
    for _ in range(workers):
        fleet.start(fleet.hosts[0])
    began = fleet.clock.now
    for step in range(3_000):
        if step == 1_500:
            for purser in list(fleet.workers):
                del fleet.workers[purser]
                purser.close()
            for _ in range(workers):
                fleet.start(fleet.hosts[0])
        fleet.step(0.5, demand=0.02)
    came = budget.size + budget.per_s * (fleet.clock.now - began)
    assert 0.95 * came <= fleet.spent <= came + budget.size + workers * PICO / 500


def test_no_store_no_new_lease(tmp_path):
    """What is in hand may be spent, and nothing else, until the store is there again."""
    fleet = _Fleet(tmp_path, SharedBudget("b", PICO), 1, random.Random(4))
    fleet.start(fleet.hosts[0])
    [(purser, purse)] = fleet.workers.items()
    held = purse.in_hand
    fleet.store.gone = True
    for _ in range(50):
        fleet.step(1.0, demand=0.1)
    assert held <= fleet.spent <= held + PICO // 500
    assert purser.away
    assert not purse.affords()
    assert not purse.used_up, "the budget has money; it cannot be had"
    fleet.store.gone = False
    fleet.step(1.0, demand=0.0)
    assert purse.affords()
    assert not purser.away


def test_a_limit_that_is_changed_holds_from_then_on(tmp_path):
    """Less: what is spent beyond it stays spent; more: the rest is there; none: all is counted."""
    clock = ManualClock(now=1e9)
    purser = Purser(_Dated(tmp_path / "s", clock), tmp_path, clock=clock)
    purse = purser.open(SharedBudget("b", None))
    purse.spend(PICO * 6 // 10)
    assert purse.affords()
    for size, some in ((PICO // 2, False), (PICO, True), (0, False), (None, True)):
        purser.open(SharedBudget("b", size))
        for _ in range(3):
            clock.now += LEASE_S
            purse.affords()  # whoever asks wants more
            purser.renew()
        assert purse.affords() is some, size
        assert purse.used_up is not some


def test_what_was_spent_before_leases_counts(tmp_path):
    """Once, when the budget begins; a second host's word comes too late to count again."""
    clock = ManualClock(now=1e9)
    store = _Dated(tmp_path / "s", clock)
    for host in ("one", "two"):
        purser = Purser(store, tmp_path / host, clock=clock)
        purse = purser.open(SharedBudget("b", PICO, begun=PICO * 9 // 10))
        purser.renew()
        assert 0 < purse.in_hand + purse.left() <= PICO // 10


@pytest.mark.parametrize("per_s", [0.0, 1e9])
def test_a_store_that_was_lost_makes_no_debt_and_gives_no_day_again(tmp_path, per_s):
    """What was spent of a day counts again; what refills has come in meanwhile."""
    clock = ManualClock(now=1e9)
    store = _Dated(tmp_path / "s", clock)
    purser = Purser(store, tmp_path, clock=clock)
    purse = purser.open(SharedBudget("b", PICO, per_s))
    purser.renew()
    purse.spend(PICO * 9 // 10)
    store.close()
    (tmp_path / "s").unlink()
    clock.now += LEASE_S
    purser.renew()
    assert purse.in_hand + purse.left() == (PICO if per_s else pytest.approx(PICO // 10))


def test_budgets_of_days_gone_by_are_forgotten(tmp_path):
    """A store does not grow for ever."""
    clock = ManualClock(now=1e9)
    store = _Dated(tmp_path / "s", clock)
    purser = Purser(store, tmp_path, clock=clock)
    for day in range(10):
        purser.open(SharedBudget(f"key/a/{day}", PICO))
        purser.renew()
        purser.close_purse(f"key/a/{day}")
        clock.now += 86_400.0
    with store.transaction() as execute:
        assert len(execute("select * from budgets", ())) <= 4
        assert len(execute("select * from leases", ())) <= 4
