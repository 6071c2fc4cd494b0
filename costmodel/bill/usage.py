"""Mean sizes of a scenario's requests: what a student reads, what a teacher writes."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from costmodel.inputs.scenario import Scenario
from costmodel.inputs.workload import Trace, read_trace


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


# A trace is a file: read it once, not for every line of the bill.
@lru_cache(maxsize=8)
def _trace_means(trace: Trace) -> tuple[float, float]:
    rows = read_trace(trace).rows
    return float(rows[:, 1].mean()), float(rows[:, 2].mean())


def _mean(table: npt.NDArray[np.float64]) -> float:
    return float(table.mean()) if table.size == 1 else float(((table[1:] + table[:-1]) / 2).mean())
