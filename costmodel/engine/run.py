"""Scenario in, result out: the kernel's arrays dressed as numbers with names and intervals."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from costmodel.engine import kernel
from costmodel.errors import BadScenario
from costmodel.inputs.scenario import ApiTeacher, HostedTeacher, Noise, Quality, Scenario
from costmodel.inputs.workload import NO_BURSTS, WINDOW_S, traffic

Floats = npt.NDArray[np.float64]
Fields = dict[str, float | Floats]
"""Named scalars and tables for `kernel.tell`."""
Progress = Callable[[int], None]
"""Called now and then with the number of requests simulated so far."""

ROWS = 120
"""At most so many rows of a timeline."""
STRETCH_WARMUP_S = 120.0
"""Traffic simulated and not counted before a stretch of time that runs in parallel."""
BACKLOG_S = 1.2
"""What may wait, or be missing in a token bucket, at a cut: 1 % of that warm-up, whose traffic
builds as much again; more than that it cannot."""
CURVE = 1024
"""Cells of the confidence curve."""
ROUTES = ("student", "teacher", "degraded")
_OPEN = float("inf")


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
    """`kernel.COUNTS` by name: the bill and the outcomes."""
    stages: dict[str, Latency]
    """student_wait, student, teacher_wait, teacher: seconds in each stage."""
    routes: dict[str, Latency]
    """End-to-end latency of answers by route: student, teacher, degraded, and `all`."""
    student_busy_s: float
    student_paid_s: float
    teacher_busy_s: float
    little: Little
    timeline: tuple[Window, ...]
    wall_s: float
    cpu_s: float
    """Seconds of the cores themselves: on a shared machine less than wall times workers."""
    histogram: Floats
    """End-to-end latency of all answers: (BINS,) counts; see `kernel` for the bins."""
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
        teacher = self.scenario.teacher
        units = teacher.max_concurrency if teacher.kind == "api" else teacher.replicas
        return self.teacher_busy_s / (units * self.seconds)

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


def simulate(
    scenario: Scenario, seed: int = 0, *, workers: int = 1, progress: Progress | None = None
) -> Result:
    """Run a scenario once. The same scenario, seed and workers give the same result.

    Args:
        scenario: what to run.
        seed: of every random stream.
        workers: above 1, the horizon is cut into that many stretches of time which run in
            parallel, each with its own seed and a warm-up before it. Where a queue or an empty
            token bucket would reach beyond a cut, the run is played again in one piece, and its
            `warnings` say so.
        progress: told the number of requests so far, about ten times a second.

    Raises:
        BadScenario: the scenario cannot be simulated.
    """
    jobs = _plan(scenario, seed, workers)
    [result] = _gather(jobs, workers, progress)
    why = _crosses(jobs)
    if why is None:
        return result
    [whole] = _gather(_plan(scenario, seed, 1), 1, progress)
    said = f"played in one piece, {workers} workers or not: {why} would be lost at a cut"
    return replace(whole, warnings=(*whole.warnings, said))


def _crosses(jobs: Sequence[_Job]) -> str | None:
    """What reaches from one stretch of time into the next; None when nothing does."""
    ends = [job.stats.state[0] for job in jobs[:-1]]
    for name, words in (
        ("backlog_s", "a queue of {:,.0f} s"),
        ("refill_s", "what {:,.0f} s of a rate limit or budget would refill"),
    ):
        most = max((float(end[name]) for end in ends), default=0.0)
        if most > BACKLOG_S:
            return words.format(most)
    return None


@dataclass(frozen=True)
class Interval:
    """A mean over seeds with its Student-t interval."""

    mean: float
    low: float
    high: float
    n: int

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


@dataclass(frozen=True)
class Replications:
    """The same scenario with several seeds."""

    results: tuple[Result, ...]

    def interval(self, of: Callable[[Result], float], confidence: float = 0.95) -> Interval:
        """Mean and Student-t interval of any figure over the seeds."""
        return interval([of(result) for result in self.results], confidence)


def interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and Student-t interval of independent values; one value has an infinite interval."""
    from scipy.special import stdtrit

    x = np.asarray(values, dtype=np.float64)
    mean = float(x.mean())
    if x.size < 2:
        return Interval(mean, -math.inf, math.inf, x.size)
    half = float(stdtrit(x.size - 1, (1 + confidence) / 2) * x.std(ddof=1) / math.sqrt(x.size))
    return Interval(mean, mean - half, mean + half, x.size)


def simulate_many(
    scenario: Scenario,
    seeds: Sequence[int],
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> Replications:
    """Run a scenario with several seeds, `workers` of them at a time."""
    jobs = [job for seed in seeds for job in _plan(scenario, seed, 1)]
    return Replications(tuple(_gather(jobs, workers, progress)))


def simulate_all(
    scenarios: Sequence[Scenario],
    seed: int = 0,
    *,
    workers: int = 2,
    progress: Progress | None = None,
) -> list[Result]:
    """Run several scenarios with one seed (common random numbers), `workers` at a time."""
    jobs = [job for scenario in scenarios for job in _plan(scenario, seed, 1)]
    return _gather(jobs, workers, progress)


# --- one stretch of time ---------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    scenario: Scenario
    seed: int
    stretch: int
    of: int
    told: kernel.Told
    stats: kernel.Stats
    progress: npt.NDArray[np.int64]

    def run(self) -> tuple[float, float]:
        """Return wall seconds and seconds of the core."""
        begun, began = time.perf_counter(), time.thread_time()
        seed = self.seed if self.of == 1 else (self.seed << 16) + self.stretch + 1
        kernel.run(self.told, seed, self.stats, self.progress)
        return time.perf_counter() - begun, time.thread_time() - began


def _plan(scenario: Scenario, seed: int, stretches: int) -> list[_Job]:
    if stretches > 1 and scenario.workload.arrivals == "replay":
        stretches = 1
    shift = scenario.warmup_s
    span = scenario.duration_s
    rows = ROWS if span >= ROWS * 60 else max(1, int(span // 60))
    rows = max(1, rows // stretches)
    until = [shift + span * (k + 1) / stretches for k in range(stretches)]
    middle = (np.arange(max(1, math.ceil((shift + span) / WINDOW_S))) + 0.5) * WINDOW_S
    hardness = scenario.drift.hardness(np.maximum(middle - shift, 0.0))
    spells = scenario.drift.spells.table() if scenario.drift.spells else NO_BURSTS
    rule = student_of(scenario) | policy_of(scenario) | teacher_of(scenario)
    jobs = []
    for k in range(stretches):
        begin = until[k] - span / stretches
        lead = min(begin, max(shift, STRETCH_WARMUP_S if k else 0.0))
        arriving = traffic(
            scenario.workload,
            until_s=until[k],
            start_s=begin - lead,
            zero_s=shift,
            hardness=hardness,
            spells=spells,
            output=scenario.teacher.output_tokens,
        )
        counted: Fields = {"count_from_s": begin, "row_s": span / stretches / rows}
        told = kernel.tell(arriving | counted | rule)
        stats, seen = kernel.new_stats(rows), np.zeros(2, np.int64)
        jobs.append(_Job(scenario, seed, k, stretches, told, stats, seen))
    return jobs


def _gather(jobs: Sequence[_Job], workers: int, progress: Progress | None) -> list[Result]:
    """Run jobs in threads (the kernel holds no lock) and join the stretches of one run."""
    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        futures = [pool.submit(job.run) for job in jobs]
        try:
            while wait_for(futures, timeout=0.1).not_done:
                if progress is not None:
                    progress(sum(int(job.progress[0]) for job in jobs))
        except BaseException:
            for job, future in zip(jobs, futures, strict=True):
                job.progress[1] = 1
                future.cancel()
            raise
    if progress is not None:
        progress(sum(int(job.progress[0]) for job in jobs))
    clocks = [future.result() for future in futures]
    results, k = [], 0
    while k < len(jobs):
        of = jobs[k].of
        walls, cores = zip(*clocks[k : k + of], strict=True)
        results.append(_result(jobs[k : k + of], max(walls), sum(cores)))
        k += of
    return results


# --- scenario → the kernel's parameters ------------------------------------------------------

_NOISES = {
    "constant": kernel.CONSTANT,
    "exponential": kernel.EXPONENTIAL,
    "lognormal": kernel.LOGNORMAL,
    "measured": kernel.TABLE,
}


def _noise(noise: Noise) -> tuple[int, float, Floats]:
    if noise.kind == "measured":
        table = np.asarray(noise.quantiles, dtype=np.float64)
        cells = (table[1:] + table[:-1]) / 2 if table.size > 1 else table
        return kernel.TABLE, 0.0, table / cells.mean()
    return _NOISES[noise.kind], math.sqrt(math.log1p(noise.cv**2)), np.ones(1)


def student_of(scenario: Scenario) -> Fields:
    """The fleet as the kernel takes it."""
    fleet, scale = scenario.student, scenario.student.autoscaling
    kind, sigma, table = _noise(fleet.noise)
    most = scale.max_replicas if scale else fleet.replicas
    least = scale.min_replicas if scale else fleet.replicas
    return {
        "fixed_s": fleet.fixed_s,
        "per_request_s": fleet.per_request_s,
        "per_token_s": fleet.per_token_s,
        "student_noise": kind,
        "student_sigma": sigma,
        "student_noise_table": table,
        "max_batch": fleet.max_batch,
        "max_batch_tokens": fleet.max_batch_tokens,
        "padded": fleet.padded,
        "queue_limit": fleet.queue_limit,
        "student_failure_rate": fleet.failure_rate,
        "fleet": min(max(fleet.replicas, least), most),
        "min_replicas": least,
        "max_replicas": most,
        "check_s": scale.check_s if scale else _OPEN,
        "target": scale.target_utilisation if scale else 1.0,
        "start_delay_s": scale.start_delay_s if scale else 0.0,
        "calm_checks": scale.calm_checks if scale else 1,
        "overhead": np.asarray(fleet.overhead_s, dtype=np.float64),
    }


def confidence_curve(quality: Quality) -> tuple[Floats, Floats]:
    """Confidence at evenly spaced ranks (CURVE + 1,) and local disagreement by cell (CURVE,).

    A row (threshold, coverage, risk) says: at rank 1 - coverage the confidence is the threshold,
    and coverage x risk of all traffic is kept and wrong. Between rows: straight lines.
    """
    grid = np.linspace(0, 1, CURVE + 1)
    rows = sorted(quality.risk_coverage)
    threshold = np.array([0.0, *(t for t, _, _ in rows), 1.0])
    rank = np.array([0.0, *(1 - c for _, c, _ in rows), 1.0])
    wrong = np.array([rows[0][1] * rows[0][2], *(c * r for _, c, r in rows), 0.0])
    confidence = np.interp(grid, rank, threshold)
    mass = np.interp(grid, rank, wrong)
    return confidence, np.clip(-np.diff(mass) * CURVE, 0.0, 1.0)


def policy_of(scenario: Scenario) -> Fields:
    """The rule as the kernel takes it."""
    policy, quality = scenario.policy, scenario.quality
    if quality.risk_coverage:
        confidence, wrong = confidence_curve(quality)
        threshold = policy.threshold
        if threshold is None:
            assert policy.escalation_rate is not None
            threshold = float(
                np.interp(policy.escalation_rate, np.linspace(0, 1, CURVE + 1), confidence)
            )
    else:
        assert policy.escalation_rate is not None
        confidence, threshold = np.array([0.0, 1.0]), policy.escalation_rate
        unsure = np.arange(CURVE) < round(threshold * CURVE)
        wrong = np.where(unsure, quality.unsure_disagreement, quality.kept_disagreement)
    # a rate of 1 means everything, also a confidence of exactly 1
    if policy.escalation_rate == 1.0:
        threshold = _OPEN
    return {
        "threshold": threshold,
        "confidence": confidence,
        "disagreement": wrong,
        "length_correlation": quality.length_correlation,
        "audit_rate": policy.audit_rate,
        "budget_per_s": policy.budget_per_s or _OPEN,
        "budget_burst": policy.budget_burst,
        "deadline_s": policy.deadline_s,
        "teacher_timeout_s": scenario.teacher.timeout_s,
        "degrade": policy.on_failure == "student",
    }


def teacher_of(scenario: Scenario) -> Fields:
    """The teacher as the kernel takes it."""
    teacher = scenario.teacher
    kind, sigma, table = _noise(teacher.noise)
    api = teacher if isinstance(teacher, ApiTeacher) else ApiTeacher()
    hosted = teacher if isinstance(teacher, HostedTeacher) else HostedTeacher()
    calls = api.calls_per_minute / 60 if api.calls_per_minute else _OPEN
    tokens = api.tokens_per_minute / 60 if api.tokens_per_minute else _OPEN
    longest = float(scenario.workload.tokens.table()[-1]) * teacher.tokens_per_student_token
    longest += teacher.prompt_tokens + float(teacher.output_tokens.table()[-1])
    if tokens * api.limit_burst_s < longest:
        raise BadScenario(
            f"{scenario.name}: teacher.tokens_per_minute {api.tokens_per_minute:g} with a burst of "
            f"{api.limit_burst_s:g} s never admits the longest call of {longest:.0f} tokens; "
            "raise either"
        )
    return {
        "teacher_kind": kernel.SLOTS if teacher.kind == "api" else kernel.CONTINUOUS,
        "slots": api.max_concurrency,
        "base_s": api.latency_s,
        "per_input_s": api.per_input_token_s,
        "per_output_s": api.per_output_token_s,
        "teacher_noise": kind,
        "teacher_sigma": sigma,
        "teacher_noise_table": table,
        "prompt_tokens": teacher.prompt_tokens,
        "token_ratio": teacher.tokens_per_student_token,
        "calls_per_s": calls,
        "calls_burst": max(1.0, calls * api.limit_burst_s),
        "tokens_per_s": tokens,
        "tokens_burst": tokens * api.limit_burst_s,
        "teacher_failure_rate": api.failure_rate,
        "reject_s": api.reject_s,
        "max_attempts": api.max_attempts,
        "backoff_s": api.backoff_s,
        "max_wait_s": api.max_wait_s or _OPEN,
        "pending_limit": teacher.pending_limit,
        "engines": hosted.replicas,
        "max_running": hosted.max_running,
        "kv_tokens": hosted.kv_tokens,
        "abort": hosted.abort_on_leave,
        "step_s": hosted.step_s,
        "step_per_request_s": hosted.step_per_request_s,
        "step_per_context_s": hosted.step_per_context_token_s,
        "step_per_prefill_s": hosted.step_per_prefill_token_s,
        "prefill_budget": hosted.prefill_tokens_per_step,
    }


# --- the kernel's arrays → result ------------------------------------------------------------

_BIN_TOPS = np.r_[
    2.0**kernel.LOWEST_EXPONENT,
    np.ldexp(
        1 + (np.arange(kernel.BINS - 1) % 2**kernel.SUB_BITS + 1) / 2**kernel.SUB_BITS,
        kernel.LOWEST_EXPONENT + np.arange(kernel.BINS - 1) // 2**kernel.SUB_BITS,
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


def _result(jobs: Sequence[_Job], wall_s: float, cpu_s: float) -> Result:
    scenario = jobs[0].scenario
    rows = np.concatenate([job.stats.rows[:-1] for job in jobs])
    latency = np.concatenate([job.stats.latency[:-1] for job in jobs])
    row_s = scenario.duration_s / len(rows)
    stages = np.sum([job.stats.stages[0] for job in jobs], axis=0)
    by_route = latency.sum(axis=0, dtype=np.int64)
    routes = {
        name: _latency(by_route[r], float(rows[f"{name}_s"].sum())) for r, name in enumerate(ROUTES)
    }
    everyone = by_route.sum(axis=0)
    routes["all"] = _latency(everyone, sum(float(rows[f"{name}_s"].sum()) for name in ROUTES))
    return Result(
        scenario=scenario,
        seed=jobs[0].seed,
        seconds=scenario.duration_s,
        counts={name: int(rows[name].sum()) for name in kernel.COUNTS},
        stages={
            name: _latency(stages[k], float(rows[f"in_{name}_s"].sum()))
            for k, name in enumerate(kernel.STAGES)
        },
        routes=routes,
        student_busy_s=float(rows["student_busy_s"].sum()),
        student_paid_s=float(rows["student_paid_s"].sum()),
        teacher_busy_s=float(rows["teacher_busy_s"].sum()),
        little=_little(jobs),
        timeline=tuple(
            _window(rows[k], latency[k].sum(axis=0), k * row_s, row_s) for k in range(len(rows))
        ),
        wall_s=wall_s,
        cpu_s=cpu_s,
        histogram=everyone.astype(np.float64),
    )


def _little(jobs: Sequence[_Job]) -> Little:
    worst = {"student": 0.0, "teacher": 0.0}
    for job in jobs:
        x = job.stats.state[0]
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
        counts={name: int(row[name]) for name in kernel.COUNTS},
        student_utilisation=float(row["student_busy_s"]) / paid if paid else 0.0,
        p50_s=quantile(histogram, 0.5),
        p99_s=quantile(histogram, 0.99),
        mean_s=total / answers if answers else 0.0,
        student_paid_s=paid,
        teacher_busy_s=float(row["teacher_busy_s"]),
    )
