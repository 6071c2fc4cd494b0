"""Whether the machines that work began with are still there."""

from __future__ import annotations

import time
from typing import Any

from costmodel.ray_cluster import machines_now

_PERIOD_S = 1.0
"""Between two looks: each is a call to the cluster's head."""


class MachineGone(Exception):
    """A machine of the cluster is gone, and the work on it must begin anew on the others."""


class MachineWatch:
    """Hooks into Ray Data's loop: they end the work when a machine is gone.

    Ray would wait for its students to find room elsewhere, and let students that did find some
    take the CPUs of those who read.
    """

    def __init__(self, machines: frozenset[str]) -> None:
        self._machines = machines
        self._next = 0.0

    def on_execution_step(self, executor: Any) -> None:
        """Look, now and then.

        Raises:
            MachineGone: one is.
        """
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PERIOD_S
        if gone := self._machines - machines_now():
            raise MachineGone(f"{len(gone)} of its {len(self._machines)} machines are gone")

    def before_execution_starts(self, executor: Any) -> None:
        """Nothing is to be done."""

    def after_execution_succeeds(self, executor: Any) -> None:
        """Nothing is to be done."""

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """Nothing is to be done."""
