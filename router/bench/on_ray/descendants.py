"""What a process costs together with all that it started: of Linux, from /proc."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

_EVERY_S = 0.5
_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


@dataclass
class DescendantCost:
    """Of the processes that this one started, and those that they did.

    Attributes:
        peak_mb: memory of all at once, at most; what several share is counted once (PSS).
    """

    peak_mb: float = 0.0
    _cpu_s: dict[int, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        """Processor seconds, of those that have ended too."""
        return sum(self._cpu_s.values())

    def look(self) -> None:
        """Add what there is now."""
        found = 0.0
        for pid in _below(os.getpid()):
            with suppress(OSError, ValueError):  # it may end meanwhile
                found += _pss_mb(pid)
                self._cpu_s[pid] = _cpu_s(pid)
        self.peak_mb = max(self.peak_mb, found)


@contextmanager
def descendants_watched() -> Iterator[DescendantCost]:
    """Look twice a second within the block, and once at its end."""
    cost, over = DescendantCost(), threading.Event()

    def watch() -> None:
        while not over.wait(_EVERY_S):
            cost.look()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield cost
    finally:
        over.set()
        thread.join()
        cost.look()


def _below(pid: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                children.setdefault(int(_fields(int(entry.name))[1]), []).append(int(entry.name))
    todo = list(children.get(pid, ()))
    while todo:
        one = todo.pop()
        yield one
        todo.extend(children.get(one, ()))


def _fields(pid: int) -> list[str]:
    """What /proc says of a process, from its state on: its name may hold blanks."""
    return (_PROC / str(pid) / "stat").read_text("utf-8").rpartition(") ")[2].split()


def _cpu_s(pid: int) -> float:
    told = _fields(pid)
    return (int(told[11]) + int(told[12])) / _TICKS


def _pss_mb(pid: int) -> float:
    lines = (_PROC / str(pid) / "smaps_rollup").read_text("utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
