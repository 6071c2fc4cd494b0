"""The event loop: every request of the run, exactly; nothing per request is kept.

One pass in time order. A request arrives, queues for the student, is batched with what queued
while the last batch ran, draws how sure the student is, is kept, escalated, degraded or refused,
and, when the teacher is asked, competes there for slots and rate limits. Statistics are counters,
sums and logarithmic histograms; memory grows with what is in flight, never with requests.

Everything scalar lives in numpy records (`p` what the run is told, `x` its state, `rows` what it
tells): compiled code reads a record through a pointer, where a tuple of arrays would be copied and
counted at every call. All compiled code stands in this one file because numba's on-disk cache
notices a change of the file a function is in, and not of the files it calls.

Random numbers are splitmix64 counters (Steele, Lea & Flood, OOPSLA 2014), one stream for each
purpose. Two scenarios with one seed therefore see the same arrivals, lengths and confidences: a
what-if is a paired comparison.

Units: seconds, tokens, requests per second.
"""

# numpy records have fields mypy cannot see: `p`, `x` and the like are Any.
# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

from costmodel.inputs.workload import TAIL_FROM, TAIL_STEPS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

# --- what a run is told ----------------------------------------------------------------------

EVERY_GAP, POISSON, GAMMA, REPLAY = 0, 1, 2, 3
CONSTANT, EXPONENTIAL, LOGNORMAL, TABLE = 0, 1, 2, 3
SLOTS, CONTINUOUS = 0, 1

TABLES = (
    "rate",  # mean arrivals per second in each window
    "hardness",  # factor on the share of unsure requests, by window
    "bursts",  # rate factor calm, in a burst; mean seconds calm, of a burst
    "spells",  # the same for hardness
    "replay",  # trace rows: gap in mean gaps, tokens, output tokens, rank of length
    "tokens",  # quantiles of student tokens; every table of quantiles is evenly spaced in rank
    "tokens_tail",  # the longest, by distance from rank 1: see `length_at`
    "output",  # quantiles of the teacher's output tokens
    "output_tail",
    "student_noise_table",
    "overhead",  # quantiles of the seconds around the student that occupy no replica
    "confidence",  # quantiles of confidence, least sure first
    "disagreement",  # chance that a kept answer differs from the teacher's, by cell of rank
    "teacher_noise_table",
)
_WHOLE = (
    "gap_kind", "student_noise", "max_batch", "padded", "queue_limit", "fleet", "min_replicas",
    "max_replicas", "calm_checks", "degrade", "teacher_kind", "slots", "teacher_noise",
    "max_attempts", "pending_limit", "engines", "max_running", "abort",
)  # fmt: skip
_REAL = (
    # traffic
    "window_s", "gap_shape", "start_s", "count_from_s", "until_s", "row_s",
    # student
    "fixed_s", "per_request_s", "per_token_s", "student_sigma", "max_batch_tokens",
    "student_failure_rate", "check_s", "target", "start_delay_s",
    # policy
    "threshold", "length_correlation", "audit_rate", "budget_per_s", "budget_burst", "deadline_s",
    "teacher_timeout_s",
    # teacher
    "base_s", "per_input_s", "per_output_s", "teacher_sigma", "prompt_tokens", "token_ratio",
    "calls_per_s", "calls_burst", "tokens_per_s", "tokens_burst", "teacher_failure_rate",
    "reject_s", "backoff_s", "max_wait_s", "kv_tokens", "step_s", "step_per_request_s",
    "step_per_context_s", "step_per_prefill_s", "prefill_budget",
)  # fmt: skip
_TOLD = np.dtype(
    [(name, "i8") for name in _WHOLE]
    + [(name, "f8") for name in _REAL]
    + [(f"{name}_{end}", "i8") for name in TABLES for end in ("at", "n")]
)


class Told(NamedTuple):
    """All that a run is told: scalars in one record, tables in one array."""

    record: Records
    tables: Floats


def tell(fields: Mapping[str, float | Floats]) -> Told:
    """Pack named scalars and tables; what is not named is 0 or empty.

    Raises:
        KeyError: a name the kernel does not know.
    """
    record = np.zeros(1, _TOLD)
    tables: list[Floats] = []
    at = 0
    for name, value in fields.items():
        if isinstance(value, np.ndarray):
            flat = np.ascontiguousarray(value, dtype=np.float64).ravel()
            record[f"{name}_at"], record[f"{name}_n"] = at, flat.size
            at += flat.size
            tables.append(flat)
        elif name in _WHOLE or name in _REAL:
            record[name] = value
        else:
            raise KeyError(name)
    return Told(record, np.concatenate([*tables, np.zeros(1)]))


# --- what a run tells ------------------------------------------------------------------------

COUNTS = (
    "requests", "student", "teacher", "degraded", "refused",
    "wanted_teacher", "disagreements", "audits", "audits_lost",
    "queue_full", "deadline", "escalation_budget", "teacher_deadline",
    "teacher_busy", "teacher_throttled", "teacher_unavailable", "teacher_timeout",
    "teacher_calls", "calls_failed", "calls_cancelled", "calls_throttled",
    "input_tokens", "output_tokens", "audit_calls", "audit_input_tokens", "audit_output_tokens",
    "batches", "student_tokens", "wanted_tokens", "student_failed",
)  # fmt: skip
"""Whole columns of a row. Token columns count every billed attempt, audits in their own."""
SUMS = (
    "student_busy_s", "student_paid_s", "teacher_busy_s", "student_s", "teacher_s", "degraded_s",
    "in_student_wait_s", "in_student_s", "in_teacher_wait_s", "in_teacher_s",
)  # fmt: skip
"""Columns of seconds: capacity up to the horizon, in the row in which it was busy or paid;
end-to-end latency summed by route; time in each stage summed."""
ROW = np.dtype([(name, "i8") for name in COUNTS] + [(name, "f8") for name in SUMS])

STUDENT, TEACHER, DEGRADED = 0, 1, 2
STAGES = ("student_wait", "student", "teacher_wait", "teacher")
S_WAIT, S_STAY, T_WAIT, T_STAY = 0, 1, 2, 3

SUB_BITS = 7
"""128 bins per factor of two: a quantile is read within 1/256 = 0.4 % of its value."""
LOWEST_EXPONENT = -30
OCTAVES = 48
BINS = 1 + OCTAVES * 2**SUB_BITS
_SHIFT = 52 - SUB_BITS
_FIRST_BIN = (1023 + LOWEST_EXPONENT) << SUB_BITS

METER = np.dtype([("at", "f8"), ("row", "i8"), ("row_end", "f8")])
"""Up to where the busy seconds of one side are booked."""
STATE = np.dtype(
    [
        # arrivals
        ("clock", "f8"), ("window", "i8"), ("bursting", "i8"), ("burst_end", "f8"),
        ("trace_row", "i8"), ("spell", "i8"), ("spell_end", "f8"),
        # fleet
        ("head", "i8"), ("queued", "i8"), ("working", "i8"), ("idle", "i8"), ("on", "i8"),
        ("cold", "i8"), ("calm", "i8"), ("work_s", "f8"), ("student_meter", METER),
        ("budget_left", "f8"), ("budget_at", "f8"),
        # teacher
        ("free", "i8"), ("first", "i8"), ("last", "i8"), ("events", "i8"),
        ("busy", "i8"), ("teacher_meter", METER),
        ("calls_left", "f8"), ("tokens_left", "f8"), ("filled_at", "f8"),
        # Little's law, over the whole run, warm-up included: seconds summed over customers, and,
        # accounted separately, the area under the number present
        ("here", "i8"), ("here_at", "f8"), ("student_area", "f8"), ("student_sum", "f8"),
        ("there", "i8"), ("there_at", "f8"), ("teacher_area", "f8"), ("teacher_sum", "f8"),
        # what the last arrival leaves: seconds of the longest wait, and to refill a token bucket
        ("backlog_s", "f8"), ("refill_s", "f8"),
        # events that were scheduled before their cause: none, or the simulator is wrong
        ("past", "i8"),
    ]
)  # fmt: skip


class Stats(NamedTuple):
    """Arrays a run fills; the last row (R) takes what arrives during the warm-up."""

    rows: Records
    """(R + 1,) of `ROW`: the timeline."""
    latency: npt.NDArray[np.int32]
    """(R + 1, 3, BINS) histograms of end-to-end latency by route."""
    stages: Ints
    """(2, len(STAGES), BINS) histograms of the stages; [1] is the warm-up's."""
    state: Records
    """(1,) of `STATE` at the end."""


def new_stats(rows: int) -> Stats:
    """Zeroed arrays for a timeline of so many rows."""
    return Stats(
        np.zeros(rows + 1, ROW),
        np.zeros((rows + 1, 3, BINS), np.int32),
        np.zeros((2, len(STAGES), BINS), np.int64),
        np.zeros(1, STATE),
    )


_REQUEST = np.dtype(
    [("arrived", "f8"), ("tokens", "f8"), ("rank", "f8"), ("output", "f8"), ("row", "i8")]
)
_EVENT = np.dtype([("at", "f8"), ("who", "i8")])
_CALL = np.dtype(
    [
        ("arrived", "f8"), ("offered", "f8"), ("deadline", "f8"),
        ("read", "i8"), ("written", "i8"), ("tries", "i8"), ("status", "i8"),
        ("audit", "i8"), ("wrong", "i8"), ("bare", "i8"), ("row", "i8"), ("next", "i8"),
    ]
)  # fmt: skip
_ENGINE = np.dtype(
    [
        ("running", "i8"), ("step", "i8"), ("first", "i8"), ("last", "i8"), ("queued", "i8"),
        ("stepping", "i8"), ("context", "f8"), ("reserved", "f8"), ("soonest", "f8"),
    ]
)  # fmt: skip
_OK, _LATE, _FAILED, _REJECTED, _RETRY, _NO_SLOT = 0, 1, 2, 3, 4, 5
INF = np.inf

# --- random numbers, tables, heaps, histograms -----------------------------------------------

STREAMS = 13
(
    R_GAP, R_BURST, R_LENGTH, R_MIX, R_RANK, R_SPELL, R_OUTPUT,
    R_STUDENT, R_WRONG, R_AUDIT, R_TEACHER, R_RETRY, R_OVERHEAD,
) = range(STREAMS)  # fmt: skip
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"cache": True, "error_model": "numpy", "_nrt": False}
"""`_nrt` off: compiled code allocates nothing, and counting references to the arrays it is handed
took more than half of the time."""


def _compiled(function: F) -> F:
    """Compile at the first call; keep the machine code on disk; hold no lock."""
    return cast(F, njit(nogil=True, **_OPTIONS)(function))


def _inlined(function: F) -> F:
    """Compile into the caller: on the path of every request a call costs more than its work."""
    return cast(F, njit(inline="always", **_OPTIONS)(function))


def streams(seed: int) -> npt.NDArray[np.uint64]:
    """Counters of the random streams of one seed, shape (STREAMS,)."""
    return np.asarray(np.random.SeedSequence(seed).generate_state(STREAMS, np.uint64), np.uint64)


@intrinsic  # type: ignore[untyped-decorator]
def _bits(typingctx: Any, x: Any) -> Any:
    """Reinterpret a float64 as an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), codegen


@_compiled
def _uniform(rng: Any, stream: int) -> float:
    """Draw from [0, 1)."""
    rng[stream] += _GOLDEN
    z = rng[stream]
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    z = z ^ (z >> _S31)
    return float(z >> _S11) * _TO_UNIT


@_compiled
def _exponential(rng: Any, stream: int) -> float:
    return -math.log(1.0 - _uniform(rng, stream))


@_compiled
def _normal(rng: Any, stream: int) -> float:
    radius = math.sqrt(2.0 * _exponential(rng, stream))
    return radius * math.cos(2.0 * math.pi * _uniform(rng, stream))


@_compiled
def _gamma(rng: Any, stream: int, shape: float) -> float:
    """Draw with mean 1 (Marsaglia & Tsang, ACM TOMS 26, 2000; boosted below shape 1)."""
    k = shape if shape >= 1.0 else shape + 1.0
    d = k - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = _normal(rng, stream)
        v = 1.0 + c * x
        if v <= 0.0:
            continue
        v = v * v * v
        if math.log(1.0 - _uniform(rng, stream)) < 0.5 * x * x + d - d * v + d * math.log(v):
            break
    draw = d * v
    if shape < 1.0:
        draw *= math.exp(math.log(1.0 - _uniform(rng, stream)) / shape)
    return draw / shape


@_compiled
def _quantile(tables: Floats, at: int, n: int, rank: float) -> float:
    """Read a table of quantiles, straight lines between its points."""
    if n == 1:
        return tables[at]
    place = rank * (n - 1)
    cell = min(int(place), n - 2)
    low = tables[at + cell]
    return low + (place - cell) * (tables[at + cell + 1] - low)


TAIL_BITS = TAIL_STEPS.bit_length() - 1
_TAIL_SHIFT = 52 - TAIL_BITS
_TAIL_CELL = 1.0 / (1 << _TAIL_SHIFT)


@_compiled
def length_at(tables: Floats, at: int, n: int, tail_at: int, tail_n: int, rank: float) -> float:
    """Read a table of lengths; beyond rank 1 - 1 / TAIL_FROM from a table of its own.

    That one has TAIL_STEPS cells to an octave of 1 - rank and ends where it takes over: a straight
    line from there to the longest would overstate the second moment by a sixth.
    """
    left = (1.0 - rank) * TAIL_FROM
    if tail_n == 0 or left >= 1.0:
        return _quantile(tables, at, n, rank)
    b = _bits(left)
    back = (1023 << TAIL_BITS) - (b >> _TAIL_SHIFT)  # cells from the end
    cell = tail_at + tail_n - 1 - back
    if cell < tail_at:
        return tables[tail_at]
    place = (b & ((1 << _TAIL_SHIFT) - 1)) * _TAIL_CELL
    return tables[cell] + place * (tables[cell + 1] - tables[cell])


@_compiled
def _noise(
    kind: int, sigma: float, tables: Floats, at: int, n: int, rng: Any, stream: int
) -> float:
    """Draw a factor of mean 1."""
    if kind == CONSTANT:
        return 1.0
    if kind == EXPONENTIAL:
        return _exponential(rng, stream)
    if kind == LOGNORMAL:
        return math.exp(sigma * _normal(rng, stream) - 0.5 * sigma * sigma)
    return _quantile(tables, at, n, _uniform(rng, stream))


@_compiled
def _push(heap: Any, n: int, at: float, who: int) -> int:
    """Put an event on a binary heap of n; return the new size."""
    i = n
    while i > 0:
        parent = (i - 1) >> 1
        if heap[parent].at <= at:
            break
        heap[i].at = heap[parent].at
        heap[i].who = heap[parent].who
        i = parent
    heap[i].at = at
    heap[i].who = who
    return n + 1


@_compiled
def _schedule(x: Any, heap: Any, n: int, now: float, at: float, who: int) -> int:
    """Put an event of the future on a heap of n; return the new size."""
    if not at >= now:
        x.past += 1
    return _push(heap, n, at, who)


@_compiled
def _pop(heap: Any, n: int) -> int:
    """Remove the earliest event, which the caller has read; return the new size."""
    n -= 1
    at, who = heap[n].at, heap[n].who
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and heap[child + 1].at < heap[child].at:
            child += 1
        if heap[child].at >= at:
            break
        heap[i].at = heap[child].at
        heap[i].who = heap[child].who
        i = child
    heap[i].at = at
    heap[i].who = who
    return n


@_compiled
def _bin(seconds: float) -> int:
    """Histogram bin: the exponent and the first bits of the mantissa; bin 0 is (almost) zero."""
    if seconds <= 0.0:
        return 0
    b = (_bits(seconds) >> _SHIFT) - _FIRST_BIN + 1
    return min(max(b, 0), BINS - 1)


# --- the router's decision -------------------------------------------------------------------

KEEP, UNSURE, BROKEN, NOT_A_NUMBER, OUT_OF_BUDGET = 0, 1, 2, 3, 4


@_compiled
def decide(failed: bool, confidence: float, threshold: float, budget_ok: bool) -> int:
    """Decide as `router.policy.decide` does; return one of the five codes above."""
    if failed:
        wanted = BROKEN
    elif not math.isfinite(confidence):
        wanted = NOT_A_NUMBER
    elif confidence >= threshold:
        return KEEP
    else:
        wanted = UNSURE
    return wanted if budget_ok else OUT_OF_BUDGET


# --- arrivals --------------------------------------------------------------------------------


@_compiled
def _gap(p: Any, tables: Floats, x: Any, rng: Any) -> float:
    """Next gap between arrivals, in mean gaps."""
    if p.gap_kind == POISSON:
        return _exponential(rng, R_GAP)
    if p.gap_kind == GAMMA:
        return _gamma(rng, R_GAP, p.gap_shape)
    if p.gap_kind == REPLAY:
        x.trace_row += 1
        if 4 * x.trace_row >= p.replay_n:
            x.trace_row = 0
        return tables[p.replay_at + 4 * x.trace_row]
    return 1.0


@_inlined
def _next_arrival(p: Any, tables: Floats, x: Any, rng: Any) -> float:
    """Move to the next arrival by spending the gap at the rate of each window and phase.

    Exact for any renewal gap: time is changed by the integrated rate, never thinned.
    """
    need = _gap(p, tables, x, rng)
    t = x.clock
    while x.window < p.rate_n and t < p.until_s:
        rate = tables[p.rate_at + x.window] * tables[p.bursts_at + x.bursting]
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
            x.burst_end += tables[p.bursts_at + 2 + x.bursting] * _exponential(rng, R_BURST)
        else:
            t = window_end
            x.window += 1
    x.clock = t
    return INF


@_compiled
def _hardness(p: Any, tables: Floats, x: Any, t: float, rng: Any) -> float:
    while x.spell_end <= t:
        x.spell = 1 - x.spell
        x.spell_end += tables[p.spells_at + 2 + x.spell] * _exponential(rng, R_SPELL)
    return tables[p.hardness_at + x.window] * tables[p.spells_at + x.spell]


@_compiled
def _lengths(p: Any, tables: Floats, x: Any, rng: Any) -> tuple[float, float, float]:
    """Rank of the length, student tokens and the teacher's output tokens of this arrival."""
    if p.gap_kind == REPLAY:
        at = p.replay_at + 4 * x.trace_row
        return tables[at + 3], tables[at + 1], tables[at + 2]
    u = _uniform(rng, R_LENGTH)
    tokens = math.floor(
        length_at(tables, p.tokens_at, p.tokens_n, p.tokens_tail_at, p.tokens_tail_n, u) + 0.5
    )
    output = tables[p.output_at]
    if p.output_n > 1:
        v = _uniform(rng, R_OUTPUT)
        output = length_at(tables, p.output_at, p.output_n, p.output_tail_at, p.output_tail_n, v)
    return u, tokens, output


@_compiled
def _start(p: Any, tables: Floats, x: Any, rng: Any) -> None:
    """Set the clock; two-state processes start in their long-run mixture, not always calm."""
    t = p.start_s
    x.clock = x.here_at = x.there_at = x.filled_at = x.budget_at = t
    x.burst_end = x.spell_end = INF
    x.window = int(t / p.window_s)
    x.trace_row = -1
    b, s = p.bursts_at, p.spells_at
    if tables[b + 2] < INF:
        bursting = _uniform(rng, R_BURST) * (tables[b + 2] + tables[b + 3]) < tables[b + 3]
        x.bursting = 1 if bursting else 0
        x.burst_end = t + tables[b + 2 + x.bursting] * _exponential(rng, R_BURST)
    if tables[s + 2] < INF:
        hard = _uniform(rng, R_SPELL) * (tables[s + 2] + tables[s + 3]) < tables[s + 3]
        x.spell = 1 if hard else 0
        x.spell_end = t + tables[s + 2 + x.spell] * _exponential(rng, R_SPELL)


@_compiled
def draw(told: Any, tables: Floats, state: Any, rng: Any, block: Floats, first: bool) -> int:
    """Fill a block (N, 4) with arrivals: second, tokens, output tokens, length rank; return n."""
    p, x = told[0], state[0]
    if first:
        _start(p, tables, x, rng)
    for n in range(block.shape[0]):
        at = _next_arrival(p, tables, x, rng)
        if at == INF:
            return n
        u, tokens, output = _lengths(p, tables, x, rng)
        block[n, 0] = at
        block[n, 1] = tokens
        block[n, 2] = output
        block[n, 3] = u
    return block.shape[0]


# --- outcomes --------------------------------------------------------------------------------


@_inlined
def _row(p: Any, t: float, rows: Any) -> int:
    """Row of the timeline that a moment belongs to; the last one while warming up."""
    if t < p.count_from_s:
        return rows.shape[0] - 1
    return min(int((t - p.count_from_s) / p.row_s), rows.shape[0] - 2)


@_compiled
def _set_meter(meter: Any, t: float, p: Any, rows: Any) -> None:
    """Put a meter to a moment."""
    meter.at = t
    meter.row = _row(p, t, rows)
    meter.row_end = _row_end(meter.row, p, rows)


@_compiled
def _row_end(row: int, p: Any, rows: Any) -> float:
    """The moment at which a row of the timeline ends; the last one takes all that follows."""
    if row == rows.shape[0] - 1:
        return p.count_from_s
    return INF if row == rows.shape[0] - 2 else p.count_from_s + (row + 1) * p.row_s


@_compiled
def _tick(meter: Any, t: float, p: Any, rows: Any) -> float:
    """Move a meter towards a moment, at most to the end of its row; return the seconds."""
    begun = meter.at
    meter.at = min(t, meter.row_end)
    seconds = meter.at - begun
    if meter.at == meter.row_end:
        meter.row = 0 if meter.row == rows.shape[0] - 1 else meter.row + 1
        meter.row_end = _row_end(meter.row, p, rows)
    return seconds


@_inlined
def _stage(stages: Ints, rows: Any, row: int, stage: int, seconds: float) -> None:
    warming = 1 if row == rows.shape[0] - 1 else 0
    stages[warming, stage, _bin(seconds)] += 1


@_compiled
def _degrade(
    p: Any, tables: Floats, rng: Any, rows: Any, latency: Any, row: int, seconds: float,
    wrong: int, bare: int,
) -> None:  # fmt: skip
    """The teacher was wanted and did not answer: the student's answer, flagged, or an error."""
    r = rows[row]
    if p.degrade == 0 or bare == 1:
        r.refused += 1
        return
    r.degraded += 1
    r.disagreements += wrong
    seconds += _quantile(tables, p.overhead_at, p.overhead_n, _uniform(rng, R_OVERHEAD))
    r.degraded_s += seconds
    latency[row, DEGRADED, _bin(seconds)] += 1


# --- the teacher -----------------------------------------------------------------------------


@_compiled
def _there(x: Any, t: float, change: int) -> None:
    """Account the area under the number of calls present, then change that number."""
    x.teacher_area += x.there * (t - x.there_at)
    x.there_at = t
    x.there += change


@_compiled
def _occupy(x: Any, t: float, change: int, p: Any, rows: Any) -> None:
    """Book the seconds of slots or engines that were busy, then change their number."""
    end = min(t, p.until_s)
    while x.teacher_meter.at < end:
        row = x.teacher_meter.row
        rows[row].teacher_busy_s += x.busy * _tick(x.teacher_meter, end, p, rows)
    x.busy += change


@_compiled
def _leave(
    slot: int, t: float, status: int, p: Any, tables: Floats, x: Any, rng: Any, calls: Any,
    rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """End one teacher call at time t and free its place."""
    call = calls[slot]
    row = call.row
    r = rows[row]
    stay = t - call.offered
    x.teacher_sum += stay
    r.in_teacher_s += stay
    _stage(stages, rows, row, T_STAY, stay)
    if call.audit == 1:
        if status != _OK:
            r.audits_lost += 1
    elif status == _OK:
        seconds = t - call.arrived
        seconds += _quantile(tables, p.overhead_at, p.overhead_n, _uniform(rng, R_OVERHEAD))
        r.teacher += 1
        r.teacher_s += seconds
        latency[row, TEACHER, _bin(seconds)] += 1
    else:
        if status == _LATE:
            r.teacher_timeout += 1
        elif status == _FAILED:
            r.teacher_unavailable += 1
        elif status == _REJECTED:
            r.teacher_throttled += 1
        else:
            r.teacher_busy += 1
        _degrade(p, tables, rng, rows, latency, row, t - call.arrived, call.wrong, call.bare)
    call.next = x.free
    x.free = slot


@_compiled
def _bill(call: Any, written: int, failed: bool, cancelled: bool, rows: Any) -> None:
    """Count one attempt that reached the teacher; audits in columns of their own."""
    r = rows[call.row]
    if call.audit == 1:
        r.audit_calls += 1
        r.audit_input_tokens += call.read
        r.audit_output_tokens += written
    else:
        r.teacher_calls += 1
        r.input_tokens += call.read
        r.output_tokens += written
    if failed:
        r.calls_failed += 1
    elif cancelled:
        r.calls_cancelled += 1


@_compiled
def _allowed(p: Any, x: Any, t: float, tokens: int) -> bool:
    """Spend from the two token buckets of the rate limit, or say no."""
    past = t - x.filled_at
    x.filled_at = t
    if p.calls_per_s < INF:
        x.calls_left = min(p.calls_burst, x.calls_left + past * p.calls_per_s)
    if p.tokens_per_s < INF:
        x.tokens_left = min(p.tokens_burst, x.tokens_left + past * p.tokens_per_s)
    if x.calls_left < 1.0 or x.tokens_left < tokens:
        return False
    if p.calls_per_s < INF:
        x.calls_left -= 1.0
    if p.tokens_per_s < INF:
        x.tokens_left -= tokens
    return True


@_compiled
def _attempt(
    slot: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, events: Any,
    rows: Any,
) -> None:  # fmt: skip
    """Try once: the outcome is known now and happens when its event comes up.

    An attempt that failed is billed what was sent; one that was cancelled, what was sent and all
    that would have been written: the safe side.
    """
    call = calls[slot]
    call.tries += 1
    if _allowed(p, x, t, call.read + call.written):
        noise = _noise(
            p.teacher_noise, p.teacher_sigma, tables, p.teacher_noise_table_at,
            p.teacher_noise_table_n, rng, R_TEACHER,
        )  # fmt: skip
        work = p.base_s + p.per_input_s * call.read + p.per_output_s * call.written
        end = t + work * noise
        failed = False
        if p.teacher_failure_rate > 0.0:
            failed = _uniform(rng, R_RETRY) < p.teacher_failure_rate
        late = end > call.deadline
        _bill(call, 0 if failed else call.written, failed, late, rows)
        call.status = _FAILED if failed else _OK
    else:
        end = t + p.reject_s
        call.status = _REJECTED
        rows[call.row].calls_throttled += 1
    if end > call.deadline:
        end = call.deadline
        call.status = _LATE
    x.events = _schedule(x, events, x.events, t, end, slot)


@_compiled
def _begin(
    slot: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, events: Any,
    rows: Any, stages: Ints,
) -> None:  # fmt: skip
    """Give a waiting call a slot."""
    _occupy(x, t, 1, p, rows)
    _waited(calls[slot], t, rows, stages)
    _attempt(slot, t, p, tables, x, rng, calls, events, rows)


@_compiled
def _waited(call: Any, t: float, rows: Any, stages: Ints) -> None:
    wait = t - call.offered
    rows[call.row].in_teacher_wait_s += wait
    _stage(stages, rows, call.row, T_WAIT, wait)


@_inlined
def _patience(call: Any, p: Any) -> float:
    """The moment at which a call that still waits for a slot gives up."""
    return min(call.deadline, call.offered + p.max_wait_s)


@_compiled
def _left(
    slot: int, left: float, t: float, status: int, p: Any, tables: Floats, x: Any, rng: Any,
    calls: Any, rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """A call left at a moment that is noticed at t."""
    _there(x, t, -1)
    x.teacher_area -= t - left
    _leave(slot, left, status, p, tables, x, rng, calls, rows, latency, stages)


@_compiled
def _expire(
    slot: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, rows: Any,
    latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """A call whose patience ended while it queued: it left then, and is noticed at t."""
    left = _patience(calls[slot], p)
    _left(slot, left, t, _NO_SLOT, p, tables, x, rng, calls, rows, latency, stages)


@_compiled
def _slot_event(
    slot: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, events: Any,
    rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """An attempt ended, or the pause before the next one did."""
    call = calls[slot]
    status = call.status
    if status == _RETRY:
        _attempt(slot, t, p, tables, x, rng, calls, events, rows)
        return
    if status in (_FAILED, _REJECTED) and call.tries < p.max_attempts:
        pause = p.backoff_s * 2.0 ** (call.tries - 1) * _uniform(rng, R_RETRY)
        if t + pause < call.deadline:
            call.status = _RETRY
            x.events = _schedule(x, events, x.events, t, t + pause, slot)
            return
    _there(x, t, -1)
    _occupy(x, t, -1, p, rows)
    _leave(slot, t, status, p, tables, x, rng, calls, rows, latency, stages)
    while x.first >= 0:
        waiting = x.first
        x.first = calls[waiting].next
        if _patience(calls[waiting], p) > t:
            _begin(waiting, t, p, tables, x, rng, calls, events, rows, stages)
            return
        _expire(waiting, t, p, tables, x, rng, calls, rows, latency, stages)


@_compiled
def _abort(
    e: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, engines: Any,
    ends: Any, rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """Stop computing for callers that left; what was computed for them is billed."""
    engine, heap = engines[e], ends[e]
    running, engine.running, engine.soonest = engine.running, 0, INF
    for k in range(running):
        end, slot = heap[k].at, heap[k].who
        call = calls[slot]
        if call.deadline > t:
            engine.soonest = min(engine.soonest, call.deadline)
            engine.running = _push(heap, engine.running, end, slot)
        else:
            written = call.written - int(end - engine.step)
            engine.context -= call.read + written
            engine.reserved -= call.read + call.written
            _bill(call, written, False, True, rows)
            left = call.deadline
            _left(slot, left, t, _LATE, p, tables, x, rng, calls, rows, latency, stages)


@_compiled
def _step(
    e: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, events: Any,
    engines: Any, ends: Any, rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """Begin one engine step: admit what fits, decode one token for each running request."""
    engine = engines[e]
    if p.abort == 1 and engine.soonest <= t:
        _abort(e, t, p, tables, x, rng, calls, engines, ends, rows, latency, stages)
    decoding, context, prefill = engine.running, engine.context, 0.0
    while engine.first >= 0 and engine.running < p.max_running:
        slot = engine.first
        call = calls[slot]
        if call.deadline > t:
            need = call.read + call.written
            full = engine.reserved + need > p.kv_tokens or prefill + call.read > p.prefill_budget
            if full and engine.running > 0:
                break
            engine.reserved += need
            prefill += call.read
            engine.soonest = min(engine.soonest, call.deadline)
            engine.first = call.next
            _waited(call, t, rows, stages)
            engine.running = _push(ends[e], engine.running, float(engine.step + call.written), slot)
        else:
            engine.first = call.next
            _expire(slot, t, p, tables, x, rng, calls, rows, latency, stages)
        engine.queued -= 1
    engine.context = context + prefill
    stepping = 1 if engine.running > 0 else 0
    _occupy(x, t, stepping - engine.stepping, p, rows)
    engine.stepping = stepping
    if engine.running > 0:
        noise = _noise(
            p.teacher_noise, p.teacher_sigma, tables, p.teacher_noise_table_at,
            p.teacher_noise_table_n, rng, R_TEACHER,
        )  # fmt: skip
        seconds = noise * (
            p.step_s
            + p.step_per_request_s * decoding
            + p.step_per_context_s * context
            + p.step_per_prefill_s * prefill
        )
        x.events = _schedule(x, events, x.events, t, t + seconds, calls.shape[0] + e)


@_compiled
def _step_end(
    e: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, events: Any,
    engines: Any, ends: Any, rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """Finish a step: everyone got a token; those with all of theirs leave."""
    engine = engines[e]
    engine.step += 1
    engine.context += engine.running
    while engine.running > 0 and ends[e, 0].at <= engine.step:
        slot = ends[e, 0].who
        engine.running = _pop(ends[e], engine.running)
        call = calls[slot]
        engine.context -= call.read + call.written
        engine.reserved -= call.read + call.written
        late = t > call.deadline
        _bill(call, call.written, False, late, rows)
        if late:
            _left(slot, call.deadline, t, _LATE, p, tables, x, rng, calls, rows, latency, stages)
        else:
            _left(slot, t, t, _OK, p, tables, x, rng, calls, rows, latency, stages)
    _step(e, t, p, tables, x, rng, calls, events, engines, ends, rows, latency, stages)


@_compiled
def _advance(
    until: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, events: Any,
    engines: Any, ends: Any, rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """Let the teacher's side run up to a moment."""
    while x.events > 0 and events[0].at <= until:
        t, who = events[0].at, events[0].who
        x.events = _pop(events, x.events)
        if who < calls.shape[0]:
            _slot_event(who, t, p, tables, x, rng, calls, events, rows, latency, stages)
        else:
            _step_end(
                who - calls.shape[0], t, p, tables, x, rng, calls, events, engines, ends, rows,
                latency, stages,
            )  # fmt: skip


@_compiled
def _ask(
    t: float, request: Any, row: int, wrong: int, bare: int, audit: int, p: Any, tables: Floats,
    x: Any, rng: Any, calls: Any, events: Any, engines: Any, ends: Any, rows: Any, latency: Any,
    stages: Ints,
) -> None:  # fmt: skip
    """Hand one request to the teacher's side, unless its time is up: then nothing is sent."""
    deadline = t + p.teacher_timeout_s
    if audit == 0:
        deadline = min(deadline, request.arrived + p.deadline_s)
        if deadline <= t:
            rows[row].teacher_deadline += 1
            _degrade(p, tables, rng, rows, latency, row, t - request.arrived, wrong, bare)
            return
    _advance(t, p, tables, x, rng, calls, events, engines, ends, rows, latency, stages)
    while p.max_wait_s < INF and x.first >= 0 and _patience(calls[x.first], p) <= t:
        waiting = x.first
        x.first = calls[waiting].next
        _expire(waiting, t, p, tables, x, rng, calls, rows, latency, stages)
    slot = x.free
    if slot < 0:
        if audit == 1:
            rows[row].audits_lost += 1
        else:
            rows[row].teacher_busy += 1
            _degrade(p, tables, rng, rows, latency, row, t - request.arrived, wrong, bare)
        return
    call = calls[slot]
    x.free = call.next
    call.arrived, call.offered, call.deadline = request.arrived, t, deadline
    call.read = int(p.prompt_tokens + p.token_ratio * request.tokens + 0.5)
    least = 1 if p.teacher_kind == CONTINUOUS else 0  # a classifier's API writes nothing
    call.written = max(least, int(request.output + 0.5))
    call.tries, call.next = 0, -1
    call.audit, call.wrong, call.bare, call.row = audit, wrong, bare, row
    _there(x, t, 1)
    if p.teacher_kind == CONTINUOUS:
        _join(slot, t, p, tables, x, rng, calls, events, engines, ends, rows, latency, stages)
    elif x.busy < p.slots:
        _begin(slot, t, p, tables, x, rng, calls, events, rows, stages)
    elif x.first < 0:
        x.first = x.last = slot
    else:
        calls[x.last].next = slot
        x.last = slot


@_compiled
def _join(
    slot: int, t: float, p: Any, tables: Floats, x: Any, rng: Any, calls: Any, events: Any,
    engines: Any, ends: Any, rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """Queue at the engine with the fewest requests, as a least-loaded balancer would."""
    best = 0
    for e in range(1, engines.shape[0]):
        if engines[e].running + engines[e].queued < engines[best].running + engines[best].queued:
            best = e
    engine = engines[best]
    if engine.first < 0:
        engine.first = slot
    else:
        calls[engine.last].next = slot
    engine.last = slot
    engine.queued += 1
    if engine.stepping == 0:
        _step(best, t, p, tables, x, rng, calls, events, engines, ends, rows, latency, stages)


# --- the student -----------------------------------------------------------------------------


@_inlined
def _here(x: Any, t: float, change: int) -> None:
    """Account the area under the number of requests at the student, then change that number."""
    x.student_area += x.here * (t - x.here_at)
    x.here_at = t
    x.here += change


@_inlined
def _meter(x: Any, t: float, p: Any, rows: Any) -> None:
    """Book the replica-seconds busy and switched on since the last booking."""
    end = min(t, p.until_s)
    while x.student_meter.at < end:
        r = rows[x.student_meter.row]
        seconds = _tick(x.student_meter, end, p, rows)
        r.student_busy_s += x.working * seconds
        r.student_paid_s += x.on * seconds
        x.work_s += x.working * seconds


@_inlined
def _arrive(t: float, p: Any, tables: Floats, x: Any, rng: Any, queue: Any, rows: Any) -> None:
    """A request: draw what it is, and queue it or turn it away."""
    u, tokens, output = _lengths(p, tables, x, rng)
    rank = _uniform(rng, R_RANK)
    # rank mixing: with probability rho the longest is the least sure, else independent;
    # both marginals stay exact and Spearman's correlation of length and unsureness is rho
    if p.length_correlation != 0.0 and _uniform(rng, R_MIX) < abs(p.length_correlation):
        rank = 1.0 - u if p.length_correlation > 0.0 else u
    rank = min(rank / _hardness(p, tables, x, t, rng), 1.0 - 1e-12)
    row = _row(p, t, rows)
    r = rows[row]
    r.requests += 1
    r.student_tokens += int(tokens)
    if x.queued >= p.queue_limit:
        r.queue_full += 1
        r.refused += 1
        return
    _here(x, t, 1)
    item = queue[(x.head + x.queued) & (queue.shape[0] - 1)]
    item.arrived, item.tokens, item.rank, item.output, item.row = t, tokens, rank, output, row
    x.queued += 1


@_inlined
def _start_batch(
    t: float, p: Any, tables: Floats, x: Any, rng: Any, queue: Any, batch: Any, size: Ints,
    idle: Ints, done: Any, rows: Any, stages: Ints,
) -> None:  # fmt: skip
    """An idle replica takes what queued, oldest first, within the budgets of one batch."""
    replica = idle[x.idle - 1]
    n, tokens, longest = 0, 0.0, 0.0
    while x.queued > 0 and n < p.max_batch:
        item = queue[x.head]
        wait = t - item.arrived
        row = item.row
        r = rows[row]
        if wait >= p.deadline_s:
            x.student_sum += wait
            _here(x, t, -1)
            r.deadline += 1
            r.refused += 1
        else:
            longest = max(longest, item.tokens)
            work = (n + 1) * longest if p.padded == 1 else tokens + item.tokens
            if n > 0 and work > p.max_batch_tokens:
                break
            tokens = work
            place = batch[replica, n]
            place.arrived, place.tokens = item.arrived, item.tokens
            place.rank, place.output, place.row = item.rank, item.output, row
            n += 1
            r.in_student_wait_s += wait
            _stage(stages, rows, row, S_WAIT, wait)
        x.head = (x.head + 1) & (queue.shape[0] - 1)
        x.queued -= 1
    if n == 0:
        return
    seconds = (p.fixed_s + p.per_request_s * n + p.per_token_s * tokens) * _noise(
        p.student_noise, p.student_sigma, tables, p.student_noise_table_at,
        p.student_noise_table_n, rng, R_STUDENT,
    )  # fmt: skip
    _meter(x, t, p, rows)
    rows[x.student_meter.row].batches += 1
    size[replica] = n
    x.idle -= 1
    x.working = _schedule(x, done, x.working, t, t + seconds, replica)


@_compiled
def _within_budget(p: Any, x: Any, t: float) -> bool:
    """Spend one escalation from the token bucket, or say no."""
    if p.budget_per_s == INF:
        return True
    x.budget_left = min(p.budget_burst, x.budget_left + (t - x.budget_at) * p.budget_per_s)
    x.budget_at = t
    if x.budget_left < 1.0:
        return False
    x.budget_left -= 1.0
    return True


@_inlined
def _end_batch(
    t: float, n: int, replica: int, batch: Any, p: Any, tables: Floats, x: Any, rng: Any,
    calls: Any, events: Any, engines: Any, ends: Any, rows: Any, latency: Any, stages: Ints,
) -> None:  # fmt: skip
    """A batch is done: decide each of its requests."""
    _here(x, t, -n)
    for k in range(n):
        request = batch[replica, k]
        stay = t - request.arrived
        row = request.row
        r = rows[row]
        x.student_sum += stay
        r.in_student_s += stay
        _stage(stages, rows, row, S_STAY, stay)
        failed = False
        if p.student_failure_rate > 0.0:
            failed = _uniform(rng, R_STUDENT) < p.student_failure_rate
        confidence = _quantile(tables, p.confidence_at, p.confidence_n, request.rank)
        risk = tables[p.disagreement_at + int(request.rank * p.disagreement_n)]
        wrong = 1 if _uniform(rng, R_WRONG) < risk else 0
        if decide(failed, confidence, p.threshold, True) == KEEP:
            r.student += 1
            r.disagreements += wrong
            seconds = stay
            if p.overhead_n > 1:
                u = _uniform(rng, R_OVERHEAD)
                seconds += _quantile(tables, p.overhead_at, p.overhead_n, u)
            r.student_s += seconds
            latency[row, STUDENT, _bin(seconds)] += 1
            if p.audit_rate > 0.0 and _uniform(rng, R_AUDIT) < p.audit_rate:
                r.audits += 1
                _ask(
                    t, request, row, wrong, 0, 1, p, tables, x, rng, calls, events, engines,
                    ends, rows, latency, stages,
                )  # fmt: skip
            continue
        bare = 1 if failed else 0
        r.wanted_teacher += 1
        r.wanted_tokens += int(request.tokens)
        r.student_failed += bare
        if decide(failed, confidence, p.threshold, _within_budget(p, x, t)) == OUT_OF_BUDGET:
            r.escalation_budget += 1
            _degrade(p, tables, rng, rows, latency, row, stay, wrong, bare)
        else:
            _ask(
                t, request, row, wrong, bare, 0, p, tables, x, rng, calls, events, engines, ends,
                rows, latency, stages,
            )  # fmt: skip


# --- autoscaling -----------------------------------------------------------------------------


@_compiled
def _rescale(t: float, p: Any, x: Any, starting: Floats, size: Ints, idle: Ints, rows: Any) -> None:
    """Start and stop replicas as a horizontal autoscaler does: ready x utilisation / target.

    A replica that is switched off has size -1; one that starts has a finite `starting`.
    """
    for replica in range(p.max_replicas):
        if starting[replica] <= t:
            starting[replica] = INF
            size[replica] = 0
            idle[x.idle] = replica
            x.idle += 1
            x.cold -= 1
    _meter(x, t, p, rows)
    ready = x.on - x.cold
    used = min(1.0, x.work_s / (p.check_s * max(1, ready)))
    if x.queued > p.max_batch:
        used = max(used, 2.0 * p.target)
    x.work_s = 0.0
    wanted = int(math.ceil(ready * used / p.target - 1e-9))  # noqa: RUF046  numba: ceil is a float
    wanted = min(max(wanted, p.min_replicas), p.max_replicas)
    x.calm = x.calm + 1 if wanted < x.on else 0
    for replica in range(p.max_replicas):
        if x.on < wanted and size[replica] == -1 and starting[replica] == INF:
            starting[replica] = t + p.start_delay_s
            x.on += 1
            x.cold += 1
    while x.calm >= p.calm_checks and x.on > wanted and x.idle > 0:
        size[idle[0]] = -1
        for k in range(x.idle - 1):
            idle[k] = idle[k + 1]
        x.idle -= 1
        x.on -= 1


@_compiled
def _refill_s(left: float, burst: float, per_s: float, past_s: float) -> float:
    """Seconds until a token bucket that was last filled some time ago is full."""
    return 0.0 if per_s == INF else max(0.0, (burst - left) / per_s - past_s)


@_compiled
def _leave_behind(t: float, p: Any, x: Any, queue: Any, calls: Any, engines: Any) -> None:
    """Note what the next stretch of time would inherit at this moment."""
    oldest = t
    if x.queued > 0:
        oldest = queue[x.head].arrived
    if x.first >= 0:
        oldest = min(oldest, calls[x.first].offered)
    for e in range(engines.shape[0]):
        if engines[e].first >= 0:
            oldest = min(oldest, calls[engines[e].first].offered)
    x.backlog_s = t - oldest
    past = t - x.filled_at
    x.refill_s = max(
        _refill_s(x.budget_left, p.budget_burst, p.budget_per_s, t - x.budget_at),
        _refill_s(x.calls_left, p.calls_burst, p.calls_per_s, past),
        _refill_s(x.tokens_left, p.tokens_burst, p.tokens_per_s, past),
    )


# --- the loop --------------------------------------------------------------------------------


def run(told: Told, seed: int, stats: Stats, progress: Ints) -> None:
    """Run to the last arrival and then until everyone has left.

    Args:
        told: see `tell`.
        seed: of all streams.
        stats: from `new_stats`, filled in place.
        progress: shape (2,): arrivals so far; the run stops early when [1] is set. Holds no lock:
            another thread may watch and stop it.

    Raises:
        RuntimeError: the simulator scheduled an event before its cause.
    """
    p = told.record[0]
    fleet, places = int(p["max_replicas"]), int(p["pending_limit"])
    continuous = p["teacher_kind"] == CONTINUOUS
    engines = np.zeros(int(p["engines"]) if continuous else 1, _ENGINE)
    engines["first"], engines["soonest"] = -1, INF
    calls = np.zeros(places, _CALL)
    calls["next"] = np.r_[1:places, -1]
    size = np.zeros(fleet, np.int64)
    size[int(p["fleet"]) :] = -1
    x = stats.state
    x["idle"] = x["on"] = p["fleet"]
    x["first"] = -1
    x["budget_left"], x["calls_left"], x["tokens_left"] = (
        p["budget_burst"], p["calls_burst"], p["tokens_burst"],
    )  # fmt: skip
    _loop(
        told.record, told.tables, x, streams(seed),
        np.zeros(1 << int(p["queue_limit"]).bit_length(), _REQUEST),
        np.zeros((fleet, int(p["max_batch"])), _REQUEST), size,
        np.arange(fleet)[::-1].copy() - (fleet - int(p["fleet"])),
        np.full(fleet, INF), np.zeros(fleet + 1, _EVENT), calls,
        np.zeros(places + len(engines) + 1, _EVENT), engines,
        np.zeros((len(engines), int(p["max_running"]) + 1 if continuous else 1), _EVENT),
        stats.rows, stats.latency, stats.stages, progress,
    )  # fmt: skip
    if x[0]["past"]:
        raise RuntimeError(f"{x[0]['past']} events were scheduled before their cause")


@_compiled
def _loop(
    told: Any, tables: Floats, state: Any, rng: Any, queue: Any, batch: Any, size: Ints,
    idle: Ints, starting: Floats, done: Any, calls: Any, events: Any, engines: Any, ends: Any,
    rows: Any, latency: Any, stages: Ints, progress: Ints,
) -> None:  # fmt: skip
    """Take the earliest of: an arrival, a batch's end, an autoscaler's check."""
    p, x = told[0], state[0]
    _start(p, tables, x, rng)
    _set_meter(x.student_meter, p.start_s, p, rows)
    _set_meter(x.teacher_meter, p.start_s, p, rows)
    arrival = _next_arrival(p, tables, x, rng)
    check = p.start_s + p.check_s
    seen = 0
    while arrival < INF or x.working > 0:
        end = done[0].at if x.working > 0 else INF
        if check <= arrival and check <= end:
            t = check
            _rescale(t, p, x, starting, size, idle, rows)
            check = t + p.check_s if arrival < INF else INF
        elif arrival <= end:
            t = arrival
            _arrive(t, p, tables, x, rng, queue, rows)
            arrival = _next_arrival(p, tables, x, rng)
            if arrival == INF:
                _advance(t, p, tables, x, rng, calls, events, engines, ends, rows, latency, stages)
                _leave_behind(t, p, x, queue, calls, engines)
            seen += 1
            if seen & 0xFFFF == 0:
                progress[0] = seen
                if progress[1] != 0:
                    arrival = INF
        else:
            t = end
            replica = done[0].who
            _meter(x, t, p, rows)
            x.working = _pop(done, x.working)
            _end_batch(
                t, size[replica], replica, batch, p, tables, x, rng, calls, events, engines,
                ends, rows, latency, stages,
            )  # fmt: skip
            size[replica] = 0
            idle[x.idle] = replica
            x.idle += 1
        while x.queued > 0 and x.idle > 0:
            _start_batch(t, p, tables, x, rng, queue, batch, size, idle, done, rows, stages)
    _meter(x, p.until_s, p, rows)
    _advance(INF, p, tables, x, rng, calls, events, engines, ends, rows, latency, stages)
    progress[0] = seen
