"""A running router as the simulator needs it, and the file that keeps it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from costmodel.errors import BadProfile
from costmodel.fit.measured import Floats
from costmodel.frozen import Frozen
from costmodel.inputs.asking import SLOTS, TIMEOUT_S
from costmodel.inputs.fleet import Noise, StudentFleet

POINTS = 1000
"""Evenly spaced quantiles handed to the simulator."""


BATCH = 256
"""Texts of one batch of the router, at most."""


class FittedOn(Frozen):
    """One run a profile was fitted on, and how well it reproduces it (in-sample)."""

    per_second: float
    answered: int
    failed: int
    student_ms: tuple[float, ...]
    """Measured p50, p90, p99 of the student's route."""
    fitted_ms: tuple[float, ...]
    overhead_s: tuple[float, ...] = ()
    """Evenly spaced quantiles of the overhead at this rate."""
    doubts: tuple[str, ...] = ()
    """Why the load test said that this run does not count; a profile fitted on it is a guess."""


class RouterProfile(Frozen):
    """A running router as the simulator needs it. Fields end in their unit."""

    workers: int = Field(ge=1)
    service_s: float = Field(ge=0)
    """Seconds one request occupies a worker."""
    service_cv: float = Field(ge=0)
    together: bool = False
    """Whether requests that wait for a worker are answered together, when the last is done."""
    overhead_s: tuple[float, ...]
    """Evenly spaced quantiles of what does not grow with load (network, parsing, scheduling): at
    the lowest rate."""
    teacher_s: tuple[float, ...] = ()
    """Evenly spaced quantiles of a teacher call; empty when none was seen."""
    escalation_rate: float = Field(ge=0, le=1)
    requests: int
    """Requests behind the escalation rate."""
    usd: dict[str, float] = {}
    max_concurrency: int = Field(default=SLOTS, ge=1)
    teacher_timeout_s: float = TIMEOUT_S
    hedge: bool = False
    """Whether a late call is asked a second time, beside."""
    audit_rate: float = Field(default=0.0, ge=0, le=1)
    """Share of the student's answers that the teacher is asked about too, in its free slots."""
    fitted_on: tuple[FittedOn, ...]

    def overhead_over(self, rates: Floats) -> tuple[float, ...]:
        """Return quantiles of the overhead over requests that come at so many a second.

        `rates` has one value for each of stretches of equal length. A stretch with ten times the
        requests counts ten times, and each of its requests has the overhead of that rate: one rate
        for all would give the requests before a burst what only those in it have.
        """
        known = [run.per_second for run in self.fitted_on if run.overhead_s]
        busy = rates[rates > 0]
        if len(known) < 2 or not busy.size:
            return self.overhead_s
        # A tenth of the way between two fitted rates is nothing that can be told apart.
        steps = np.interp(np.log(busy), np.log(known), 10 * np.arange(len(known))).round()
        groups = [busy[steps == step] for step in np.unique(steps)]
        parts = [self.overhead_at(float(np.average(each, weights=each))) for each in groups]
        values = np.concatenate(parts)
        weights = np.concatenate(
            [np.full(len(part), each.sum()) for part, each in zip(parts, groups, strict=True)]
        )
        order = np.argsort(values)
        below = np.cumsum(weights[order]) - weights[order]
        mixed = np.interp(np.linspace(0, 1, POINTS + 1), below / below[-1], values[order])
        return tuple(mixed.tolist())

    def overhead_at(self, per_second: float) -> tuple[float, ...]:
        """Return quantiles of the overhead at a rate, between those of the fitted rates."""
        known = [run for run in self.fitted_on if run.overhead_s]
        if len(known) < 2:
            return self.overhead_s
        rates = np.log([run.per_second for run in known])
        place = float(np.interp(math.log(per_second), rates, np.arange(len(known))))
        below = min(int(place), len(known) - 2)
        shares = np.linspace(0, 1, POINTS + 1)
        low, high = (
            np.interp(shares, np.linspace(0, 1, len(run.overhead_s)), run.overhead_s)
            for run in known[below : below + 2]
        )
        return tuple((low + (place - below) * (high - low)).tolist())


def load_profile(path: Path) -> RouterProfile:
    """Read a profile that `raisehand profile` wrote.

    Raises:
        BadProfile: it is missing or is no profile.
    """
    try:
        return RouterProfile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadProfile(f"profile {path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise BadProfile(f"profile {path}: {where or 'the file'}: {fault['msg']}") from error


def workers_of(
    service_s: float, cv: float, overhead: Sequence[float], workers: int, *, together: bool = False
) -> StudentFleet:
    """Lay out workers that take so many seconds a request, and how these scatter.

    Each serves one request at a time, or all that wait as one batch, as a router's event loop
    does: it reads a clump, computes it, and its answers leave when the last is worded.
    """
    return StudentFleet(
        fixed_s=0 if together else service_s,
        per_request_s=service_s if together else 0,
        per_token_s=0,
        noise=Noise(kind="lognormal", cv=cv) if cv else Noise(),
        replicas=workers,
        max_batch=BATCH if together else 1,
        overhead_s=tuple(overhead),
    )
