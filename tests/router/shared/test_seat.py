"""A seat keeps its counts through a kill, for whoever takes it next; and never guesses."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from router.shared import seat as module
from router.shared.seat import free_seats, spent_on_host, take_seat

SPENDER = """
import os, sys
from pathlib import Path
from router.shared.seat import take_seat
seat = take_seat(Path(sys.argv[1]))
slot = seat.slot("key/a/today", 0)
for n in range(1, 10**9):
    seat.put(slot, 7 * n)
    if n == 1000:
        print(seat.name, flush=True)
"""


def test_a_kill_loses_no_count(tmp_path):
    """SIGKILL in the middle of spending: the next process has every count, whole."""
    spender = subprocess.Popen(
        [sys.executable, "-c", SPENDER, tmp_path], stdout=subprocess.PIPE, text=True
    )
    name = spender.stdout.readline().strip()
    spender.send_signal(signal.SIGKILL)
    spender.wait()
    seat = take_seat(tmp_path)
    assert seat.name == name
    assert seat.known("key/a/today") >= 7_000
    assert seat.known("key/a/today") % 7 == 0
    assert seat.known("key/b/today") is None
    assert spent_on_host(tmp_path)("key/a/today") == seat.known("key/a/today")
    seat.close()


def test_a_seat_is_one_process_own(tmp_path):
    """Two at once have two; what one leaves, the other may take."""
    one, two = take_seat(tmp_path), take_seat(tmp_path)
    assert one.name != two.name
    assert list(free_seats(tmp_path)) == []
    one.close()
    [again] = free_seats(tmp_path)
    assert again.name == one.name
    again.remove()
    two.remove()
    assert list(tmp_path.iterdir()) == []


def test_many_who_come_at_once_all_get_one(tmp_path):
    """Also while others end seats that nobody holds."""
    for _ in range(4):
        take_seat(tmp_path).close()
    found = []

    def come():
        seat = take_seat(tmp_path)
        for free in free_seats(tmp_path):
            free.remove()
        found.append(seat)

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({seat.name for seat in found}) == 8
    for seat in found:
        assert (tmp_path / seat.name).exists()
        seat.remove()


def test_more_budgets_than_slots(tmp_path):
    """The file grows; days gone by make room."""
    seat = take_seat(tmp_path)
    for n in range(200):
        seat.put(seat.slot(f"key/{n}", 1.0 if n < 100 else 0), n)
    assert [seat.known(f"key/{n}") for n in range(200)] == list(range(200))
    seat.close()
    size = (tmp_path / seat.name).stat().st_size
    seat = take_seat(tmp_path)
    assert seat.known("key/5") is None
    for n in range(200, 300):
        seat.put(seat.slot(f"key/{n}", 0), n)
    assert [seat.known(f"key/{n}") for n in range(100, 300)] == list(range(100, 300))
    assert (tmp_path / seat.name).stat().st_size == size
    seat.close()


@pytest.mark.parametrize("clean", [True, False])
def test_after_a_crash_of_the_machine_only_a_closed_seat_is_believed(tmp_path, monkeypatch, clean):
    """What the disk has of another may be behind: it counts as spent, under its old name."""
    seat = take_seat(tmp_path)
    seat.put(seat.slot("b", 0), 5)
    if clean:
        seat.close()
    else:
        seat._map.close()
        os.close(seat._descriptor)
    monkeypatch.setattr(module, "_boot", lambda: b"another" * 5 + b"!")
    after = take_seat(tmp_path)
    assert (after.name == seat.name) is clean
    assert after.known("b") == (5 if clean else None)
    after.close()


def test_a_file_that_is_no_seat_is_none(tmp_path):
    """Whatever lies there is not read as money."""
    (tmp_path / "0").write_bytes(os.urandom(4_000))
    assert list(free_seats(tmp_path)) == []
