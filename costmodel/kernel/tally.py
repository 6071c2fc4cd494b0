"""What is counted: rows of the timeline, histograms, busy seconds, areas for Little's law."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.chance import quantile_at, uniform
from costmodel.kernel.compiled import bits_of, compiled, inlined, record_of
from costmodel.kernel.layout import (
    BIN32,
    BIN64,
    BINS,
    DEGRADED,
    LOWEST_EXPONENT,
    R_OVERHEAD,
    ROW,
    STAGES,
    SUB_BITS,
)

INF = np.inf
_SHIFT = 52 - SUB_BITS
_FIRST_BIN = (1023 + LOWEST_EXPONENT) << SUB_BITS
_STAGES = len(STAGES)

row_at = record_of(ROW)
_latency_at = record_of(BIN32)
_stage_at = record_of(BIN64)


@compiled
def bin_of(seconds: float) -> int:
    """Histogram bin: the exponent and the first bits of the mantissa; bin 0 is (almost) zero."""
    if seconds <= 0.0:
        return 0
    b = (bits_of(seconds) >> _SHIFT) - _FIRST_BIN + 1
    return min(max(b, 0), BINS - 1)


@inlined
def row_of(t: float, p: Any, x: Any) -> int:
    """Row of the timeline that a moment belongs to; the last one while warming up."""
    if t < p.count_from_s:
        return x.last_row
    return min(int((t - p.count_from_s) / p.row_s), x.last_row - 1)


@inlined
def count_stage(x: Any, row: int, stage: int, seconds: float) -> None:
    """Put the seconds of one stage into its histogram."""
    warming = 1 if row == x.last_row else 0
    _stage_at(x.stages, (warming * _STAGES + stage) * BINS + bin_of(seconds)).n += 1


@inlined
def count_latency(x: Any, row: int, route: int, seconds: float) -> None:
    """Put the end-to-end seconds of one answer into its histogram."""
    _latency_at(x.latency, (row * 3 + route) * BINS + bin_of(seconds)).n += 1


@compiled
def around(p: Any, x: Any) -> float:
    """Draw the seconds around the student that occupy no replica."""
    return quantile_at(x, p.overhead_at, p.overhead_n, uniform(x, R_OVERHEAD))


@compiled
def degrade(p: Any, x: Any, row: int, seconds: float, wrong: int, bare: int) -> None:
    """The teacher was wanted and did not answer: the student's answer, flagged, or an error."""
    r = row_at(x.rows, row)
    if p.degrade == 0 or bare == 1:
        r.refused += 1
        return
    r.degraded += 1
    r.disagreements += wrong
    seconds += around(p, x)
    r.degraded_s += seconds
    count_latency(x, row, DEGRADED, seconds)


# --- busy seconds ----------------------------------------------------------------------------


@compiled
def _row_end(row: int, p: Any, x: Any) -> float:
    """The moment at which a row of the timeline ends; the last one takes all that follows."""
    if row == x.last_row:
        return p.count_from_s
    return INF if row == x.last_row - 1 else p.count_from_s + (row + 1) * p.row_s


@compiled
def set_meter(meter: Any, t: float, p: Any, x: Any) -> None:
    """Put a meter to a moment."""
    meter.at = t
    meter.row = row_of(t, p, x)
    meter.row_end = _row_end(meter.row, p, x)


@compiled
def _tick(meter: Any, t: float, p: Any, x: Any) -> float:
    """Move a meter towards a moment, at most to the end of its row; return the seconds."""
    begun = meter.at
    meter.at = min(t, meter.row_end)
    seconds = meter.at - begun
    if meter.at == meter.row_end:
        meter.row = 0 if meter.row == x.last_row else meter.row + 1
        meter.row_end = _row_end(meter.row, p, x)
    return seconds


@inlined
def meter_student(t: float, p: Any, x: Any) -> None:
    """Book the replica-seconds busy and switched on since the last booking."""
    end = min(t, p.until_s)
    while x.student_meter.at < end:
        r = row_at(x.rows, x.student_meter.row)
        seconds = _tick(x.student_meter, end, p, x)
        r.student_busy_s += x.working * seconds
        r.student_paid_s += x.on * seconds
        x.work_s += x.working * seconds


@compiled
def occupy(t: float, change: int, p: Any, x: Any) -> None:
    """Book the seconds of slots or engines that were busy, then change their number."""
    end = min(t, p.until_s)
    while x.teacher_meter.at < end:
        r = row_at(x.rows, x.teacher_meter.row)
        seconds = _tick(x.teacher_meter, end, p, x)
        r.teacher_busy_s += x.busy * seconds
        r.teacher_paid_s += x.rented * seconds
    x.busy += change


# --- Little's law ----------------------------------------------------------------------------


@inlined
def here(t: float, change: int, x: Any) -> None:
    """Account the area under the number of requests at the student, then change that number."""
    x.student_area += x.here * (t - x.here_at)
    x.here_at = t
    x.here += change


@compiled
def there(t: float, change: int, x: Any) -> None:
    """Account the area under the number of calls present, then change that number."""
    x.teacher_area += x.there * (t - x.there_at)
    x.there_at = t
    x.there += change
