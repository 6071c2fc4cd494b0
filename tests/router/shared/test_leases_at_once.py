"""Processes of two hosts lease at the same time, of a file and of a real PostgreSQL."""

import threading
import time

import pytest

from router.shared.leases import PICO, SharedBudget
from router.shared.opening import open_store
from router.shared.purser import Purser

WORKERS = 8


@pytest.fixture(params=["file", "database"])
def url(request):
    """Where the store is; None: in the folder."""
    return None if request.param == "file" else request.getfixturevalue("database")


def _spend(purse, budget, spent):
    """Spend until nothing is left, as threads of a process do: while its purser renews."""
    while not purse.used_up:
        if purse.affords():
            purse.spend(PICO // 2000)
            spent.append(0.0005)
        time.sleep(0.0005)


def test_all_is_spent_and_not_a_cent_more(tmp_path, url):
    """Eight at once, on two hosts; then some of them start again: there is nothing left."""
    budget = SharedBudget("key/a/today", PICO)
    stores = [open_store(tmp_path, url) for _ in range(WORKERS)]
    pursers = [Purser(s, tmp_path / f"host-{n % 2}") for n, s in enumerate(stores)]
    purses = [purser.open(budget) for purser in pursers]
    for purser in pursers:
        purser.start()
    spent: list[float] = []
    threads = [threading.Thread(target=_spend, args=(purse, budget, spent)) for purse in purses]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.999 <= sum(spent) <= 1.0 + WORKERS * 0.0005
    for purser, store in zip(pursers, stores, strict=True):
        purser.close()
        store.close()
    again = Purser(open_store(tmp_path, url), tmp_path / "host-0")
    purse = again.open(budget)
    again.start()
    assert purse.used_up
    again.close()
