"""One word, several spellings: which of the known words a cell means."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

_WHOLE = re.compile(r"(-?\d+)\.0+")


class KnownWords:
    """Finds a label among the labels of a task, however a table spells it.

    What is written like a label is that label. Else 1.0 is 1, as a column of integers with gaps is
    written, and True is true, as every tool writes booleans in its own way.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._exact = {word: i for i, word in enumerate(words)}
        shared = Counter(map(_plain, words))
        self._plain: Mapping[str, int] = {
            _plain(word): i for word, i in self._exact.items() if shared[_plain(word)] == 1
        }

    def find(self, word: str) -> int | None:
        """Return the position of the word that is meant, None if there is none."""
        at = self._exact.get(word)
        return self._plain.get(_plain(word)) if at is None else at


def _plain(word: str) -> str:
    if word.lower() in ("true", "false"):
        return word.lower()
    whole = _WHOLE.fullmatch(word)
    return whole[1] if whole else word
