"""What one task serves, in a form that workers tell each other: bundles by id, no models."""

from __future__ import annotations

from typing import Self

import msgspec

from router.service.served import Served


class Serving(msgspec.Struct, frozen=True):
    """Which bundles answer for a task, and what an operator asks for beside them."""

    bundle: str
    previous: str | None = None
    canary: str | None = None
    canary_share: float = 0.0
    shadow: str | None = None
    threshold: float | None = None

    @classmethod
    def of(cls, served: Served) -> Self:
        """Read what a task serves now."""
        slot = served.pipeline.slot
        return cls(
            bundle=slot.current.bundle,
            previous=slot.previous.bundle if slot.previous else None,
            canary=slot.canary.bundle if slot.canary else None,
            canary_share=slot.canary_share,
            shadow=slot.shadow.bundle if slot.shadow else None,
            threshold=served.pipeline.threshold,
        )

    @property
    def text(self) -> str:
        """As JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read it from JSON; what a later version added is left out."""
        return msgspec.json.decode(text, type=cls)
