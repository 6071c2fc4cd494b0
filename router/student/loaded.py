"""The place of the student in a running router: swapped and rolled back as one piece.

A student, its thresholds and its bundle id belong together: an answer is always decided with the
thresholds of the student that gave it, also for requests that were in flight during a swap.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from router.errors import BadSettings
from router.promise.audit import Watch
from router.student.batcher import Batcher
from students.runtime.protocol import Student


@dataclass(frozen=True, slots=True)
class Model:
    """One loaded bundle. `thresholds` has shape (K,), by predicted label.

    `watch` audits its certificate; None where nothing is audited.
    """

    bundle: str
    student: Student
    thresholds: tuple[float, ...]
    batcher: Batcher
    watch: Watch | None = None

    def raised(self, threshold: float | None) -> Sequence[float]:
        """Thresholds for a request that asks for more certainty; it can never ask for less."""
        if threshold is None:
            return self.thresholds
        return [max(own, threshold) for own in self.thresholds]


class ModelSlot:
    """Which model answers. `current` is read once for each request.

    Raises:
        BadSettings: a model answers other labels than the one in the slot.
    """

    def __init__(self, model: Model) -> None:
        self.current = model
        self.previous: Model | None = None
        self.canary: Model | None = None
        self.canary_share = 0.0

    def start(self) -> None:
        """Start the current model's worker."""
        self.current.batcher.start()

    def pick(self, request_id: str) -> Model:
        """Return the model for a request: the canary for its share of the request ids."""
        if self.canary is None:
            return self.current
        drawn = zlib.crc32(request_id.encode()) / 2**32
        return self.canary if drawn < self.canary_share else self.current

    def swap(self, model: Model) -> Model | None:
        """Let a model (its batcher not yet started) answer from now on.

        The one before stays loaded, for `rollback`. The one before that is returned: close its
        batcher, which finishes what it accepted.
        """
        self._check(model)
        model.batcher.start()
        retired, self.previous, self.current = self.previous, self.current, model
        return retired

    def rollback(self) -> None:
        """Let the model before answer again.

        Raises:
            BadSettings: there was no other model before.
        """
        if self.previous is None:
            raise BadSettings("there is no earlier bundle to roll back to")
        self.previous, self.current = self.current, self.previous

    def set_canary(self, model: Model, share: float) -> None:
        """Let a model (not yet started) answer a share of the requests, in [0, 1]."""
        self._check(model)
        model.batcher.start()
        self.canary_share, self.canary = share, model

    def end_canary(self, *, promote: bool) -> Model | None:
        """Let the canary answer everything, or nothing; return a model to close, as `swap`.

        Raises:
            BadSettings: there is no canary.
        """
        if self.canary is None:
            raise BadSettings("there is no canary to end")
        canary, self.canary, self.canary_share = self.canary, None, 0.0
        if not promote:
            return canary
        retired, self.previous, self.current = self.previous, self.current, canary
        return retired

    @property
    def models(self) -> list[Model]:
        """Every loaded model."""
        return [m for m in (self.current, self.previous, self.canary) if m is not None]

    async def close(self) -> None:
        """Finish what was accepted and stop the workers."""
        for model in self.models:
            await model.batcher.close()

    def _check(self, model: Model) -> None:
        if model.student.schema.names != self.current.student.schema.names:
            raise BadSettings(
                f"bundle {model.bundle} answers other labels than bundle {self.current.bundle}, "
                "which is being served; start another router for another task"
            )
