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
UNKNOWN = "unknown"
"""Share of a text's n-grams that the student knows nothing of: another language or subject."""
EVERY = 16
"""So many requests pass for one whose n-grams are read: that takes some 10 µs."""
LOOKED_AT = 250
"""Texts of one comparison of these."""
_HALF = 0.5
"""A request that was not seen, in every bin: no logarithm of nothing."""


class InputHints:
    """Compares what one process sees of a bundle's traffic with what is usual.

    Args:
        usual: of the bundle.
        changed: told of the signals that have moved, with the index of each, whenever these are
            others than after the window before.
        unknown_share: of a text, where the student can say; else that signal is not watched.
    """

    def __init__(
        self,
        usual: Usual,
        changed: Callable[[tuple[str, ...], Mapping[str, float]], None],
        unknown_share: Callable[[str], float] | None = None,
    ) -> None:
        self.indices: Mapping[str, float] = {}
        """Of the last window that is full, by signal; nothing before the first."""
        self._usual = {name: getattr(usual, name) for name in SIGNALS}
        self._changed = changed
        self._moved: tuple[str, ...] = ()
        self._unknown_share = unknown_share if usual.unknown is not None else None
        self._unknown = usual.unknown
        self._begin()
        self._begin_unknown()

    def see(self, confidence: float, text: str, kept: bool) -> None:
        """Count one request."""
        confidences, lengths, escalated = self._counts
        usual = self._usual
        confidences[usual["confidence"].place(confidence)] += 1
        lengths[usual["characters"].place(len(text))] += 1
        escalated[not kept] += 1
        self._seen += 1
        if self._unknown_share is not None and self._seen % EVERY == 0:
            self._look(self._unknown_share(text))
        if self._seen == WINDOW:
            self._compare()

    def _begin(self) -> None:
        self._seen = 0
        self._counts = [[0] * len(signal.shares) for signal in self._usual.values()]

    def _begin_unknown(self) -> None:
        self._looked_at = [0] * len(self._unknown.shares) if self._unknown else []

    def _look(self, share: float) -> None:
        assert self._unknown is not None, "as there is somebody to ask"
        self._looked_at[self._unknown.place(share)] += 1
        if sum(self._looked_at) == LOOKED_AT:
            index = stability_index(self._looked_at, self._unknown.shares)
            self._begin_unknown()
            self._tell({**self.indices, UNKNOWN: index})

    def _compare(self) -> None:
        found = {
            name: stability_index(counts, signal.shares)
            for (name, signal), counts in zip(self._usual.items(), self._counts, strict=True)
        }
        self._begin()
        self._tell({**self.indices, **found})

    def _tell(self, indices: Mapping[str, float]) -> None:
        self.indices = indices
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
