"""Replicas that follow load, as a horizontal autoscaler lets them, and that are taken away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from costmodel.kernel.chance import exponential
from costmodel.kernel.compiled import compiled
from costmodel.kernel.events import remove
from costmodel.kernel.layout import R_OUTAGE
from costmodel.kernel.student import put_idle, replica_at, request_at
from costmodel.kernel.tally import here, meter_student, row_at

INF = np.inf
_OFF, _AWAY = -1, -2


@compiled
def rescale(t: float, p: Any, x: Any) -> None:
    """Start and stop replicas as a horizontal autoscaler does: ready x utilisation / target.

    A replica that is switched off has size -1; one that starts has a finite `starting`.
    """
    for k in range(p.max_replicas):
        if replica_at(x.replicas, k).starting <= t:
            replica_at(x.replicas, k).starting = INF
            put_idle(k, x)
            _stays(k, t, p, x)
            x.cold -= 1
    meter_student(t, p, x)
    ready = x.on - x.cold
    used = min(1.0, x.work_s / (p.check_s * max(1, ready)))
    if x.queued > p.max_batch:
        used = max(used, 2.0 * p.target)
    x.work_s = 0.0
    wanted = int(math.ceil(ready * used / p.target - 1e-9))  # noqa: RUF046  numba: ceil is a float
    wanted = min(max(wanted, p.min_replicas), p.max_replicas)
    x.calm = x.calm + 1 if wanted < x.on else 0
    for k in range(p.max_replicas):
        replica = replica_at(x.replicas, k)
        if x.on < wanted and replica.size == _OFF and replica.starting == INF:
            replica.starting = t + p.start_delay_s
            x.on += 1
            x.cold += 1
    while x.calm >= p.calm_checks and x.on > wanted and x.idle > 0:
        replica_at(x.replicas, replica_at(x.replicas, 0).idle).size = _OFF
        for k in range(x.idle - 1):
            replica_at(x.replicas, k).idle = replica_at(x.replicas, k + 1).idle
        x.idle -= 1
        x.on -= 1


# --- taken away ------------------------------------------------------------------------------


@compiled
def begin_replicas(t: float, p: Any, x: Any) -> None:
    """Draw until when each replica that is on stays."""
    x.next_change = INF
    for k in range(p.max_replicas):
        replica_at(x.replicas, k).until = INF
        if replica_at(x.replicas, k).size != _OFF:
            _stays(k, t, p, x)


@compiled
def _stays(k: int, t: float, p: Any, x: Any) -> None:
    if p.replica_up_s < INF:
        until = t + p.replica_up_s * exponential(x, R_OUTAGE)
        replica_at(x.replicas, k).until = until
        x.next_change = min(x.next_change, until)


@compiled
def change_replicas(t: float, p: Any, x: Any) -> None:
    """Those whose time is up go, with the batch that they compute, or are back."""
    meter_student(t, p, x)
    x.next_change = INF
    for k in range(p.max_replicas):
        replica = replica_at(x.replicas, k)
        if replica.until == t:
            if replica.size == _AWAY:
                put_idle(k, x)
                x.on += 1
                _stays(k, t, p, x)
            elif replica.size == _OFF:
                replica.until = INF
            else:
                _take_away(k, t, p, x)
        x.next_change = min(x.next_change, replica.until)


@compiled
def _take_away(k: int, t: float, p: Any, x: Any) -> None:
    replica = replica_at(x.replicas, k)
    if replica.size > 0:
        here(t, -replica.size, x)
        x.working = remove(x.done, x.working, k)
        for place in range(replica.size):
            request = request_at(x.batch, k * p.max_batch + place)
            x.student_sum += t - request.arrived
            r = row_at(x.rows, request.row)
            r.refused += 1
            r.lost_with_machine += 1
    else:
        n = 0
        for i in range(x.idle):
            other = replica_at(x.replicas, i).idle
            if other != k:
                replica_at(x.replicas, n).idle = other
                n += 1
        x.idle = n
    row_at(x.rows, x.student_meter.row).taken_away += 1
    replica.size = _AWAY
    replica.until = t + p.replica_down_s
    x.on -= 1
