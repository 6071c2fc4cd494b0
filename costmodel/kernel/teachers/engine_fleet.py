"""Engines that come and go: taken away and back, started and stopped as load asks for it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from costmodel.kernel.calls import FAILED, bill, call_at, engine_at, free_place
from costmodel.kernel.chance import exponential
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import event_at, schedule
from costmodel.kernel.layout import AWAY, OFF, R_OUTAGE, STARTING, UP
from costmodel.kernel.tally import occupy, row_at
from costmodel.kernel.teachers.hosted_teacher import end_later

INF = np.inf


@compiled
def begin_engines(t: float, p: Any, x: Any) -> None:
    """Switch the first engines on."""
    for e in range(p.engines_most):
        engine = engine_at(x.engines, e)
        engine.state, engine.until, engine.first = OFF, INF, -1
        if e < p.engines:
            _serve(e, t, p, x)
            x.rented += 1
    if p.engine_check_s < INF:
        _plan_check(t, p, x)


@compiled
def _serve(e: int, t: float, p: Any, x: Any) -> None:
    """An engine is there, empty; draw when it is taken away."""
    engine = engine_at(x.engines, e)
    engine.state, engine.free, engine.warm = UP, p.kv_blocks, 0
    engine.until = INF
    if p.engine_up_s < INF:
        _plan(e, t, t + p.engine_up_s * exponential(x, R_OUTAGE), p, x)


@compiled
def _plan(e: int, t: float, at: float, p: Any, x: Any) -> None:
    engine_at(x.engines, e).until = at
    if at < p.until_s:
        who = 3 * x.places + p.engines_most + e
        x.pending = schedule(x, x.events, x.pending, t, at, who)


@compiled
def _plan_check(t: float, p: Any, x: Any) -> None:
    if t + p.engine_check_s < p.until_s:
        who = 3 * x.places + 2 * p.engines_most
        x.pending = schedule(x, x.events, x.pending, t, t + p.engine_check_s, who)


@compiled
def _rent(t: float, change: int, p: Any, x: Any) -> None:
    occupy(t, 0, p, x)
    x.rented += change


# --- taken away ------------------------------------------------------------------------------


@compiled
def change_engine(e: int, t: float, p: Any, x: Any) -> None:
    """An engine is taken away, is back, or has started."""
    engine = engine_at(x.engines, e)
    if engine.until != t:
        return
    if engine.state == UP:
        _take_away(e, t, p, x)
        _rent(t, -1, p, x)
        engine.state = AWAY
        _plan(e, t, t + p.engine_down_s, p, x)
    else:
        if engine.state == AWAY:
            _rent(t, 1, p, x)
        _serve(e, t, p, x)


@compiled
def _take_away(e: int, t: float, p: Any, x: Any) -> None:
    """All calls of an engine fail at once."""
    engine = engine_at(x.engines, e)
    row_at(x.rows, x.teacher_meter.row).taken_away += 1
    occupy(t, -engine.stepping, p, x)
    for k in range(engine.running):
        _lose(event_at(engine.order, k).who, x)
    for _ in range(engine.queued):
        slot = engine.first
        engine.first = call_at(x.calls, slot).next
        _lose(slot, x)
    engine.stepping = engine.running = engine.queued = engine.load = engine.dropped = 0
    engine.first = -1
    engine.turn += 1


@compiled
def _lose(slot: int, x: Any) -> None:
    call = call_at(x.calls, slot)
    call.engine = call.blocks = call.shared = call.computed = call.generated = call.started = 0
    if call.dropped == 0:
        payer = call if call.parent < 0 else call_at(x.calls, call.parent)
        bill(payer, 0, True, False, x)
        row_at(x.rows, call.row).lost_with_machine += 1
        end_later(slot, FAILED, x)
    elif call.done == 1:
        free_place(slot, x)


# --- as load asks for it ---------------------------------------------------------------------


@compiled
def rescale_engines(t: float, p: Any, x: Any) -> None:
    """Want so many engines that each has its share of the calls present since the last check."""
    area = x.teacher_area + x.there * (t - x.there_at)
    present = (area - x.area_at_check) / p.engine_check_s
    x.area_at_check = area
    wanted = int(math.ceil(present / p.engine_wanted_load - 1e-9))  # noqa: RUF046  numba: a float
    wanted = min(max(wanted, p.engines_least), p.engines_most)
    x.engines_calm = x.engines_calm + 1 if wanted < x.rented else 0
    for e in range(p.engines_most):
        engine = engine_at(x.engines, e)
        if engine.state == OFF and x.rented < wanted:
            engine.state = STARTING
            _rent(t, 1, p, x)
            _plan(e, t, t + p.engine_start_s, p, x)
        elif (
            engine.state == UP
            and engine.running + engine.queued == 0
            and x.rented > wanted
            and x.engines_calm >= p.engine_calm_checks
        ):
            engine.state, engine.until = OFF, INF
            _rent(t, -1, p, x)
    _plan_check(t, p, x)
