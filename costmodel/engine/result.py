"""What a run says: the kernel's arrays dressed as numbers with names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from costmodel.inputs.scenario import Scenario
from costmodel.kernel import layout
from costmodel.kernel.layout import Floats, Stats

ROUTES = ("student", "teacher", "degraded")


@dataclass(frozen=True, slots=True)
class Latency:
    """One distribution of seconds. Quantiles are read within 0.4 % of their value."""

    n: int
    mean_s: float
    p50_s: float
    p90_s: float
    p99_s: float
    p999_s: float


@dataclass(frozen=True, slots=True)
class Window:
    """One row of the timeline."""

    start_s: float
    seconds: float
    counts: dict[str, int]
    student_utilisation: float
    p50_s: float
    p99_s: float
    mean_s: float
    student_paid_s: float
    teacher_busy_s: float


@dataclass(frozen=True, slots=True)
class Little:
    """Little's law on the run: seconds summed over customers against the area under their number.

    The two are accounted separately; the residual is relative.
    """

    student_residual: float
    teacher_residual: float


@dataclass(frozen=True)
class Result:
    """One run of one scenario with one seed."""

    scenario: Scenario
    seed: int
    seconds: float
    """Counted seconds of workload."""
    counts: dict[str, int]
    """`layout.COUNTS` by name: the bill and the outcomes."""
    stages: dict[str, Latency]
    """student_wait, student, teacher_wait, teacher: seconds in each stage."""
    routes: dict[str, Latency]
    """End-to-end latency of answers by route: student, teacher, degraded, and `all`."""
    student_busy_s: float
    student_paid_s: float
    teacher_busy_s: float
    teacher_paid_s: float
    """Of slots (API), or of the replicas that were there or started (hosted)."""
    little: Little
    timeline: tuple[Window, ...]
    wall_s: float
    cpu_s: float
    """Seconds of the cores themselves: on a shared machine less than wall times workers."""
    histogram: Floats
    """End-to-end latency of all answers: (BINS,) counts; see `kernel.layout` for the bins."""
    warnings: tuple[str, ...] = ()
    """What is odd about the run, one sentence each."""

    @property
    def offered_per_s(self) -> float:
        """Requests that arrived, per second."""
        return self.counts["requests"] / self.seconds

    @property
    def answered_per_s(self) -> float:
        """Requests that got an answer, per second."""
        return (self.counts["requests"] - self.counts["refused"]) / self.seconds

    @property
    def escalation_rate(self) -> float:
        """Share of requests for which the teacher was wanted."""
        return _share(self.counts["wanted_teacher"], self.counts["requests"])

    @property
    def token_weighted_escalation(self) -> float:
        """Share of student tokens that belong to requests for which the teacher was wanted."""
        return _share(self.counts["wanted_tokens"], self.counts["student_tokens"])

    @property
    def degraded_rate(self) -> float:
        """Share of requests answered by a student that was not sure."""
        return _share(self.counts["degraded"], self.counts["requests"])

    @property
    def refused_rate(self) -> float:
        """Share of requests nobody answered."""
        return _share(self.counts["refused"], self.counts["requests"])

    @property
    def agreement(self) -> float:
        """Share of the answers given that equal the teacher's."""
        given = self.counts["requests"] - self.counts["refused"]
        return 1 - _share(self.counts["disagreements"], given)

    @property
    def student_utilisation(self) -> float:
        """Busy share of the replica-seconds paid."""
        return self.student_busy_s / self.student_paid_s if self.student_paid_s else 0.0

    @property
    def teacher_utilisation(self) -> float:
        """Busy share of the teacher's slots (API) or replicas (hosted) up to the horizon.

        A slot is busy while a call holds it, pauses before a retry included.
        """
        return self.teacher_busy_s / self.teacher_paid_s if self.teacher_paid_s else 0.0

    @cached_property
    def slo(self) -> Callable[[float], float]:
        """`slo(seconds)`: share of ALL arrivals answered within that time, refusals included."""
        cumulated = np.cumsum(self.histogram)

        def within(seconds: float) -> float:
            below = cumulated[np.searchsorted(_BIN_TOPS, seconds, side="right") - 1]
            return _share(float(below), self.counts["requests"])

        return within


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


_BIN_TOPS = np.r_[
    2.0**layout.LOWEST_EXPONENT,
    np.ldexp(
        1 + (np.arange(layout.BINS - 1) % 2**layout.SUB_BITS + 1) / 2**layout.SUB_BITS,
        layout.LOWEST_EXPONENT + np.arange(layout.BINS - 1) // 2**layout.SUB_BITS,
    ),
]
_BIN_MIDDLES = np.r_[0.0, (_BIN_TOPS[1:] + _BIN_TOPS[:-1]) / 2]


def quantile(histogram: npt.NDArray[np.integer] | Floats, q: float) -> float:
    """Seconds at quantile q of a kernel histogram; 0 when it is empty."""
    cumulated = np.cumsum(histogram)
    if cumulated[-1] == 0:
        return 0.0
    return float(_BIN_MIDDLES[np.searchsorted(cumulated, q * cumulated[-1], side="left")])


def _latency(histogram: npt.NDArray[np.integer] | Floats, total_s: float) -> Latency:
    n = int(histogram.sum())
    p50, p90, p99, p999 = (quantile(histogram, q) for q in (0.5, 0.9, 0.99, 0.999))
    return Latency(n, total_s / n if n else 0.0, p50, p90, p99, p999)


def result_of(
    scenario: Scenario, seed: int, stretches: Sequence[Stats], *, wall_s: float, cpu_s: float
) -> Result:
    """Join the stretches of time of one run."""
    rows = np.concatenate([one.rows[:-1] for one in stretches])
    latency = np.concatenate([one.latency[:-1] for one in stretches])
    row_s = scenario.duration_s / len(rows)
    stages = np.sum([one.stages[0] for one in stretches], axis=0)
    by_route = latency.sum(axis=0, dtype=np.int64)
    routes = {
        name: _latency(by_route[r], float(rows[f"{name}_s"].sum())) for r, name in enumerate(ROUTES)
    }
    everyone = by_route.sum(axis=0)
    routes["all"] = _latency(everyone, sum(float(rows[f"{name}_s"].sum()) for name in ROUTES))
    return Result(
        scenario=scenario,
        seed=seed,
        seconds=scenario.duration_s,
        counts={name: int(rows[name].sum()) for name in layout.COUNTS},
        stages={
            name: _latency(stages[k], float(rows[f"in_{name}_s"].sum()))
            for k, name in enumerate(layout.STAGES)
        },
        routes=routes,
        student_busy_s=float(rows["student_busy_s"].sum()),
        student_paid_s=float(rows["student_paid_s"].sum()),
        teacher_busy_s=float(rows["teacher_busy_s"].sum()),
        teacher_paid_s=float(rows["teacher_paid_s"].sum()),
        little=_little(stretches),
        timeline=tuple(
            _window(rows[k], latency[k].sum(axis=0), k * row_s, row_s) for k in range(len(rows))
        ),
        wall_s=wall_s,
        cpu_s=cpu_s,
        histogram=everyone.astype(np.float64),
    )


def _little(stretches: Sequence[Stats]) -> Little:
    worst = {"student": 0.0, "teacher": 0.0}
    for one in stretches:
        x = one.state[0]
        for stage in worst:
            total, area = float(x[f"{stage}_sum"]), float(x[f"{stage}_area"])
            worst[stage] = max(worst[stage], abs(total - area) / max(total, 1e-9))
    return Little(worst["student"], worst["teacher"])


def _window(
    row: np.void, histogram: npt.NDArray[np.integer], start_s: float, seconds: float
) -> Window:
    answers = int(histogram.sum())
    paid, total = float(row["student_paid_s"]), sum(float(row[f"{name}_s"]) for name in ROUTES)
    return Window(
        start_s=start_s,
        seconds=seconds,
        counts={name: int(row[name]) for name in layout.COUNTS},
        student_utilisation=float(row["student_busy_s"]) / paid if paid else 0.0,
        p50_s=quantile(histogram, 0.5),
        p99_s=quantile(histogram, 0.99),
        mean_s=total / answers if answers else 0.0,
        student_paid_s=paid,
        teacher_busy_s=float(row["teacher_busy_s"]),
    )
