"""What one process has spent of each shared budget, in a file that a kill leaves whole.

The file is mapped into memory: an amount is there for whoever comes after as soon as it is counted,
without a call to the system. A process takes the seat of one that is gone and goes on from its
counts, so that what that one held and did not spend is not lost. After a crash of the machine the
file may be behind: such a seat is left alone, and what it held counts as spent.
"""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import os
import secrets
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

FOLDER = "seats"
"""Beside the ledger: a seat belongs to a host, as the ledger does."""
_HEAD = struct.Struct("<16s36s?")
_SLOT = struct.Struct("<32sqd")
_SPENT = struct.Struct("<q")
_MAGIC = b"raisehand-seat/1"
_START, _SLOTS = 64, 64
_SPENT_AT = 32


class Seat:
    """A locked file of counts; another process takes it only when this one is gone.

    Attributes:
        name: what the shared store calls it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.name = path.name
        self._path = path
        self._descriptor = descriptor
        if os.fstat(descriptor).st_size < _START:
            os.truncate(descriptor, _START + _SLOTS * _SLOT.size)
        self._map = mmap.mmap(descriptor, 0)
        self._slots = self._read(time.time())
        self._mark(clean=False)

    def slot(self, budget: str, until: float) -> int:
        """Return where a budget's count is, making it 0 where it is new.

        Args:
            budget: its name in the store.
            until: Unix seconds after which the slot may be another's; 0: never.
        """
        digest = _digest(budget)
        at = self._slots.get(digest)
        if at is None:
            at = self._free()
            _SLOT.pack_into(self._map, at, digest, 0, until)
            self._slots[digest] = at
        return at

    def known(self, budget: str) -> int | None:
        """Return what was spent of a budget, in pico-dollars; None when it never was asked for."""
        at = self._slots.get(_digest(budget))
        return None if at is None else self.spent(at)

    def spent(self, slot: int) -> int:
        """Return a count, in pico-dollars."""
        return int(_SPENT.unpack_from(self._map, slot + _SPENT_AT)[0])

    def put(self, slot: int, pico: int) -> None:
        """Write a count, in pico-dollars."""
        _SPENT.pack_into(self._map, slot + _SPENT_AT, pico)

    def close(self) -> None:
        """Write all of it to the disk and let another process have it."""
        self._mark(clean=True)
        self._map.flush()
        self._map.close()
        os.close(self._descriptor)

    def remove(self) -> None:
        """End the seat: the store knows all that it knew."""
        self._path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._descriptor)

    def _read(self, now: float) -> dict[bytes, int]:
        """Find the slots in use; those of days gone by are free again."""
        self._unused: list[int] = []
        found = {}
        for at in range(_START, len(self._map) - _SLOT.size + 1, _SLOT.size):
            digest, _, until = _SLOT.unpack_from(self._map, at)
            if not any(digest) or 0 < until < now:
                self._unused.append(at)
            else:
                found[digest] = at
        return found

    def _free(self) -> int:
        if not self._unused:
            end = len(self._map)
            self._map.resize(end + _SLOTS * _SLOT.size)
            self._unused = list(range(end, len(self._map) - _SLOT.size + 1, _SLOT.size))
        return self._unused.pop(0)

    def _mark(self, *, clean: bool) -> None:
        _HEAD.pack_into(self._map, 0, _MAGIC, _boot(), clean)


def take_seat(folder: Path) -> Seat:
    """Take the seat of a process that is gone, or a new one.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    known = (folder / name for name in sorted(os.listdir(folder)))  # noqa: PTH208 names
    new = (folder / secrets.token_hex(8) for _ in iter(int, 1))
    return next(seat for path in chain(known, new) if (seat := _locked(path)) is not None)


def free_seats(folder: Path) -> Iterator[Seat]:
    """Take every seat that nobody holds, one after the other."""
    for path in sorted(folder.iterdir()):
        seat = _locked(path)
        if seat is not None:
            yield seat


def spent_on_host(folder: Path) -> Callable[[str], int]:
    """Read all seats of this host: what they have spent of a budget, in pico-dollars."""
    sums: Counter[bytes] = Counter()
    for path in folder.iterdir() if folder.is_dir() else ():
        for digest, spent, _ in _SLOT.iter_unpack(_whole_slots(path.read_bytes()[_START:])):
            sums[digest] += spent
    return lambda budget: sums[_digest(budget)]


def _whole_slots(content: bytes) -> bytes:
    return content[: len(content) // _SLOT.size * _SLOT.size]


def _locked(path: Path) -> Seat | None:
    """Open a seat; None where somebody holds it, or its counts may be behind."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    if not _may_be_believed(os.pread(descriptor, _HEAD.size, 0)):
        path.unlink(missing_ok=True)
    if not (path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor))):
        os.close(descriptor)  # whoever held it has removed it
        return None
    return Seat(path, descriptor)


def _may_be_believed(head: bytes) -> bool:
    """Tell whether the disk has all that was counted: the machine did not stop meanwhile."""
    if len(head) < _HEAD.size:
        return True  # new
    magic, boot, clean = _HEAD.unpack(head)
    return bool(magic == _MAGIC and (clean or boot == _boot()))


def _digest(budget: str) -> bytes:
    return hashlib.sha256(budget.encode()).digest()


def _boot() -> bytes:
    """Return what tells this run of the machine from the one before a crash."""
    return Path("/proc/sys/kernel/random/boot_id").read_bytes()[:36]
