"""How much CPU the threads of a process used: nanoseconds from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def cpu_seconds(pid: int, threads: Mapping[str, int]) -> dict[str, float]:
    """Return CPU seconds so far of the named threads (by native id) and of the rest, `other`."""
    names = {native: name for name, native in threads.items()}
    used = dict.fromkeys([*threads, "other"], 0.0)
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            nanoseconds = int((task / "schedstat").read_text().split()[0])
        except (OSError, IndexError):  # the thread ended meanwhile
            continue
        used[names.get(int(task.name), "other")] += nanoseconds / 1e9
    return used


def resident_bytes(pid: int) -> int:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
