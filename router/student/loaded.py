"""The place of the student in a running router: swapped and rolled back as one piece.

A student, its thresholds and its bundle id belong together: an answer is always decided with the
thresholds of the student that gave it, also for requests that were in flight during a swap.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from router.errors import BadSettings
from router.promise.watch import Watch
from router.student.batcher import Batcher
from students.runtime.protocol import Student


@dataclass(frozen=True, slots=True, eq=False)
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

    async def retire(self) -> None:
        """Finish what was accepted."""
        await self.batcher.close()


class ModelSlot:
    """Which model answers. `current` is read once for each request.

    A bundle is loaded once, and `previous` is always another bundle than `current`: what is asked
    for twice changes nothing the second time, so that the way back is never lost.

    Args:
        rng: the router's own chance; no client chooses by its request ids who answers it.

    Raises:
        BadSettings: a model answers other labels than the one in the slot.
    """

    def __init__(self, model: Model, rng: random.Random | None = None) -> None:
        self.current = model
        self.previous: Model | None = None
        self.canary: Model | None = None
        self.canary_share = 0.0
        self.shadow: Model | None = None
        """Scored beside the current one, never answering; a canary may be it, too."""
        self._rng = rng or random.Random()

    def start(self) -> None:
        """Start the current model's worker."""
        self.current.batcher.start()

    def pick(self) -> Model:
        """Return the model for a request: the canary for its share of them."""
        if self.canary is None:
            return self.current
        return self.canary if self._rng.random() < self.canary_share else self.current

    def loaded(self, bundle: str) -> Model | None:
        """Return the model of a bundle, where it is loaded: a second one would be its double."""
        return next((model for model in self.models if model.bundle == bundle), None)

    def swap(self, model: Model) -> Model | None:
        """Let a model answer from now on: one that is `loaded`, or one not yet started.

        The one before stays loaded, for `rollback`. One that is loaded no more is returned: retire
        it, which finishes what it accepted.
        """
        self._admit(model)
        if model is self.current:
            return None
        before = self.models
        if model is self.canary:
            self.canary, self.canary_share = None, 0.0
        if model is self.shadow:
            self.shadow = None
        self.previous, self.current = self.current, model
        return self._left_out(before)

    def rollback(self) -> None:
        """Let the model before answer again.

        Raises:
            BadSettings: there was no other model before.
        """
        if self.previous is None:
            raise BadSettings("there is no earlier bundle to roll back to")
        self.swap(self.previous)

    def settle(
        self,
        current: Model,
        previous: Model | None,
        canary: Model | None,
        share: float,
        shadow: Model | None,
    ) -> list[Model]:
        """Put models, loaded or not yet started, in their places; return those to retire.

        Raises:
            BadSettings: one of them answers other labels; then nothing has changed.
        """
        models = [model for model in (current, previous, canary, shadow) if model is not None]
        for model in models:
            self._may_be_admitted(model)
        before = self.models
        for model in models:
            self._admit(model)
        self.current, self.canary, self.canary_share = current, canary, share
        self.previous = None if previous is current else previous
        self.shadow = shadow
        return [model for model in before if model not in self.models]

    def set_canary(self, model: Model, share: float) -> None:
        """Let a model, loaded or not yet started, answer a share of the requests, in [0, 1].

        Raises:
            BadSettings: as `may_be_canary`.
        """
        self.may_be_canary(model.bundle)
        self._admit(model)
        self.canary_share, self.canary = share, model

    def may_be_canary(self, bundle: str) -> None:
        """Ask before it is loaded.

        Raises:
            BadSettings: it answers all requests already, or another one is the canary.
        """
        if bundle == self.current.bundle:
            raise BadSettings(f"bundle {bundle} answers every request already")
        if self.canary is not None and bundle != self.canary.bundle:
            raise BadSettings(f"bundle {self.canary.bundle} is the canary; end it first")

    def end_canary(self, *, promote: bool) -> Model | None:
        """Let the canary answer everything, or nothing; return a model to retire, as `swap`.

        Raises:
            BadSettings: there is no canary.
        """
        if self.canary is None:
            raise BadSettings("there is no canary to end")
        if promote:
            return self.swap(self.canary)
        before, self.canary, self.canary_share = self.models, None, 0.0
        return self._left_out(before)

    def set_shadow(self, model: Model) -> None:
        """Let a model, loaded or not yet started, be scored beside the current one.

        Raises:
            BadSettings: it answers already, or another one is the shadow.
        """
        self.may_be_shadow(model.bundle)
        self._admit(model)
        self.shadow = model

    def may_be_shadow(self, bundle: str) -> None:
        """Ask before it is loaded.

        Raises:
            BadSettings: it answers already, or another one is the shadow.
        """
        if bundle == self.current.bundle:
            raise BadSettings(f"bundle {bundle} answers every request already")
        if self.shadow is not None and bundle != self.shadow.bundle:
            raise BadSettings(f"bundle {self.shadow.bundle} is the shadow; end it first")

    def end_shadow(self) -> Model | None:
        """Score none beside the current one; return a model to retire, as `swap`.

        Raises:
            BadSettings: there is no shadow.
        """
        if self.shadow is None:
            raise BadSettings("there is no shadow to end")
        before, self.shadow = self.models, None
        return self._left_out(before)

    @property
    def models(self) -> list[Model]:
        """Every loaded model, once."""
        found = [self.current]
        for model in (self.previous, self.canary, self.shadow):
            if model is not None and model not in found:
                found.append(model)
        return found

    @property
    def roles(self) -> dict[str, str]:
        """Bundle ids by what they do: `current`, and `canary` and `previous` where there are."""
        models = {"current": self.current, "canary": self.canary, "previous": self.previous}
        return {role: model.bundle for role, model in models.items() if model is not None}

    async def close(self) -> None:
        """Finish what was accepted and stop the workers."""
        for model in self.models:
            await model.batcher.close()

    def _left_out(self, before: Sequence[Model]) -> Model | None:
        return next((model for model in before if model not in self.models), None)

    def _admit(self, model: Model) -> None:
        self._may_be_admitted(model)
        if not model.batcher.started:
            model.batcher.start()

    def _may_be_admitted(self, model: Model) -> None:
        if model in self.models:
            return
        if self.loaded(model.bundle) is not None:
            raise BadSettings(f"bundle {model.bundle} is loaded already; take that one")
        if model.student.schema.names != self.current.student.schema.names:
            raise BadSettings(
                f"bundle {model.bundle} answers other labels than bundle {self.current.bundle}, "
                "which is being served; start another router for another task"
            )
