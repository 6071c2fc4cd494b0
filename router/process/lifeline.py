"""A pipe from the supervisor to each process it starts: when the supervisor is gone, so are they.

Killed, it cannot stop anybody. Workers without it would hold the port and go on unwatched beside
those of the next supervisor.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from router.settings import LIFELINE


class Lifeline:
    """The supervisor's end, open as long as this process lives."""

    def __init__(self) -> None:
        self.descriptor, self._held = os.pipe()

    @property
    def variables(self) -> dict[str, str]:
        """What a process that is started with `descriptor` has to be told."""
        return {LIFELINE: str(self.descriptor)}


def when_orphaned(act: Callable[[], object]) -> None:
    """Call `act`, on a thread of its own, once the supervisor of this process is gone."""
    descriptor = os.environ.get(LIFELINE)
    if descriptor is not None:
        threading.Thread(
            target=_wait, args=(int(descriptor), act), name="lifeline", daemon=True
        ).start()


def _wait(descriptor: int, act: Callable[[], object]) -> None:
    os.read(descriptor, 1)  # nobody ever writes: it ends when the other end is closed
    act()
