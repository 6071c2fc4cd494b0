"""Cases whose answer is known exactly, for the tests and for the table in the documentation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from costmodel.engine.replications import Interval, Replications
from costmodel.engine.result import Result
from costmodel.engine.run import simulate_many
from costmodel.inputs.fleet import Noise, StudentFleet
from costmodel.inputs.scenario import ApiTeacher, HostedTeacher, Policy, Scenario
from costmodel.inputs.workload import Lengths, Workload
from costmodel.queueing.closed_forms import (
    BurkeCascade,
    MMc,
    batch_queue,
    bulk_wait,
    given_up,
    md1_wait,
    mg1_wait,
)
from costmodel.units import DAY_S

EXPONENTIAL = Noise(kind="exponential")
LONG = 1e9
KEEP_ALL = Policy(escalation_rate=0, audit_rate=0, deadline_s=LONG)
ASK_ALL = Policy(escalation_rate=1, audit_rate=0, deadline_s=LONG)
AT_ONCE = StudentFleet(fixed_s=0, per_token_s=0, max_batch=1, replicas=1)


@dataclass(frozen=True)
class Case:
    """One queue, one figure of it and its exact value."""

    name: str
    scenario: Scenario
    figure: Callable[[Result], float]
    exact: float

    def run(self, seeds: Sequence[int], confidence: float = 0.99) -> tuple[Interval, Replications]:
        """Simulate it with several seeds."""
        runs = simulate_many(self.scenario, seeds)
        return runs.interval(self.figure, confidence), runs


def cases(arrivals: int = 100_000) -> list[Case]:
    """All cases, each of about so many counted arrivals after a tenth of warm-up."""

    def queue(
        per_second: float,
        student: StudentFleet,
        policy: Policy = KEEP_ALL,
        teacher: ApiTeacher | HostedTeacher | None = None,
    ) -> Scenario:
        return Scenario(
            name="theory",
            workload=Workload(per_second=per_second, tokens=Lengths(mean=1)),
            days=arrivals / per_second / DAY_S,
            warmup_s=0.1 * arrivals / per_second,
            student=student,
            policy=policy,
            teacher=teacher or ApiTeacher(),
        )

    found = []
    for servers, load in ((1, 0.8), (4, 3.2), (20, 16.0), (100, 90.0)):
        scenario = queue(load, _fleet(1.0, servers))
        exact = MMc(load, 1, servers).wait_s
        found.append(Case(f"M/M/{servers}, load {load:g}: wait", scenario, _wait, exact))
    scenario = queue(0.8, _fleet(1.0, noise=Noise()))
    found.append(Case("M/D/1, load 0.8: wait", scenario, _wait, md1_wait(0.8, 1)))
    scenario = queue(0.7, _fleet(1.0, noise=Noise(kind="lognormal", cv=0.7)))
    found.append(Case("M/G/1 lognormal, load 0.7: wait", scenario, _wait, mg1_wait(0.7, 1, 0.49)))
    for rate, most in ((3.0, 4), (3.6, 4), (20.0, 32)):
        scenario = queue(rate, _fleet(1.0, 1, most))
        name = f"M/M(1,{most})/1, rate {rate:g}: wait"
        found.append(Case(name, scenario, _wait, bulk_wait(rate, 1, most)))
    for rate, each, fixed, cap in (
        (2.0, 0.1, 0.5, None), (5.0, 0.1, 0.5, None), (8.0, 0.1, 0.5, None),
        (9.0, 0.02, 0.5, 8), (10.0, 0.02, 0.5, 8),
    ):  # fmt: skip
        student = _fleet(fixed, 1, cap or 4096, Noise(), per_request_s=each)
        exact = batch_queue(rate, lambda n, a=each, t=fixed: a * n + t, cap).sojourn_s  # type: ignore[misc]
        name = f"batches of {fixed:g} + {each:g} n s, cap {cap or 'none'}, rate {rate:g}: stay"
        found.append(Case(name, queue(rate, student), _stay, exact))
    slots = ApiTeacher(
        latency_s=1, noise=EXPONENTIAL, max_concurrency=14, timeout_s=LONG, max_wait_s=None,
        asking=None,
    )  # fmt: skip
    some = Policy(escalation_rate=0.1, audit_rate=0, deadline_s=LONG)
    found.append(
        Case(
            "Burke cascade, 10 % escalated: end to end",
            queue(100, _fleet(1 / 30, 5), some, slots),
            lambda run: run.routes["all"].mean_s,
            BurkeCascade.of(100, (30, 5), 0.1, (1, 14)).sojourn_s,
        )
    )
    found.append(
        Case(
            "teacher slots M/M/4, load 3.2: p99 wait",
            queue(3.2, AT_ONCE, ASK_ALL, slots.model_copy(update={"max_concurrency": 4})),
            lambda run: run.stages["teacher_wait"].p99_s,
            MMc(3.2, 1, 4).wait_quantile(0.99),
        )
    )
    found.append(
        Case(
            "teacher M/M/1, load 0.9, patience 1 s: given up",
            queue(
                0.9, AT_ONCE, ASK_ALL,
                slots.model_copy(update={"max_concurrency": 1, "max_wait_s": 1.0}),
            ),
            lambda run: run.degraded_rate,
            given_up(0.9, 1, 1.0),
        )
    )  # fmt: skip
    one = HostedTeacher(
        max_running=1,
        step_s=1,
        step_per_request_s=0,
        step_per_prefill_token_s=0,
        timeout_s=LONG,
        asking=None,
    )
    found.append(
        Case(
            "hosted teacher, one at a time = M/D/1: wait",
            queue(0.8, AT_ONCE, ASK_ALL, one),
            lambda run: run.stages["teacher_wait"].mean_s,
            md1_wait(0.8, 1),
        )
    )
    # prompts of 10 tokens in all: a step that prefills n of them takes 0.5 + 0.1 n seconds
    together = HostedTeacher(
        step_s=0.5, step_per_request_s=0, step_per_prefill_token_s=0.01, prompt_tokens=9,
        max_running=4096, kv_tokens=LONG, prefill_tokens_per_step=LONG, timeout_s=LONG,
        asking=None,
    )  # fmt: skip
    found.append(
        Case(
            "hosted teacher, all together = batches of 0.5 + 0.1 n s: stay",
            queue(5, AT_ONCE, ASK_ALL, together),
            lambda run: run.stages["teacher"].mean_s,
            batch_queue(5, lambda n: 0.1 * n + 0.5).sojourn_s,
        )
    )
    return found


def table(arrivals: int = 400_000, seeds: Sequence[int] = range(12)) -> list[dict[str, object]]:
    """Exact against simulated, with the 95 % interval over the seeds."""
    rows: list[dict[str, object]] = []
    for case in cases(arrivals):
        seen, runs = case.run(seeds, 0.95)
        rows.append(
            {
                "case": case.name,
                "exact": case.exact,
                "mean": seen.mean,
                "low": seen.low,
                "high": seen.high,
                "inside": case.exact in seen,
                "little": max(
                    max(run.little.student_residual, run.little.teacher_residual)
                    for run in runs.results
                ),
            }
        )
    return rows


def _fleet(
    fixed_s: float,
    replicas: int = 1,
    max_batch: int = 1,
    noise: Noise = EXPONENTIAL,
    per_request_s: float = 0.0,
) -> StudentFleet:
    return StudentFleet(
        fixed_s=fixed_s, per_request_s=per_request_s, per_token_s=0, replicas=replicas,
        max_batch=max_batch, noise=noise, queue_limit=2**16,
    )  # fmt: skip


def _wait(run: Result) -> float:
    return run.stages["student_wait"].mean_s


def _stay(run: Result) -> float:
    return run.stages["student"].mean_s
