"""A teacher of one's own: engines that batch continuously."""

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.engine.kernel.calls import LATE, OK, bill, call_at, expire, left, waited
from costmodel.engine.kernel.chance import noise
from costmodel.engine.kernel.compiled import compiled, record_of
from costmodel.engine.kernel.events import event_at, pop, push, schedule
from costmodel.engine.kernel.layout import ENGINE, R_TEACHER
from costmodel.engine.kernel.tally import occupy

INF = np.inf
engine_at = record_of(ENGINE)


@compiled
def _abort(e: int, t: float, p: Any, x: Any) -> None:
    """Stop computing for callers that left; what was computed for them is billed."""
    engine = engine_at(x.engines, e)
    heap, running = engine.ends, engine.running
    engine.running, engine.soonest = 0, INF
    for k in range(running):
        end, slot = event_at(heap, k).at, event_at(heap, k).who
        call = call_at(x.calls, slot)
        if call.deadline > t:
            engine.soonest = min(engine.soonest, call.deadline)
            engine.running = push(heap, engine.running, end, slot)
        else:
            written = call.written - int(end - engine.step)
            engine.context -= call.read + written
            engine.reserved -= call.read + call.written
            bill(call, written, False, True, x)
            left(slot, call.deadline, t, LATE, p, x)


@compiled
def _step(e: int, t: float, p: Any, x: Any) -> None:
    """Begin one engine step: admit what fits, decode one token for each running request."""
    engine = engine_at(x.engines, e)
    if p.abort == 1 and engine.soonest <= t:
        _abort(e, t, p, x)
    decoding, context, prefill = engine.running, engine.context, 0.0
    while engine.first >= 0 and engine.running < p.max_running:
        slot = engine.first
        call = call_at(x.calls, slot)
        if call.deadline > t:
            need = call.read + call.written
            full = engine.reserved + need > p.kv_tokens or prefill + call.read > p.prefill_budget
            if full and engine.running > 0:
                break
            engine.reserved += need
            prefill += call.read
            engine.soonest = min(engine.soonest, call.deadline)
            engine.first = call.next
            waited(call, t, x)
            last = float(engine.step + call.written)
            engine.running = push(engine.ends, engine.running, last, slot)
        else:
            engine.first = call.next
            expire(slot, t, p, x)
        engine.queued -= 1
    engine.context = context + prefill
    stepping = 1 if engine.running > 0 else 0
    occupy(t, stepping - engine.stepping, p, x)
    engine.stepping = stepping
    if engine.running > 0:
        factor = noise(
            p.teacher_noise, p.teacher_sigma, p.teacher_noise_table_at, p.teacher_noise_table_n,
            x, R_TEACHER,
        )  # fmt: skip
        seconds = factor * (
            p.step_s
            + p.step_per_request_s * decoding
            + p.step_per_context_s * context
            + p.step_per_prefill_s * prefill
        )
        x.pending = schedule(x, x.events, x.pending, t, t + seconds, x.places + e)


@compiled
def step_end(e: int, t: float, p: Any, x: Any) -> None:
    """Finish a step: everyone got a token; those with all of theirs leave."""
    engine = engine_at(x.engines, e)
    engine.step += 1
    engine.context += engine.running
    while engine.running > 0 and event_at(engine.ends, 0).at <= engine.step:
        slot = event_at(engine.ends, 0).who
        engine.running = pop(engine.ends, engine.running)
        call = call_at(x.calls, slot)
        engine.context -= call.read + call.written
        engine.reserved -= call.read + call.written
        late = t > call.deadline
        bill(call, call.written, False, late, x)
        if late:
            left(slot, call.deadline, t, LATE, p, x)
        else:
            left(slot, t, t, OK, p, x)
    _step(e, t, p, x)


@compiled
def join(slot: int, t: float, p: Any, x: Any) -> None:
    """Queue at the engine with the fewest requests, as a least-loaded balancer would."""
    best, fewest = 0, -1
    for e in range(p.engines):
        engine = engine_at(x.engines, e)
        there = engine.running + engine.queued
        if fewest < 0 or there < fewest:
            best, fewest = e, there
    engine = engine_at(x.engines, best)
    if engine.first < 0:
        engine.first = slot
    else:
        call_at(x.calls, engine.last).next = slot
    engine.last = slot
    engine.queued += 1
    if engine.stepping == 0:
        _step(best, t, p, x)
