"""What a load test measured, as samples on disk say it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from costmodel.errors import BadProfile

Floats = npt.NDArray[np.float64]
LEAST_REQUESTS = 300


@dataclass(frozen=True)
class MeasuredRun:
    """One load test: what was offered and, for each answered request, route and seconds."""

    per_second: float
    seconds: float
    latency_s: dict[str, Floats]
    usd: dict[str, float]
    """Mean dollars of a request by route; a route without a known price is absent."""
    failed: int = 0
    gap_cv: float = 1.0
    """Variation of the gaps between arrivals: 1 is Poisson, more comes in clumps."""
    doubts: tuple[str, ...] = ()
    """Why the load test itself says that it does not count."""

    @property
    def answered(self) -> int:
        """Requests that got an answer."""
        return sum(len(each) for each in self.latency_s.values())

    @property
    def all_s(self) -> Floats:
        """Latencies of all routes together."""
        return np.concatenate(list(self.latency_s.values()))


def read_samples(
    path: Path,
    per_second: float,
    seconds: float,
    doubts: Sequence[str] = (),
    *,
    gap_cv: float = 1.0,
) -> MeasuredRun:
    """Read the JSON lines that `raisehand loadtest --samples` wrote.

    Raises:
        BadProfile: a line is no sample, or too few requests were answered to tell anything.
    """
    latency: dict[str, list[float]] = {}
    usd: dict[str, list[float]] = {}
    failed = 0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            sample = json.loads(line)
            if sample["failure"] is not None or sample["route"] is None:
                failed += 1
                continue
            latency.setdefault(sample["route"], []).append(sample["latency_ms"] / 1000)
            if sample["cost_usd"] is not None:
                usd.setdefault(sample["route"], []).append(float(sample["cost_usd"]))
        except (ValueError, KeyError, TypeError) as error:
            raise BadProfile(
                f"{path.name} line {number} is not a load-test sample: {error}"
            ) from error
    run = MeasuredRun(
        per_second,
        seconds,
        {route: np.sort(np.array(each)) for route, each in latency.items()},
        {route: float(np.mean(each)) for route, each in usd.items() if each},
        failed,
        gap_cv,
        tuple(doubts),
    )
    if run.answered < LEAST_REQUESTS or "student" not in run.latency_s:
        raise BadProfile(
            f"{path.name}: {run.answered} requests were answered, "
            f"{len(run.latency_s.get('student', ()))} by the student; at least {LEAST_REQUESTS} "
            "with some by the student are needed: measure longer or at a higher rate"
        )
    return run
