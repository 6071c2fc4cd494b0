"""Sizes of a scenario's requests: what a student reads, what a teacher reads and writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from costmodel.inputs.scenario import Scenario
from costmodel.inputs.workload import Trace, read_trace
from costmodel.money.pricing import TokenUsage
from costmodel.money.sizes import Sizes

if TYPE_CHECKING:
    from costmodel.engine.result import Result

Use = Callable[[Mapping[str, int]], TokenUsage]
"""What a window's counts mean in tokens."""


def mean_tokens(scenario: Scenario) -> float:
    """Mean student tokens of a request."""
    workload = scenario.workload
    if workload.trace is not None:
        return _trace_means(workload.trace)[0]
    return _mean(workload.tokens.table())


def mean_output(scenario: Scenario) -> float:
    """Mean tokens of a teacher's answer."""
    workload = scenario.workload
    if workload.trace is not None and workload.trace.output_tokens is not None:
        return _trace_means(workload.trace)[1]
    return _mean(scenario.teacher.output_tokens.table())


def sizes(scenario: Scenario) -> Sizes:
    """What the teacher would read and write, request by request."""
    read, written, _ = _requests(scenario)
    return Sizes.of(read, written)


def escalated_sizes(scenario: Scenario, escalated: float) -> Sizes:
    """The same of the share of requests that escalates: long ones more often, as the file says.

    The kernel takes a text's rank of length for its unsureness with the probability that the file
    gives as their correlation, and draws it freely otherwise.
    """
    read, written, rank = _requests(scenario)
    return Sizes(read, written, _unsure(scenario, rank, escalated))


def kept_sizes(scenario: Scenario, escalated: float) -> Sizes:
    """The same of the requests that the student answers."""
    read, written, rank = _requests(scenario)
    weight = 1 - escalated * _unsure(scenario, rank, escalated)
    return Sizes(read, written, weight if weight.any() else np.ones(rank.size))


def _unsure(
    scenario: Scenario, rank: npt.NDArray[np.float64], escalated: float
) -> npt.NDArray[np.float64]:
    """How often a text of this rank of length escalates, over how often any does."""
    tied = scenario.quality.length_correlation
    if not tied or not escalated:
        return np.ones(rank.size)
    hard = (rank > 1 - escalated if tied > 0 else rank < escalated).astype(np.float64)
    weight: npt.NDArray[np.float64] = (1 - abs(tied)) + abs(tied) * hard / escalated
    return weight if weight.any() else np.ones(rank.size)


def _requests(scenario: Scenario) -> tuple[npt.NDArray[np.float64], ...]:
    """Teacher's input and output tokens and the rank of length of requests that stand for all."""
    teacher, trace = scenario.teacher, scenario.workload.trace
    if trace is not None:
        rows = _trace_rows(trace)
        tokens, rank = rows[:, 1], rows[:, 3]
        written = rows[:, 2] if trace.output_tokens else np.full(rank.size, mean_output(scenario))
    else:
        table = scenario.workload.tokens.table()
        rank = (np.arange(CELLS) + 0.5) / CELLS
        tokens = np.interp(rank, np.linspace(0, 1, table.size), table)
        written = np.full(CELLS, mean_output(scenario))
    return teacher.prompt_tokens + teacher.tokens_per_student_token * tokens, written, rank


CELLS = 16_384
"""Requests that stand for all lengths: four in each cell of a quantile table."""


# A trace is a file: read it once, not for every line of the bill.
@lru_cache(maxsize=8)
def _trace_rows(trace: Trace) -> npt.NDArray[np.float64]:
    return read_trace(trace).rows


def _trace_means(trace: Trace) -> tuple[float, float]:
    rows = _trace_rows(trace)
    return float(rows[:, 1].mean()), float(rows[:, 2].mean())


def _mean(table: npt.NDArray[np.float64]) -> float:
    return float(table.mean()) if table.size == 1 else float(((table[1:] + table[:-1]) / 2).mean())


def every_request(result: Result) -> Use:
    """The usage if the teacher had answered every request of a window."""
    scenario = result.scenario
    teacher, output, spread = scenario.teacher, mean_output(scenario), sizes(scenario)
    hits = hit_rate(result, result.counts["requests"])

    def use(counts: Mapping[str, int]) -> TokenUsage:
        n = counts["requests"]
        read = counts["student_tokens"] * teacher.tokens_per_student_token
        read += n * teacher.prompt_tokens
        return _usage(scenario, round(read), round(n * output), n, hits, spread)

    return use


def wanted(result: Result) -> TokenUsage:
    """The usage if each request that escalates had been asked once."""
    scenario, counts = result.scenario, result.counts
    teacher, n = scenario.teacher, counts["wanted_teacher"]
    read = counts["wanted_tokens"] * teacher.tokens_per_student_token + n * teacher.prompt_tokens
    spread, hits = escalated_sizes(scenario, _share(result)), hit_rate(result, _calls(counts))
    return _usage(scenario, round(read), round(n * mean_output(scenario)), n, hits, spread)


def billed(result: Result, prefix: str) -> Use:
    """The usage of billed calls: escalations (''), those that bought nothing ('lost_'), audits."""
    scenario, counts = result.scenario, result.counts
    spread = (kept_sizes if prefix == "audit_" else escalated_sizes)(scenario, _share(result))
    calls = f"{prefix}calls" if prefix else "teacher_calls"
    hits = hit_rate(result, _calls(counts))

    def use(counts: Mapping[str, int]) -> TokenUsage:
        read, written = counts[f"{prefix}input_tokens"], counts[f"{prefix}output_tokens"]
        return _usage(scenario, read, written, counts[calls], hits, spread)

    return use


def hit_rate(result: Result, calls: int) -> float:
    """Share of calls that find the prompt's fixed beginning in the supplier's cache.

    Calls at random, `calls` of them in the run, and as unevenly over the day as the traffic: one
    finds it if another came within the cache's time before it. Few escalations leave it cold.
    """
    teacher, seconds = result.scenario.teacher, result.seconds
    if teacher.cache_hit_rate is not None:
        return teacher.cache_hit_rate
    traffic = result.scenario.workload.rates(seconds)
    return warm(traffic * (calls / max(traffic.mean() * seconds, 1e-9)), teacher.cache_ttl_s)


def warm(per_second: npt.ArrayLike, ttl_s: float) -> float:
    """Share of random calls with another one at most `ttl_s` before; rates of equal windows."""
    rate = np.asarray(per_second, np.float64)
    total = float(rate.sum())
    return float((rate * -np.expm1(-rate * ttl_s)).sum()) / total if total else 0.0


def _usage(
    scenario: Scenario, read: int, written: int, n: int, hits: float, spread: Sizes
) -> TokenUsage:
    fixed = min(math.floor(n * scenario.teacher.cached_prompt_tokens), read)
    cached = math.floor(fixed * hits)
    return TokenUsage(read, written, cached, n, cache_write_tokens=fixed - cached, sizes=spread)


def _share(result: Result) -> float:
    return result.counts["wanted_teacher"] / max(result.counts["requests"], 1)


def _calls(counts: Mapping[str, int]) -> int:
    return counts["teacher_calls"] + counts["audit_calls"]
