"""The student's machines as a scenario describes them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from costmodel.fields import NotNegative, Positive, Share
from costmodel.frozen import Frozen
from costmodel.money.pricing import PriceSpec


class Noise(Frozen):
    """How a time scatters around its mean."""

    kind: Literal["constant", "exponential", "lognormal", "measured"] = "constant"
    cv: NotNegative = 0.0
    """Coefficient of variation, lognormal only."""
    quantiles: tuple[NotNegative, ...] = ()
    """Evenly spaced quantiles of a measured time, any unit; they are scaled to mean 1."""

    @model_validator(mode="after")
    def _measured_has_quantiles(self) -> Self:
        if (self.kind == "measured") != bool(self.quantiles):
            raise ValueError("kind: measured and quantiles: belong together; give both or neither")
        if self.quantiles and (list(self.quantiles) != sorted(self.quantiles)):
            raise ValueError("quantiles must not decrease")
        if self.quantiles and self.quantiles[-1] == 0:
            raise ValueError("quantiles are all 0; at least one must be above 0")
        return self


class Autoscaling(Frozen):
    """Replicas follow load: replicas x utilisation / target, checked every so often."""

    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(default=16, ge=1, le=4096)
    target_utilisation: Annotated[float, Field(gt=0, le=1)] = 0.6
    check_s: Positive = 15.0
    start_delay_s: NotNegative = 60.0
    """From the decision to a replica that answers; it is paid from the decision on."""
    calm_checks: int = Field(default=20, ge=1)
    """Checks in a row that must want fewer replicas before one is stopped."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.max_replicas < self.min_replicas:
            raise ValueError(
                f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}"
            )
        return self


class Interruptions(Frozen):
    """Machines that are taken away, as spot machines are, or fail; each by itself, at random.

    What one computes is lost with it: a student's requests get no answer, an engine's calls fail
    and are asked again elsewhere where the router's budget of retries pays for it.
    """

    hours_between: Positive
    """Mean, of one machine, until it is gone."""
    back_after_s: Positive = 180.0
    """Until it, or its successor, answers; it is not paid for until then."""

    @property
    def available(self) -> float:
        """Share of the time that one machine is there."""
        up_s = self.hours_between * 3600.0
        return up_s / (up_s + self.back_after_s)


class StudentFleet(Frozen):
    """Equal replicas behind one queue; a batch takes fixed + per request + per token seconds."""

    fixed_s: NotNegative = 0.0003
    per_request_s: NotNegative = 0.0
    per_token_s: NotNegative = 0.000002
    noise: Noise = Noise()
    replicas: int = Field(default=2, ge=1, le=4096)
    autoscaling: Autoscaling | None = None
    interruptions: Interruptions | None = None
    max_batch: int = Field(default=64, ge=1, le=4096)
    max_batch_tokens: Positive = 16_384.0
    padded: bool = False
    """Whether a batch costs its longest text times its size."""
    queue_limit: int = Field(default=4096, ge=1, le=2**24)
    failure_rate: Share = 0.0
    overhead_s: tuple[NotNegative, ...] = (0.0,)
    """Evenly spaced quantiles of the seconds around the student that occupy no replica."""
    price: PriceSpec | None = None
    """Of one replica, by the hour."""
