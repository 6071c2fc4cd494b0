"""A teacher of one's own: engines that batch continuously, as vLLM's scheduler does.

A step spends its budget of tokens on those that run, in order of admission, then on chunks of the
prompts that wait. Context lives in blocks; when there is none left, the last that was admitted
gives its blocks back and computes everything again later. How long an answer gets is known when it
ends.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.calls import OK, bill, call_at, engine_at, free_place, waited
from costmodel.kernel.chance import noise
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import event_at, schedule
from costmodel.kernel.layout import R_TEACHER, T_FIRST, T_GAP, UP
from costmodel.kernel.tally import count_stage, occupy, row_at

INF = np.inf

# --- blocks ----------------------------------------------------------------------------------


@compiled
def blocks_of(tokens: int, p: Any) -> int:
    """Blocks that hold so many tokens."""
    return (tokens + p.block_tokens - 1) // p.block_tokens


@compiled
def _hold(engine: Any, call: Any, tokens: int, p: Any) -> bool:
    """Take the blocks that a context of so many tokens needs on top, or none and say no."""
    need = max(0, blocks_of(tokens, p) - call.shared - call.blocks)
    if need > engine.free:
        return False
    engine.free -= need
    call.blocks += need
    return True


@compiled
def _give_back(engine: Any, call: Any) -> None:
    engine.free += call.blocks
    call.blocks, call.shared, call.computed = 0, 0, 0


@compiled
def _preempt_last(engine: Any, x: Any) -> None:
    """The last that was admitted waits again, before all others, with nothing computed."""
    engine.running -= 1
    slot = event_at(engine.order, engine.running).who
    call = call_at(x.calls, slot)
    _give_back(engine, call)
    row_at(x.rows, call.row).preemptions += 1
    call.next = engine.first
    engine.first = slot
    if engine.queued == 0:
        engine.last = slot
    engine.queued += 1


# --- one step --------------------------------------------------------------------------------


@compiled
def _release(engine: Any, slot: int, x: Any) -> None:
    """An engine is done with a call."""
    call = call_at(x.calls, slot)
    call.engine = 0
    if call.dropped == 1:
        engine.dropped -= 1
    else:
        engine.load -= 1
    if call.done == 1:
        free_place(slot, x)


@compiled
def _abort(engine: Any, x: Any) -> None:
    """Stop computing for callers that left."""
    stay = 0
    for k in range(engine.running):
        slot = event_at(engine.order, k).who
        call = call_at(x.calls, slot)
        if call.dropped == 0:
            event_at(engine.order, stay).who = slot
            stay += 1
        else:
            _give_back(engine, call)
            _release(engine, slot, x)
    engine.running = stay


@compiled
def _go_on(engine: Any, p: Any, x: Any) -> bool:
    """Give those that run their tokens, the first admitted first; whether none was preempted."""
    k, calm = 0, True
    while k < engine.running:
        call = call_at(x.calls, event_at(engine.order, k).who)
        open_ = call.read + call.generated - call.computed
        call.chunk = min(open_, engine.budget)
        held = _hold(engine, call, call.computed + call.chunk, p)
        while not held:
            calm = False
            _preempt_last(engine, x)
            if k >= engine.running:
                return calm
            held = _hold(engine, call, call.computed + call.chunk, p)
        engine.budget -= call.chunk
        if open_ == 1 and call.generated > 0:
            engine.decoding += call.chunk
            engine.context += call.chunk * (call.read + call.generated)
        else:
            engine.prefill += call.chunk
        k += 1
    return calm


@compiled
def _drop_first(engine: Any, x: Any) -> int:
    slot = engine.first
    engine.first = call_at(x.calls, slot).next
    engine.queued -= 1
    return slot


@compiled
def _start_prompt(engine: Any, call: Any, p: Any, x: Any) -> bool:
    """Give a prompt that waits its first chunk, from the shared prefix on if that is there."""
    if engine.warm == 1:
        call.shared = p.prefix_tokens // p.block_tokens
        call.computed = min(p.prefix_tokens, call.read - 1)
    call.chunk = min(call.read + call.generated - call.computed, engine.budget)
    if not _hold(engine, call, call.computed + call.chunk, p):
        call.shared, call.computed = 0, 0
        return False
    row_at(x.rows, call.row).prefix_tokens += call.computed
    engine.budget -= call.chunk
    engine.prefill += call.chunk
    return True


@compiled
def _admit(engine: Any, t: float, p: Any, x: Any) -> None:
    """Let those that wait begin, in order, while there are tokens, blocks and places.

    An engine that plans ahead knew this step's prompts when the step before it began.
    """
    planned = INF
    if p.ahead == 1 and engine.stepping == 1 and engine.running > 0:
        planned = engine.began
    while engine.queued > 0 and engine.running < p.max_running and engine.budget > 0:
        slot = engine.first
        call = call_at(x.calls, slot)
        if call.dropped == 1 and (p.abort == 1 or call.started == 0):
            _release(engine, _drop_first(engine, x), x)
        elif call.joined > planned:
            return
        elif _start_prompt(engine, call, p, x):
            _drop_first(engine, x)
            if call.started == 0:
                waited(call, t, x)
            call.started = 1
            event_at(engine.order, engine.running).who = slot
            engine.running += 1
        else:
            return


@compiled
def _step(e: int, t: float, p: Any, x: Any) -> None:
    """Begin one engine step."""
    engine = engine_at(x.engines, e)
    if p.abort == 1 and engine.dropped > 0:
        _abort(engine, x)
    engine.budget, engine.prefill, engine.decoding, engine.context = p.step_tokens, 0, 0, 0
    if _go_on(engine, p, x):
        _admit(engine, t, p, x)
    stepping = 1 if engine.running > 0 else 0
    occupy(t, stepping - engine.stepping, p, x)
    engine.stepping, engine.began = stepping, t
    if engine.running > 0:
        factor = noise(
            p.teacher_noise, p.teacher_sigma, p.teacher_noise_table_at, p.teacher_noise_table_n,
            x, R_TEACHER,
        )  # fmt: skip
        seconds = factor * (
            p.step_s
            + p.step_per_request_s * engine.decoding
            + p.step_per_context_s * engine.context
            + p.step_per_prefill_s * engine.prefill
        )
        x.pending = schedule(
            x, x.events, x.pending, t, t + seconds, 3 * x.places + e + (engine.turn << 32)
        )


@compiled
def _write_token(engine: Any, call: Any, t: float, p: Any, x: Any) -> None:
    """One token is there; the caller sees it if it is still there."""
    call.generated += 1
    if call.generated == 1:
        call.first_token = t
        if call.dropped == 0:
            row_at(x.rows, call.row).in_first_token_s += t - call.offered
            count_stage(x, call.row, T_FIRST, t - call.offered)
        if engine.warm == 0 and p.prefix_tokens > 0 and call.read > p.prefix_tokens:
            engine.warm = 1
            call.shared = p.prefix_tokens // p.block_tokens
            call.blocks -= call.shared
    elif call.dropped == 0:
        row_at(x.rows, call.row).in_token_gap_s += t - call.last_token
        count_stage(x, call.row, T_GAP, t - call.last_token)
    call.last_token = t


@compiled
def step_end(e: int, t: float, p: Any, x: Any) -> None:
    """Finish a step: whose context is complete got a token; those with all of theirs leave."""
    engine = engine_at(x.engines, e)
    stay = 0
    for k in range(engine.running):
        slot = event_at(engine.order, k).who
        call = call_at(x.calls, slot)
        call.computed += call.chunk
        if call.chunk > 0 and call.computed == call.read + call.generated:
            _write_token(engine, call, t, p, x)
        if call.generated < call.written:
            event_at(engine.order, stay).who = slot
            stay += 1
            continue
        _give_back(engine, call)
        _release(engine, slot, x)
        if call.dropped == 0:
            payer = call if call.parent < 0 else call_at(x.calls, call.parent)
            bill(payer, call.written, False, False, x)
            end_later(slot, OK, x)
    engine.running = stay
    _step(e, t, p, x)


@compiled
def end_later(slot: int, status: int, x: Any) -> None:
    """Note how an attempt ended, for the router to hear once the engine has gone on."""
    call = call_at(x.calls, slot)
    call.status, call.next = status, -1
    if x.ended_first < 0:
        x.ended_first = slot
    else:
        call_at(x.calls, x.ended_last).next = slot
    x.ended_last = slot


@compiled
def join(slot: int, t: float, p: Any, x: Any) -> bool:
    """Queue at the engine with the fewest requests, as a least-loaded balancer would.

    Returns:
        Whether there was an engine.
    """
    best, fewest = -1, 0
    for e in range(p.engines_most):
        engine = engine_at(x.engines, e)
        if engine.state == UP and (best < 0 or engine.load < fewest):
            best, fewest = e, engine.load
    if best < 0:
        return False
    engine, call = engine_at(x.engines, best), call_at(x.calls, slot)
    call.engine, call.next, call.joined = best + 1, -1, t
    if engine.queued == 0:
        engine.first = slot
    else:
        call_at(x.calls, engine.last).next = slot
    engine.last = slot
    engine.queued += 1
    engine.load += 1
    if engine.stepping == 0:
        _step(best, t, p, x)
    return True
