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
    with suppress(ValueError):
        if math.isfinite(number := float(word)):
            return number
    moment = datetime.fromisoformat(word.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
