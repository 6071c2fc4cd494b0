"""What every room knows of who asks: the clock it is timed on, and whether it is still there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Clock = Callable[[], float]
"""Seconds: monotonic for durations and deadlines, Unix time for what is written down."""


class Client(Protocol):
    """Whoever waits for an answer, as far as the server knows without asking."""

    @property
    def disconnected(self) -> bool:
        """Whether the client hung up."""
        ...
