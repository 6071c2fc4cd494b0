"""The loop itself, and how a run is laid out in memory."""

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.arrivals import begin, next_arrival
from costmodel.kernel.autoscaler import begin_replicas, change_replicas, rescale
from costmodel.kernel.calls import call_at, engine_at
from costmodel.kernel.compiled import SOURCES, compiled, kept
from costmodel.kernel.events import event_at, pop
from costmodel.kernel.layout import (
    CALL,
    CONTINUOUS,
    ENGINE,
    EVENT,
    RECENT_MOST,
    REPLICA,
    REQUEST,
    SENT,
    WANTED,
    WANTED_MOST,
    WINDOW,
    Ints,
    Stats,
    Told,
    streams,
)
from costmodel.kernel.student import arrive, end_batch, request_at, start_batch
from costmodel.kernel.tally import meter_student, occupy, set_meter
from costmodel.kernel.teachers.engine_fleet import begin_engines
from costmodel.kernel.teachers.teacher import advance

INF = np.inf


def run(told: Told, seed: int, stats: Stats, progress: Ints) -> None:
    """Run to the last arrival and then until everyone has left.

    Args:
        told: see `layout.tell`.
        seed: of all streams.
        stats: from `layout.new_stats`, filled in place.
        progress: shape (2,): arrivals so far; the run stops early when [1] is set. Holds no lock:
            another thread may watch and stop it.

    Raises:
        RuntimeError: the simulator scheduled an event before its cause.
    """
    p, x = told.record[0], stats.state
    fleet, places, on = int(p["max_replicas"]), int(p["pending_limit"]), int(p["fleet"])
    continuous = p["teacher_kind"] == CONTINUOUS
    engines = np.zeros(int(p["engines_most"]) if continuous else 1, ENGINE)
    order = np.zeros((len(engines), int(p["max_running"]) + 1 if continuous else 1), EVENT)
    engines["order"] = order.ctypes.data + np.arange(len(engines)) * order.strides[0]
    calls = np.zeros(places, CALL)
    calls["next"] = np.r_[1:places, -1]
    replicas = np.zeros(fleet, REPLICA)
    replicas["size"][on:] = -1
    replicas["idle"] = np.arange(fleet)[::-1] - (fleet - on)
    replicas["starting"] = INF
    queue = np.zeros(1 << int(p["queue_limit"]).bit_length(), REQUEST)
    many = {
        "tables": told.tables, "rng": streams(seed), "queue": queue,
        "batch": np.zeros((fleet, int(p["max_batch"])), REQUEST), "replicas": replicas,
        "done": np.zeros(fleet + 1, EVENT), "calls": calls,
        "events": np.zeros(8 * places + 4 * len(engines), EVENT), "engines": engines,
        "rows": stats.rows, "latency": stats.latency, "stages": stats.stages,
        "sent": np.zeros(WINDOW, SENT), "wanted": np.zeros(WANTED_MOST, WANTED),
        "recent": np.zeros(RECENT_MOST, WANTED), "log": stats.log,
    }  # fmt: skip
    for name, array in many.items():
        x[name] = array.ctypes.data
    x["last_row"], x["queue_mask"], x["places"] = len(stats.rows) - 1, len(queue) - 1, places
    x["idle"] = x["on"] = on
    x["first"] = x["shadow_first"] = x["ended_first"] = -1
    x["reminders_most"] = 6 * places
    x["slots"], x["retries"], x["log_n"] = p["slots"], p["retry_reserve"], len(stats.log)
    x["budget_left"], x["calls_left"], x["tokens_left"] = (
        p["budget_burst"], p["calls_burst"], p["tokens_burst"],
    )  # fmt: skip
    x["usd_left"], x["audit_usd_left"] = p["usd_burst"], p["audit_usd_burst"]
    x["rented"] = 0 if continuous else p["slots"]
    _loop(told.record, x, progress)
    if x[0]["past"]:
        raise RuntimeError(f"{x[0]['past']} events were scheduled before their cause")


@compiled
def _refill_s(left: float, burst: float, per_s: float, past_s: float) -> float:
    """Seconds until a token bucket that was last filled some time ago is full."""
    return 0.0 if per_s == INF else max(0.0, (burst - left) / per_s - past_s)


@compiled
def _leave_behind(t: float, p: Any, x: Any) -> None:
    """Note what the next stretch of time would inherit at this moment."""
    oldest = t
    if x.queued > 0:
        oldest = request_at(x.queue, x.head).arrived
    if x.first >= 0:
        oldest = min(oldest, call_at(x.calls, x.first).offered)
    if x.shadow_first >= 0:
        oldest = min(oldest, call_at(x.calls, x.shadow_first).offered)
    if p.teacher_kind == CONTINUOUS:
        for e in range(p.engines_most):
            engine = engine_at(x.engines, e)
            if engine.queued > 0:
                oldest = min(oldest, call_at(x.calls, engine.first).offered)
    x.backlog_s = t - oldest
    past = t - x.filled_at
    x.refill_s = max(
        _refill_s(x.budget_left, p.budget_burst, p.budget_per_s, t - x.budget_at),
        _refill_s(x.usd_left, p.usd_burst, p.usd_per_s, t - x.usd_at),
        _refill_s(x.audit_usd_left, p.audit_usd_burst, p.audit_usd_per_s, t - x.audit_usd_at),
        _refill_s(x.calls_left, p.calls_burst, p.calls_per_s, past),
        _refill_s(x.tokens_left, p.tokens_burst, p.tokens_per_s, past),
    )


@compiled
def _begin_machines(p: Any, x: Any) -> None:
    begin_replicas(p.start_s, p, x)
    if p.teacher_kind == CONTINUOUS:
        begin_engines(p.start_s, p, x)


@compiled
def _look_after(t: float, check: float, arrival: float, p: Any, x: Any) -> float:
    """Replicas go or are back, or their number is looked at; return when it is the next time."""
    if x.next_change <= check:
        change_replicas(t, p, x)
        return check
    rescale(t, p, x)
    return t + p.check_s if arrival < INF else INF


def _keep_loop(sources: int) -> Any:
    @kept
    def loop(told: Any, state: Any, progress: Ints) -> None:
        """Take the earliest: an arrival, a batch's end, an autoscaler's check, a machine's end."""
        p, x = told[0], state[0]
        if sources:
            begin(p, x)
        set_meter(x.student_meter, p.start_s, p, x)
        set_meter(x.teacher_meter, p.start_s, p, x)
        _begin_machines(p, x)
        arrival = next_arrival(p, x)
        check = p.start_s + p.check_s
        seen = 0
        while arrival < INF or x.working > 0 or x.queued > 0:
            end = event_at(x.done, 0).at if x.working > 0 else INF
            soon = min(check, x.next_change)
            if soon <= arrival and soon <= end:
                t = soon
                check = _look_after(t, check, arrival, p, x)
            elif arrival <= end:
                t = arrival
                arrive(t, p, x)
                arrival = next_arrival(p, x)
                if arrival == INF:
                    advance(t, p, x)
                    _leave_behind(t, p, x)
                seen += 1
                if seen & 0xFFFF == 0:
                    progress[0] = seen
                    if progress[1] != 0:
                        arrival = INF
            else:
                t = end
                replica = event_at(x.done, 0).who
                meter_student(t, p, x)
                x.working = pop(x.done, x.working)
                end_batch(t, replica, p, x)
            while x.queued > 0 and x.idle > 0:
                start_batch(t, p, x)
        meter_student(p.until_s, p, x)
        advance(INF, p, x)
        occupy(p.until_s, 0, p, x)
        progress[0] = seen

    return loop


_loop = _keep_loop(SOURCES)
