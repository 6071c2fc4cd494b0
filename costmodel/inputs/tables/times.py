"""When a row came: a number, or a time as ISO 8601 writes it."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import UTC, datetime


def seconds_of(word: str) -> float:
    """Return a number as it is, a time as seconds since 1970; without a zone it is UTC.

    Raises:
        ValueError: the word is neither.
    """
    number = _number_in(word)
    if number is not None:
        return number
    moment = datetime.fromisoformat(word.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class TimesOfOneKind:
    """Reads a column of times: numbers or ISO 8601, as one has no place among the others."""

    def __init__(self) -> None:
        self._numbers: bool | None = None

    def seconds_of(self, word: str) -> float:
        """Return what the function of that name does.

        Raises:
            ValueError: the word is no time, or not of the kind of those before it.
        """
        seconds = seconds_of(word)
        number = _number_in(word) is not None
        if self._numbers is None:
            self._numbers = number
        if self._numbers is not number:
            kinds = ("numbers", "ISO 8601 times")
            raise ValueError(f"{word!r} stands among {kinds[number]}")
        return seconds


def _number_in(word: str) -> float | None:
    with suppress(ValueError):
        if math.isfinite(number := float(word)):
            return number
    return None
