"""A process that answers beside its owner."""

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from costmodel.companion import Companion, CompanionEnded
from tests.waiting import PATIENCE_S, until

NICE = 7


def counting(first):
    """Counts what it is asked, and tells who it is."""
    asked = first

    def answer(message):
        nonlocal asked
        asked += 1
        if message == "sleep":
            time.sleep(60)
        return asked, os.getpid(), os.nice(0)

    return answer


@pytest.fixture
def companion():
    """One that has not been asked."""
    one = Companion("counter", partial(counting, 10), NICE)
    yield one
    one.close()


def test_it_is_started_once_and_keeps_what_it_knows(companion):
    """There is no process before the first message; the second finds what the first left."""
    assert companion.process_id is None
    own = os.nice(0)
    first, second = companion.ask("a"), companion.ask("b")
    assert (first[0], second[0]) == (11, 12)
    assert first[1] == second[1] == companion.process_id != os.getpid()
    assert first[2] == min(19, own + NICE)
    assert Path(f"/proc/{first[1]}/comm").read_text().strip() == "counter"


def test_signals_to_stop_are_for_its_owner(companion):
    """Whoever stops a control group or a terminal has the owner end in order."""
    process = companion.ask("a")[1]
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(process, number)
    assert companion.ask("b")[:2] == (12, process)


def test_one_that_was_killed_is_replaced(companion):
    """The message that met its end is told so, the next begins anew."""
    process = companion.ask("a")[1]
    os.kill(process, signal.SIGKILL)
    with pytest.raises(CompanionEnded, match="counter"):
        companion.ask("b")
    again = companion.ask("c")
    assert again[0] == 11
    assert again[1] != process


def test_closing_ends_what_it_does_and_stays(companion):
    """Whoever waits for an answer is told, and no other process is started."""
    process = companion.ask("a")[1]
    ended = []

    def wait():
        with pytest.raises(CompanionEnded):
            companion.ask("sleep")
        ended.append(True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    time.sleep(0.2)
    companion.close()
    waiting.join(PATIENCE_S)
    assert ended
    assert not Path(f"/proc/{process}").exists()
    with pytest.raises(CompanionEnded, match="closed"):
        companion.ask("b")


def test_it_ends_with_its_owner():
    """An owner that is killed leaves nobody behind."""
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    process = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    until(lambda: not Path(f"/proc/{process}").exists())


OWNER = """
import time
from costmodel.companion import Companion
from tests.costmodel.test_companion import counting
from functools import partial
one = Companion("counter", partial(counting, 0), 0)
print(one.ask("a")[1], flush=True)
time.sleep(60)
"""
