"""Replicas that follow load, as a horizontal autoscaler lets them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from costmodel.kernel.compiled import compiled
from costmodel.kernel.student import put_idle, replica_at
from costmodel.kernel.tally import meter_student

INF = np.inf


@compiled
def rescale(t: float, p: Any, x: Any) -> None:
    """Start and stop replicas as a horizontal autoscaler does: ready x utilisation / target.

    A replica that is switched off has size -1; one that starts has a finite `starting`.
    """
    for k in range(p.max_replicas):
        if replica_at(x.replicas, k).starting <= t:
            replica_at(x.replicas, k).starting = INF
            put_idle(k, x)
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
        if x.on < wanted and replica.size == -1 and replica.starting == INF:
            replica.starting = t + p.start_delay_s
            x.on += 1
            x.cold += 1
    while x.calm >= p.calm_checks and x.on > wanted and x.idle > 0:
        replica_at(x.replicas, replica_at(x.replicas, 0).idle).size = -1
        for k in range(x.idle - 1):
            replica_at(x.replicas, k).idle = replica_at(x.replicas, k + 1).idle
        x.idle -= 1
        x.on -= 1
