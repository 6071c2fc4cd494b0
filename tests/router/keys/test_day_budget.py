"""A key's day, leased: it ends at midnight for all, and tomorrow's money is there in time."""

from decimal import Decimal

import pytest

from router.errors import OverQuota
from router.keys.day_budget import LeasedDay
from router.keys.ring import KeyRing, KeySpec, sha256_of
from router.shared.leases import PICO
from router.shared.purser import Purser
from router.shared.records import StoreAway
from router.shared.sqlite_store import SqliteStore
from router.testing import ManualClock

NOON = 86_400.0 * 20_000 + 43_200.0


class Rig:
    """Processes that share a store, each with a ring of one key."""

    def __init__(self, folder, limit=Decimal(1), workers=2, begun=0):
        self.wall, self.clock = ManualClock(now=NOON), ManualClock(now=1.0)
        self.store = SqliteStore(folder / "shared.sqlite")
        self.pursers = [Purser(self.store, folder, clock=self.clock) for _ in range(workers)]
        self.spec = KeySpec(name="a", sha256=sha256_of("s"), max_usd_per_day=limit)
        self.rings = [
            KeyRing(
                [self.spec],
                days=lambda key, p=p: LeasedDay(key, p, begun, self.wall),
                wall=self.wall,
            )
            for p in self.pursers
        ]
        self.renew()

    def renew(self, seconds=1.0):
        """Let time pass and leases be renewed."""
        self.clock.now += seconds
        self.wall.now += seconds
        for purser in self.pursers:
            purser.renew()

    @property
    def keys(self):
        """The key in each process."""
        return [ring.identify([(b"x-api-key", b"s")]) for ring in self.rings]

    def drain(self):
        """Spend by turns until nobody gets anything; returns the dollars."""
        spent = Decimal(0)
        for turn in range(5_000):
            key = self.keys[turn % len(self.keys)]
            if key.day.affords():
                key.day.spend(Decimal("0.001"))
                spent += Decimal("0.001")
            else:
                self.renew()
            if all(key.day.used_up for key in self.keys):
                return spent
        raise AssertionError("never used up")


def test_all_of_the_day_can_be_spent_and_then_nothing(tmp_path):
    """By two processes; the next day all of it again, without a request without a lease."""
    rig = Rig(tmp_path)
    assert Decimal("0.999") <= rig.drain() <= Decimal("1.003")
    for key in rig.keys:
        with pytest.raises(OverQuota, match="budget of the day") as refused:
            key.admit()
        assert refused.value.retry_after_s == pytest.approx(86_400 - rig.wall.now % 86_400)
    rig.renew(86_400 - rig.wall.now % 86_400 - 30)
    for key in rig.keys:
        key.day.spend(Decimal(0))  # somebody asks in the last minute of the day
    rig.renew(1.0)
    rig.wall.now += 30
    for key in rig.keys:
        assert key.day.affords(), "leased before midnight"
        key.admit()
    assert Decimal("0.999") <= rig.drain() <= Decimal("1.003")


def test_what_the_ledger_knows_from_before_there_were_leases_counts_once(tmp_path):
    """The first day after an upgrade: 0.9 of the dollar is gone, whichever worker asks."""
    assert Rig(tmp_path, begun=9 * PICO // 10).drain() == pytest.approx(
        Decimal("0.1"), abs=Decimal("0.004")
    )


def test_a_restart_gives_the_rest_and_no_more(tmp_path):
    """Half is spent; who comes back, however many, has the other half."""
    rig = Rig(tmp_path)
    spent = Decimal(0)
    while spent < Decimal("0.5"):
        for key in rig.keys:
            if key.day.affords():
                key.day.spend(Decimal("0.001"))
                spent += Decimal("0.001")
        rig.renew()
    for purser in rig.pursers:
        purser.close()
    again = Rig(tmp_path, workers=3)
    assert spent + again.drain() == pytest.approx(Decimal(1), abs=Decimal("0.005"))


def test_without_the_store_the_student_answers_on_and_the_teacher_is_not_asked(
    tmp_path, monkeypatch
):
    """The budget has money that cannot be had: no client is refused for it."""
    rig = Rig(tmp_path, workers=1)
    [key] = rig.keys

    def away(*_):
        raise StoreAway("gone")

    monkeypatch.setattr(rig.store, "lease_budgets", away)
    while key.may_ask_the_teacher():
        key.day.spend(Decimal("0.001"))
    rig.renew()
    key.admit()
    assert not key.may_ask_the_teacher()
    monkeypatch.undo()
    rig.renew(5.0)
    assert key.may_ask_the_teacher()


def test_a_limit_that_comes_later_counts_what_was_spent_before(tmp_path):
    """Also when nobody limited it then."""
    rig = Rig(tmp_path, limit=None, workers=1)
    rig.rings[0].spend("a", Decimal(2))
    rig.rings[0].replace([rig.spec.model_copy(update={"max_usd_per_day": Decimal(1)})])
    rig.renew()
    with pytest.raises(OverQuota):
        rig.keys[0].admit()


@pytest.mark.parametrize("lives", ["leased", "own"])
def test_calls_that_run_count_before_they_are_billed(tmp_path, lives):
    """A slow teacher with many calls at once: no more are begun than the money will pay for."""
    rig = Rig(tmp_path, limit=Decimal("0.05"), workers=1)
    key = rig.keys[0] if lives == "leased" else _alone(rig.spec)
    ask, spent, most = Decimal("0.002"), Decimal(0), 0
    assert key.may_ask_the_teacher()  # nobody knows what a call costs before the first one
    key.day.spend(ask)
    key.was_told(ask)
    for _ in range(200):
        running = 0
        while running < 64 and key.may_ask_the_teacher():
            running += 1
        most = max(most, running)
        assert key.asking == running
        for _ in range(running):
            key.day.spend(ask)
            key.was_told(ask)
            spent += ask
        rig.renew()
    assert most > 1
    assert Decimal("0.05") - ask <= spent <= Decimal("0.05") + 2 * ask


def _alone(spec):
    return KeyRing([spec]).identify([(b"x-api-key", b"s")])
