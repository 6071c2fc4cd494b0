"""A pipe from a process to those it starts: when it is gone, however it ended, so are they.

Killed, it cannot stop anybody. Servers without it would hold their ports and go on unwatched beside
those of whoever starts the next.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from functools import partial

LIFELINE = "RAISEHAND_LIFELINE"
"""Number of the descriptor on which a process sees that whoever started it is gone."""


class Lifeline:
    """The end of the one that starts others, open until `close` or as long as it lives."""

    def __init__(self) -> None:
        self.descriptor, self._held = os.pipe()

    @property
    def variables(self) -> dict[str, str]:
        """What a process that is started with `descriptor` has to be told."""
        return {LIFELINE: str(self.descriptor)}

    def close(self) -> None:
        """Let go: whoever holds the other end is told that this process is gone."""
        os.close(self.descriptor)
        os.close(self._held)


def end_when_orphaned() -> None:
    """End this process as SIGTERM does once whoever started it is gone."""
    when_orphaned(partial(os.kill, os.getpid(), signal.SIGTERM))


def when_orphaned(act: Callable[[], object]) -> None:
    """Call `act`, on a thread of its own, once whoever started this process is gone.

    Without a lifeline, nobody is waited for. What this process starts has none of it.
    """
    descriptor = os.environ.pop(LIFELINE, None)
    if descriptor is not None:
        threading.Thread(
            target=_wait, args=(int(descriptor), act), name="lifeline", daemon=True
        ).start()


def _wait(descriptor: int, act: Callable[[], object]) -> None:
    os.read(descriptor, 1)  # nobody ever writes: it ends when the other end is closed
    act()
