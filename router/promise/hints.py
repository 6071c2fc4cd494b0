"""Early warning, as a hint: do the requests still look like those that the student was made for?

After every `WINDOW` requests the shares of their bins are compared with the usual ones by the
population stability index, the sum of (p - q) ln(p / q). Above `MOVED` a signal has moved, as is
the custom where scores are watched. No label is looked at, so it proves nothing in either
direction: other traffic may be answered as well as before, and bad answers may look like good ones.
The promise is watched by audits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from students.runtime.usual import Usual

WINDOW = 1_000
"""Requests of one process."""
MOVED = 0.25
SIGNALS = ("confidence", "characters", "escalated")
_HALF = 0.5
"""A request that was not seen, in every bin: no logarithm of nothing."""


class InputHints:
    """Compares what one process sees of a bundle's traffic with what is usual.

    Args:
        usual: of the bundle.
        changed: told of the signals that have moved, with the index of each, whenever these are
            others than after the window before.
    """

    def __init__(
        self, usual: Usual, changed: Callable[[tuple[str, ...], Mapping[str, float]], None]
    ) -> None:
        self.indices: Mapping[str, float] = {}
        """Of the last window that is full, by signal; nothing before the first."""
        self._usual = {name: getattr(usual, name) for name in SIGNALS}
        self._changed = changed
        self._moved: tuple[str, ...] = ()
        self._begin()

    def see(self, confidence: float, characters: int, kept: bool) -> None:
        """Count one request."""
        confidences, lengths, escalated = self._counts
        usual = self._usual
        confidences[usual["confidence"].place(confidence)] += 1
        lengths[usual["characters"].place(characters)] += 1
        escalated[not kept] += 1
        self._seen += 1
        if self._seen == WINDOW:
            self._compare()

    def _begin(self) -> None:
        self._seen = 0
        self._counts = [[0] * len(signal.shares) for signal in self._usual.values()]

    def _compare(self) -> None:
        self.indices = {
            name: stability_index(counts, signal.shares)
            for (name, signal), counts in zip(self._usual.items(), self._counts, strict=True)
        }
        self._begin()
        moved = tuple(name for name, index in self.indices.items() if index > MOVED)
        if moved != self._moved:
            self._moved = moved
            self._changed(moved, self.indices)


def stability_index(counts: list[int], shares: tuple[float, ...]) -> float:
    """Population stability index of counted bins (B,) against usual shares (B,); 0 is the same."""
    n = sum(counts)
    total = 0.0
    for count, usual in zip(counts, shares, strict=True):
        p = (count + _HALF) / (n + _HALF * len(counts))
        q = (usual * n + _HALF) / (n + _HALF * len(counts))
        total += (p - q) * math.log(p / q)
    return total
