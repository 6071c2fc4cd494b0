"""The sender wakes when it should."""

import subprocess
import sys

from tests.waiting import PATIENCE_S

CODE = """
import time
from loadtests.generator.timer import Timer
timer, late = Timer(), []
for _ in range(200):
    due = time.monotonic() + 0.0004
    timer.sleep_until(due)
    late.append(time.monotonic() - due)
timer.sleep_until(time.monotonic() - 1)
timer.close()
print(sorted(late)[100], min(late))
"""


def test_timer_is_finer_than_a_millisecond():
    """Never early; half of the sleeps end within 0.4 ms, where gevent's own would take a whole."""
    done = subprocess.run(
        [sys.executable, "-c", CODE], capture_output=True, text=True, check=True, timeout=PATIENCE_S
    )
    median, earliest = map(float, done.stdout.split())
    assert earliest >= 0
    assert median < 0.0004
