"""When requests leave and what they carry: all fixed before the first is sent, from the seed.

Gaps come from `costmodel.inputs.workload`, so that a load test and a simulation of one seed see the
same traffic; the shape then stretches time. Each process takes every n-th arrival of the one
schedule.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np
import numpy.typing as npt

from costmodel.inputs.workload import Trace, Workload, arrivals
from loadtests.inputs.log import in_order, log_rate
from loadtests.inputs.rows import Row
from loadtests.inputs.spec import LoadSpec


@dataclass(frozen=True, slots=True)
class Schedule:
    """Arrivals in order.

    `offsets_s` (N,) counts from the measured window, the warm-up is negative; `rows` (N,) are
    positions in the list of rows, not the file's row numbers. Of a closed loop only the rows are
    known.
    """

    offsets_s: npt.NDArray[np.float64]
    rows: npt.NDArray[np.int64]

    def share(self, worker: int, processes: int) -> Schedule:
        """Return the arrivals that one of `processes` workers sends."""
        return Schedule(self.offsets_s[worker::processes], self.rows[worker::processes])


def lay_out(spec: LoadSpec, rows: list[Row]) -> Schedule:
    """Fix the schedule of a whole test.

    Raises:
        BadRows: a log that does not go forward in time.
    """
    if spec.arrivals == "log":
        return _as_logged(spec, rows)
    if spec.closed_loop is not None:
        return Schedule(np.empty(0), _in_turn(spec, rows, np.zeros(len(rows))))
    at, work = spec.shape.work(spec.duration_s)
    warmup = spec.warmup_s * spec.shape.points(spec.duration_s)[1][0]
    points, ranks = _steady(spec, warmup + float(work[-1]))
    # The gaps were drawn at an even rate; time is stretched until the rate is the shape's.
    since = points - warmup
    offsets = np.where(
        since < 0,
        since / max(warmup, 1e-12) * spec.warmup_s,
        np.interp(since, work, at),
    )
    inside = offsets < spec.duration_s
    return Schedule(
        offsets[inside],
        _by_length(rows, ranks[inside])
        if spec.arrivals == "replay"
        else _in_turn(spec, rows, offsets[inside]),
    )


def _as_logged(spec: LoadSpec, rows: list[Row]) -> Schedule:
    """Send each row when it came, from the first on; the log begins anew a mean gap after its end.

    The warm-up is the end of the log before.
    """
    order = np.argsort([row.at_s for row in rows], kind="stable")
    since = in_order(rows) * (log_rate(rows) / spec.rate)
    period = len(rows) / spec.rate
    times = range(-ceil(spec.warmup_s / period), ceil(spec.duration_s / period))
    offsets = np.concatenate([k * period + since for k in times])
    inside = (offsets >= -spec.warmup_s) & (offsets < spec.duration_s)
    return Schedule(offsets[inside], np.tile(order, len(times))[inside])


def _steady(
    spec: LoadSpec, length_s: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the instants (N,) in [0, length_s) at an even rate, and each one's rank of length."""
    if spec.arrivals == "constant":
        instants = np.arange(int(np.ceil(length_s * spec.rate - 1e-9))) / spec.rate
        return instants, np.zeros(len(instants))

    workload = Workload(
        per_second=spec.rate,
        arrivals=spec.arrivals,
        cv=spec.cv,
        trace=Trace(path=spec.trace) if spec.trace else None,
    )
    drawn = [
        (a.at_s, a.length_rank) for a in arrivals(workload, seed=spec.seed, duration_s=length_s)
    ]
    table = np.array(drawn, dtype=np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def _in_turn(
    spec: LoadSpec, rows: list[Row], offsets: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Use all rows before any is repeated, the first one at the start of the measured window.

    The warm-up takes rows from the end: when there are rows enough, it asks none that the window
    asks.
    """
    order = np.arange(len(rows))
    if spec.order == "shuffled":
        np.random.default_rng(spec.seed).shuffle(order)
    turn = np.arange(len(offsets)) - int((offsets < 0).sum())
    return order[turn % len(rows)]


def _by_length(rows: list[Row], ranks: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Give each arrival of a trace the text whose length has the same rank among the rows."""
    by_length = np.argsort([len(row.text) for row in rows], kind="stable")
    return by_length[np.minimum((ranks * len(rows)).astype(np.int64), len(rows) - 1)]
