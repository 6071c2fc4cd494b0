"""What the target has to keep."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from costmodel.faults import every_fault
from costmodel.fields import Positive, Share
from costmodel.frozen import Frozen
from loadtests.errors import BadLoadSpec
from loadtests.inputs.percentiles import Percentile

Limits = Mapping[str, Mapping[Percentile, Positive]]
"""By route (`all`, `student`, `teacher`, …; streams: `first_token`, `token_gap`, `per_token`)."""


class Slo(Frozen):
    """Limits of one load test.

    In route `all` a request that failed or was dropped counts as later than any answer.
    """

    max_failure_rate: Share = 0.01
    latency_ms: Limits = {}
    """Over the whole run."""
    worst_interval_ms: Limits = {}
    """In every interval; neighbours are joined until they carry the percentile."""
    min_good_share: Share | None = None
    """Of the scheduled requests: answered, not degraded, within the deadline."""
    max_escalation_rate: Share | None = None
    max_degraded_rate: Share | None = None
    """Of the valid answers: the student's where the teacher should have spoken."""
    min_tokens_per_s: Positive | None = None
    """Streams: words of all of them together."""
    min_saturation_rps: Positive | None = None
    """A ramp: the rate up to which it is carried."""
    max_recovery_s: Positive | None = None
    """An outage of the fake teacher: until degraded answers are as before it."""
    max_usd_per_1k: Positive | None = None


def load_slo(**limits: object) -> Slo:
    """Build an SLO from limits of unknown quality.

    Raises:
        BadLoadSpec: names each field, what was found and what is allowed.
    """
    try:
        return Slo.model_validate(limits)
    except ValidationError as error:
        raise BadLoadSpec(f"SLO: {every_fault(error)}") from None
