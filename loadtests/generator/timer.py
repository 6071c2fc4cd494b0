"""Sleeping until an instant, to the microsecond.

gevent's event loop rounds every time-out up to a whole millisecond, which is what a student needs
for its answer. Linux's timerfd does not round; elsewhere gevent's own sleep has to do.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time

import gevent

_CLOCK_MONOTONIC = 1
_ABSOLUTE = 1
_READABLE = 1


class _Itimerspec(ctypes.Structure):
    _fields_ = (
        ("interval_s", ctypes.c_long),
        ("interval_ns", ctypes.c_long),
        ("value_s", ctypes.c_long),
        ("value_ns", ctypes.c_long),
    )


class Timer:
    """One sleeper's alarm clock."""

    def __init__(self) -> None:
        self._fd: int | None = None
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            fd = self._libc.timerfd_create(_CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
            if fd >= 0:
                self._fd = fd
                self._hub = gevent.get_hub()
                self._readable = self._hub.loop.io(fd, _READABLE)

    def sleep_until(self, instant: float) -> None:
        """Return at or just after `instant` (CLOCK_MONOTONIC, seconds); others run meanwhile."""
        if self._fd is None:
            gevent.sleep(max(0.0, instant - time.monotonic()))
            return
        seconds, nanoseconds = divmod(max(1, int(instant * 1e9)), 1_000_000_000)
        alarm = _Itimerspec(0, 0, seconds, nanoseconds)
        # Setting the alarm anew also takes back that the last one has rung.
        self._libc.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(alarm), None)
        self._hub.wait(self._readable)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd is not None:
            self._readable.close()
            os.close(self._fd)
            self._fd = None
