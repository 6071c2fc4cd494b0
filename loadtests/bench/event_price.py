"""What Locust's `request` event and its statistics cost a request: `python -m` prints microseconds.

In a process of its own, because Locust patches whatever imports it. The least processor time of
many turns: what a busy machine adds is not the event's.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time

TURNS, FIRED = 60, 2_000


def event_us() -> float:
    """Return the microseconds of processor that one request's event takes, statistics included."""
    done = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def _measure() -> float:
    from locust.env import Environment
    from locust.runners import LocalRunner

    from loadtests.generator.tallies import RequestOutcome
    from loadtests.users.open_loop import fire

    environment = Environment()
    LocalRunner(environment)  # its listener keeps the statistics
    outcomes = [
        RequestOutcome(i / FIRED, i, 0.0, 0.001 + i / 1e6, 200, None, "student", body_bytes=75)
        for i in range(FIRED)
    ]
    gc.disable()
    least = float("inf")
    for _ in range(TURNS):
        before = time.process_time()
        for outcome in outcomes:
            fire(environment, "classify", outcome)
        least = min(least, time.process_time() - before)
    return least / FIRED * 1e6


if __name__ == "__main__":
    sys.stdout.write(f"{_measure():.2f}\n")
