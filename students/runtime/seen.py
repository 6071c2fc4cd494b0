"""Which n-grams a student has learnt from, for students that keep none: the hint `unknown`.

An encoder's own distance to its training texts would need a second output of every runtime. On
texts of another subject the share of unseen n-grams tells as early (docs/watching.md), costs some
microseconds of the one text in sixteen that is looked at, and needs no compiled code: a machine
that only serves encoders has none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import numpy.typing as npt

from students.errors import BadBundle

SEEN_FILE = "seen.npy"
BUCKETS = 2**18
"""32 KiB of bits; a hundred thousand different n-grams leave two thirds of them unseen."""
N = 4
CHARACTERS = 1_000
"""A longer text is judged by its beginning."""


@dataclass(frozen=True, eq=False)
class SeenNgrams:
    """Buckets of the character n-grams of the training texts, (BUCKETS,)."""

    seen: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, texts: Sequence[str]) -> SeenNgrams:
        """Read the texts that a student learns from."""
        seen = np.zeros(BUCKETS, np.bool_)
        for text in texts:
            seen[list(_buckets(text))] = True
        return cls(seen)

    def unknown_share(self, text: str) -> float:
        """Return the share of a text's n-grams that were never seen; 1 where it has none."""
        buckets = list(_buckets(text))
        return float(1.0 - self.seen[buckets].mean()) if buckets else 1.0

    def save(self, folder: Path) -> None:
        """Write them beside the student's weights."""
        np.save(folder / SEEN_FILE, np.packbits(self.seen))

    @classmethod
    def load(cls, folder: Path) -> SeenNgrams | None:
        """Read what `save` wrote; None for a bundle of an earlier version.

        Raises:
            BadBundle: the file is damaged.
        """
        path = folder / SEEN_FILE
        if not path.exists():
            return None
        try:
            bits = np.load(path, allow_pickle=False)
            return cls(np.unpackbits(bits, count=BUCKETS).astype(np.bool_))
        except (OSError, ValueError, TypeError) as error:
            raise BadBundle(f"{path} cannot be read ({error}); distil again") from None


def _buckets(text: str) -> Iterator[int]:
    """Hash each n-gram: case and white space do not count, and a word begins and ends with one."""
    words = " ".join(text[:CHARACTERS].casefold().split())
    data = f" {words} " if words else ""
    for start in range(len(data) - N + 1):
        yield crc32(data[start : start + N].encode("utf-8", "replace")) % BUCKETS
