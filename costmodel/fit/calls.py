"""How long a teacher call takes by itself: escalated requests may have waited for a slot."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from costmodel.fit.measured import Floats, MeasuredRun
from costmodel.queueing.closed_forms import MMc

SHORTEST_S = 1e-6


def calls_alone(runs: Sequence[MeasuredRun], slots: int, audit_rate: float) -> Floats:
    """Return sorted seconds of teacher calls without their wait for a slot; `runs` ascend in rate.

    The simulator plays the wait, so what was measured while slots were short must not hold it
    already. Calls of more rates scatter less, but at the higher ones they waited: so many rates
    are taken, from the lowest, that the mean is wrong by least, wait and scatter together. Runs in
    clumps are left out, because how long these wait is not known.
    """
    taken = np.empty(0)
    waited_s, best, least = 0.0, taken, math.inf
    for run in runs:
        asked = run.latency_s.get("teacher", np.empty(0))
        if run.gap_cv > 1 or not asked.size:
            continue
        calls = np.maximum(asked - run.latency_s["student"].mean(), SHORTEST_S)
        taken = np.concatenate([taken, calls])
        call_s = float(best.mean()) if best.size else float(calls.mean())
        waited_s += calls.size * _slot_wait_s(run, call_s, slots, audit_rate)
        error = math.hypot(waited_s / taken.size, float(taken.std()) / math.sqrt(taken.size))
        if error < least:
            best, least = taken, error
    return np.sort(best)


def _slot_wait_s(run: MeasuredRun, call_s: float, slots: int, audit_rate: float) -> float:
    """Return the mean wait for one of the slots, as Erlang has it; inf where they never suffice."""
    audits = audit_rate * run.latency_s["student"].size
    asked_per_s = (run.latency_s["teacher"].size + audits) / run.seconds
    if asked_per_s * call_s >= slots:
        return math.inf
    return MMc(asked_per_s, 1 / call_s, slots).wait_s
