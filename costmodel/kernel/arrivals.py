"""When requests arrive and how long they are."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from typing import Any

import numpy as np

from costmodel.kernel.chance import exponential, gamma, length_at, table, uniform
from costmodel.kernel.compiled import SOURCES, compiled, inlined, kept
from costmodel.kernel.layout import (
    GAMMA,
    POISSON,
    R_BURST,
    R_GAP,
    R_LENGTH,
    R_OUTPUT,
    R_SPELL,
    REPLAY,
    STATE,
    Floats,
    Records,
    Told,
    streams,
)

INF = np.inf


@compiled
def _gap(p: Any, x: Any) -> float:
    """Next gap between arrivals, in mean gaps."""
    if p.gap_kind == POISSON:
        return exponential(x, R_GAP)
    if p.gap_kind == GAMMA:
        return gamma(x, R_GAP, p.gap_shape)
    if p.gap_kind == REPLAY:
        x.trace_row += 1
        if 4 * x.trace_row >= p.replay_n:
            x.trace_row = 0
        return table(x, p.replay_at + 4 * x.trace_row)
    return 1.0


@inlined
def next_arrival(p: Any, x: Any) -> float:
    """Move to the next arrival by spending the gap at the rate of each window and phase.

    Exact for any renewal gap: time is changed by the integrated rate, never thinned.
    """
    need = _gap(p, x)
    t = x.clock
    while x.window < p.rate_n and t < p.until_s:
        rate = table(x, p.rate_at + x.window) * table(x, p.bursts_at + x.bursting)
        window_end = (x.window + 1) * p.window_s
        room = (min(window_end, x.burst_end) - t) * rate
        if need < room:
            t += need / rate
            x.clock = t
            return t if t < p.until_s else INF
        need -= room
        if x.burst_end <= window_end:
            t = x.burst_end
            x.bursting = 1 - x.bursting
            x.burst_end += table(x, p.bursts_at + 2 + x.bursting) * exponential(x, R_BURST)
        else:
            t = window_end
            x.window += 1
    x.clock = t
    return INF


@compiled
def hardness(t: float, p: Any, x: Any) -> float:
    """Factor on the share of unsure requests at the current arrival."""
    while x.spell_end <= t:
        x.spell = 1 - x.spell
        x.spell_end += table(x, p.spells_at + 2 + x.spell) * exponential(x, R_SPELL)
    return table(x, p.hardness_at + x.window) * table(x, p.spells_at + x.spell)


@compiled
def lengths(p: Any, x: Any) -> tuple[float, float, float]:
    """Rank of the length, student tokens and the teacher's output tokens of this arrival."""
    if p.gap_kind == REPLAY:
        at = p.replay_at + 4 * x.trace_row
        return table(x, at + 3), table(x, at + 1), table(x, at + 2)
    u = uniform(x, R_LENGTH)
    tokens = math.floor(
        length_at(x, p.tokens_at, p.tokens_n, p.tokens_tail_at, p.tokens_tail_n, u) + 0.5
    )
    output = table(x, p.output_at)
    if p.output_n > 1:
        v = uniform(x, R_OUTPUT)
        output = length_at(x, p.output_at, p.output_n, p.output_tail_at, p.output_tail_n, v)
    return u, tokens, output


@compiled
def begin(p: Any, x: Any) -> None:
    """Set the clock; two-state processes start in their long-run mixture, not always calm."""
    t = p.start_s
    x.clock = x.here_at = x.there_at = x.filled_at = x.budget_at = x.usd_at = x.audit_usd_at = t
    x.burst_end = x.spell_end = INF
    x.window = int(t / p.window_s)
    x.trace_row = -1
    b, s = p.bursts_at, p.spells_at
    if table(x, b + 2) < INF:
        calm, burst = table(x, b + 2), table(x, b + 3)
        x.bursting = 1 if uniform(x, R_BURST) * (calm + burst) < burst else 0
        x.burst_end = t + table(x, b + 2 + x.bursting) * exponential(x, R_BURST)
    if table(x, s + 2) < INF:
        calm, hard = table(x, s + 2), table(x, s + 3)
        x.spell = 1 if uniform(x, R_SPELL) * (calm + hard) < hard else 0
        x.spell_end = t + table(x, s + 2 + x.spell) * exponential(x, R_SPELL)


def _keep_fill(sources: int) -> Any:
    @kept
    def fill(told: Any, state: Any, block: Floats, first: bool) -> int:
        p, x = told[0], state[0]
        if sources and first:
            begin(p, x)
        for n in range(block.shape[0]):
            at = next_arrival(p, x)
            if at == INF:
                return n
            u, tokens, output = lengths(p, x)
            block[n, 0] = at
            block[n, 1] = tokens
            block[n, 2] = output
            block[n, 3] = u
        return block.shape[0]

    return fill


_fill = _keep_fill(SOURCES)


class Drawer:
    """Draws the arrivals that a run of the same seed sees, a block at a time."""

    def __init__(self, told: Told, seed: int) -> None:
        self._told, self._rng = told, streams(seed)
        self._state: Records = np.zeros(1, STATE)
        self._state["tables"] = told.tables.ctypes.data
        self._state["rng"] = self._rng.ctypes.data
        self._first = True

    def fill(self, block: Floats) -> int:
        """Fill a block (N, 4) with arrivals: second, tokens, output tokens, length rank.

        Returns:
            How many there were; fewer than N at the end.
        """
        n = _fill(self._told.record, self._state, block, self._first)
        self._first = False
        return int(n)
