"""The event loop: every request of the run, exactly; nothing per request is kept.

One pass in time order. A request arrives, queues for the student, is batched with what queued
while the last batch ran, draws how sure the student is, is kept, escalated, degraded or refused,
and, when the teacher is asked, competes there for slots and rate limits. Statistics are counters,
sums and logarithmic histograms; memory grows with what is in flight, never with requests.

All compiled code stands in this one file on purpose: numba's on-disk cache notices a change of the
file a function is in, and not of the files it calls.

Random numbers are splitmix64 counters (Steele, Lea & Flood, OOPSLA 2014), one stream for each
purpose. Two scenarios with one seed therefore see the same arrivals, lengths and confidences: a
what-if is a paired comparison.

Units: seconds, tokens, requests per second.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit, types
from numba.extending import intrinsic

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

# --- codes -----------------------------------------------------------------------------------

EVERY_GAP, POISSON, GAMMA, REPLAY = 0, 1, 2, 3
CONSTANT, EXPONENTIAL, LOGNORMAL, TABLE = 0, 1, 2, 3
SERVERS, CONTINUOUS = 0, 1

KEEP, UNSURE, BROKEN, NOT_A_NUMBER, OUT_OF_BUDGET = 0, 1, 2, 3, 4
"""Codes of `decide`, the twin of `router.policy.decide`; named in `costmodel.policy_twin`."""

ROUTES = 3
STUDENT, TEACHER, DEGRADED = 0, 1, 2

COUNTS = (
    "requests", "student", "teacher", "degraded", "refused",
    "wanted_teacher", "disagreements", "audits",
    "queue_full", "deadline", "escalation_budget",
    "teacher_busy", "teacher_throttled", "teacher_unavailable", "teacher_timeout",
    "teacher_calls", "calls_failed", "calls_cancelled", "calls_throttled",
    "input_tokens", "output_tokens", "audit_calls", "audit_input_tokens", "audit_output_tokens",
    "batches", "student_tokens", "wanted_tokens", "student_failed", "audits_lost",
)  # fmt: skip
"""Columns of `Stats.counts`. Token columns count every billed attempt, audits in their own."""
(
    REQUESTS, KEPT, ANSWERED, DEGRADED_N, REFUSED,
    WANTED, DISAGREED, AUDITS,
    QUEUE_FULL, DEADLINE, BUDGET,
    BUSY, THROTTLED, UNAVAILABLE, TIMEOUT,
    CALLS, CALLS_FAILED, CALLS_CANCELLED, CALLS_THROTTLED,
    INPUT, OUTPUT, AUDIT_CALLS, AUDIT_INPUT, AUDIT_OUTPUT,
    BATCHES, STUDENT_TOKENS, WANTED_TOKENS, STUDENT_FAILED, AUDITS_LOST,
) = range(len(COUNTS))  # fmt: skip

SUMS = ("student_busy_s", "student_paid_s", "teacher_busy_s", "kept_s", "answered_s", "degraded_s")
"""Columns of `Stats.sums`, in seconds; the last three are sums of end-to-end latencies."""
STUDENT_BUSY, STUDENT_PAID, TEACHER_BUSY, LATENCY = 0, 1, 2, 3

STAGES = ("student_wait", "student", "teacher_wait", "teacher")
S_WAIT, S_STAY, T_WAIT, T_STAY = 0, 1, 2, 3

# little: seconds in the stage summed over customers, area under the number present, customers
L_STUDENT_SUM, L_STUDENT_AREA, L_TEACHER_SUM, L_TEACHER_AREA, L_TEACHER_N, LAST_EVENT = range(6)

STREAMS = 13
(
    R_GAP, R_BURST, R_LENGTH, R_MIX, R_RANK, R_SPELL,
    R_STUDENT, R_WRONG, R_AUDIT, R_TEACHER, R_RETRY, R_OVERHEAD, R_OUTPUT,
) = range(STREAMS)  # fmt: skip

SUB_BITS = 7
"""128 bins per factor of two: a quantile is read within 1/256 = 0.4 % of its value."""
LOWEST_EXPONENT = -30
OCTAVES = 48
BINS = 1 + OCTAVES * 2**SUB_BITS
_SHIFT = 52 - SUB_BITS
_FIRST_BIN = (1023 + LOWEST_EXPONENT) << SUB_BITS
RELATIVE_ERROR = 0.5 / 2**SUB_BITS

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0
INF = np.inf


# --- what a run is told ----------------------------------------------------------------------


class Traffic(NamedTuple):
    """Arrivals and what they look like. Tables of quantiles are evenly spaced in rank."""

    rate: Floats
    """Mean arrivals per second in each window, shape (W,)."""
    hardness: Floats
    """Factor on the share of requests the student is unsure about, shape (W,)."""
    window_s: float
    gap_kind: int
    gap_shape: float
    """Gamma shape, 1 / CV squared."""
    bursts: Floats
    """Rate factor calm, rate factor in a burst, mean seconds calm, mean seconds of a burst."""
    spells: Floats
    """The same for hardness: calm, hard, mean seconds calm, mean seconds hard."""
    replay: Floats
    """Trace: gap in mean gaps, student tokens, teacher output tokens, length rank; shape (N, 4)."""
    tokens: Floats
    output: Floats
    start_s: float
    count_from_s: float
    """Requests that arrive earlier warm the system and are not counted."""
    until_s: float
    row_s: float
    """Width of the rows of the timeline."""


class Student(NamedTuple):
    """A fleet of equal replicas behind one queue. A batch takes fixed + requests + tokens."""

    fixed_s: float
    per_request_s: float
    per_token_s: float
    noise: int
    sigma: float
    noise_table: Floats
    max_batch: int
    max_tokens: float
    padded: bool
    queue_limit: int
    failure_rate: float
    replicas: int
    min_replicas: int
    max_replicas: int
    check_s: float
    target: float
    start_delay_s: float
    calm_checks: int
    overhead: Floats
    """Quantiles of the seconds around the student (HTTP, loop) that occupy no replica."""


class Policy(NamedTuple):
    """What the router decides with."""

    threshold: float
    confidence: Floats
    """Confidence at ranks 0..1 of the traffic, least sure first."""
    disagreement: Floats
    """Chance that a kept answer differs from the teacher's, by cell of rank."""
    length_correlation: float
    audit_rate: float
    budget_per_s: float
    budget_burst: float
    deadline_s: float
    teacher_timeout_s: float
    degrade: bool


class Teacher(NamedTuple):
    """Slots (an API or c servers), or replicas that batch continuously, one step at a time."""

    kind: int
    servers: int
    base_s: float
    per_input_s: float
    per_output_s: float
    noise: int
    sigma: float
    noise_table: Floats
    prompt_tokens: float
    token_ratio: float
    calls_per_s: float
    calls_burst: float
    tokens_per_s: float
    tokens_burst: float
    failure_rate: float
    reject_s: float
    max_attempts: int
    backoff_s: float
    pending_limit: int
    replicas: int
    max_running: int
    kv_tokens: float
    step_s: float
    step_per_request_s: float
    step_per_context_s: float
    step_per_prefill_s: float
    prefill_budget: float


class Stats(NamedTuple):
    """What a run tells, by row of the timeline (R rows)."""

    counts: Ints
    """(R, len(COUNTS))."""
    sums: Floats
    """(R, len(SUMS))."""
    latency: npt.NDArray[np.int32]
    """(R, ROUTES, BINS) histograms of end-to-end latency."""
    stages: Ints
    """(len(STAGES), BINS) histograms of the stages."""
    totals: Floats
    """(len(STAGES), 2): sum of seconds, customers."""
    little: Floats


class _Desk(NamedTuple):
    """The teacher's side of the loop: calls in flight and the calendar of their events."""

    f: Floats
    i: Ints
    state: Ints
    real: Floats
    at: Floats
    who: Ints
    rep: Ints
    rep_f: Floats
    fin: Floats
    fin_who: Ints


# columns of _Desk.f and .i
_ARRIVED, _OFFERED, _DEADLINE, _BEGUN = 0, 1, 2, 3
_IN, _OUT, _TRY, _STATUS, _AUDIT, _NEXT, _ROW, _WRONG, _BARE = 0, 1, 2, 3, 4, 5, 6, 7, 8
_FREE, _HEAD, _TAIL, _SLOTS_BUSY, _EVENTS, _PRESENT = 0, 1, 2, 3, 4, 5
_CALLS_LEFT, _TOKENS_LEFT, _FILLED_AT, _SEEN, _AREA = 0, 1, 2, 3, 4
# _Desk.rep, by replica
_RUNNING, _STEP, _RHEAD, _RTAIL, _RQUEUE, _STEPPING = 0, 1, 2, 3, 4, 5
_CONTEXT, _RESERVED = 0, 1
# statuses of a call
_OK, _LATE, _FAILED, _REJECTED, _RETRY, _NO_SLOT = 0, 1, 2, 3, 4, 5


_hot = njit(cache=True, error_model="numpy", inline="always")
"""On the path of every request: a call would cost more than the work, for its many arguments."""
_cold = njit(cache=True, error_model="numpy")


# --- random numbers, heaps, histograms -------------------------------------------------------


@intrinsic  # type: ignore[untyped-decorator]
def _bits(typingctx: Any, x: Any) -> Any:
    """Reinterpret a float64 as an int64."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], context.get_value_type(types.int64))

    return types.int64(types.float64), codegen


@_hot
def _uniform(rng: Any, stream: int) -> float:
    """Draw from [0, 1)."""
    rng[stream] += _GOLDEN
    z = rng[stream]
    z = (z ^ (z >> _S30)) * _MIX1
    z = (z ^ (z >> _S27)) * _MIX2
    z = z ^ (z >> _S31)
    return float(z >> _S11) * _TO_UNIT


@_hot
def _exponential(rng: Any, stream: int) -> float:
    return -math.log(1.0 - _uniform(rng, stream))


@_cold
def _normal(rng: Any, stream: int) -> float:
    radius = math.sqrt(2.0 * _exponential(rng, stream))
    return radius * math.cos(2.0 * math.pi * _uniform(rng, stream))


@_cold
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


@_hot
def _quantile(table: Floats, rank: float) -> float:
    """Read a table of quantiles, straight lines between its points."""
    last = table.size - 1
    if last == 0:
        return table[0]
    x = rank * last
    cell = int(x)
    if cell >= last:
        return table[last]
    low = table[cell]
    return low + (x - cell) * (table[cell + 1] - low)


@_hot
def _noise(kind: int, sigma: float, table: Floats, rng: Any, stream: int) -> float:
    """Draw a factor of mean 1."""
    if kind == CONSTANT:
        return 1.0
    if kind == EXPONENTIAL:
        return _exponential(rng, stream)
    if kind == LOGNORMAL:
        return math.exp(sigma * _normal(rng, stream) - 0.5 * sigma * sigma)
    return _quantile(table, _uniform(rng, stream))


@_hot
def _push(at: Floats, who: Ints, n: int, t: float, item: int) -> int:
    """Put an event on a binary heap of n; return the new size."""
    i = n
    while i > 0:
        parent = (i - 1) >> 1
        if at[parent] <= t:
            break
        at[i] = at[parent]
        who[i] = who[parent]
        i = parent
    at[i] = t
    who[i] = item
    return n + 1


@_hot
def _pop(at: Floats, who: Ints, n: int) -> int:
    """Remove the earliest event, which the caller has read; return the new size."""
    n -= 1
    t = at[n]
    item = who[n]
    i = 0
    while True:
        child = 2 * i + 1
        if child >= n:
            break
        if child + 1 < n and at[child + 1] < at[child]:
            child += 1
        if at[child] >= t:
            break
        at[i] = at[child]
        who[i] = who[child]
        i = child
    at[i] = t
    who[i] = item
    return n


@_hot
def _bin(seconds: float) -> int:
    """Histogram bin: the exponent and the first bits of the mantissa; bin 0 is (almost) zero."""
    b = (_bits(seconds) >> _SHIFT) - _FIRST_BIN + 1
    if b < 0 or seconds <= 0.0:
        return 0
    return min(b, BINS - 1)


@_hot
def _stage(stats: Stats, stage: int, seconds: float) -> None:
    stats.stages[stage, _bin(seconds)] += 1
    stats.totals[stage, 0] += seconds
    stats.totals[stage, 1] += 1.0


# --- the router's decision -------------------------------------------------------------------


@_hot
def decide(failed: bool, confidence: float, threshold: float, budget_ok: bool) -> int:
    """Decide as `router.policy.decide` does; return one of the five codes."""
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

_CLOCK, _WINDOW, _BURSTING, _BURST_END, _ROW_OF_TRACE, _SPELL, _SPELL_END, _ARRIVALS = range(8)


@_hot
def _gap(traffic: Traffic, walk: Floats, rng: Any) -> float:
    """Next gap between arrivals, in mean gaps."""
    kind = traffic.gap_kind
    if kind == POISSON:
        return _exponential(rng, R_GAP)
    if kind == GAMMA:
        return _gamma(rng, R_GAP, traffic.gap_shape)
    if kind == REPLAY:
        row = int(walk[_ROW_OF_TRACE]) + 1
        if row >= traffic.replay.shape[0]:
            row = 0
        walk[_ROW_OF_TRACE] = row
        return traffic.replay[row, 0]
    return 1.0


@_cold
def _flip(walk: Floats, phase: int, end: int, table: Floats, rng: Any, stream: int) -> None:
    """Enter the other phase of a two-state process and draw how long it lasts."""
    walk[phase] = 1.0 - walk[phase]
    walk[end] += table[2 + int(walk[phase])] * _exponential(rng, stream)


@_hot
def _next_arrival(traffic: Traffic, walk: Floats, rng: Any) -> float:
    """Move to the next arrival by spending the gap at the rate of each window and phase.

    Exact for any renewal gap: time is changed by the integrated rate, never thinned.
    """
    need = _gap(traffic, walk, rng)
    t = walk[_CLOCK]
    while True:
        w = int(walk[_WINDOW])
        if w >= traffic.rate.size or t >= traffic.until_s:
            return INF
        rate = traffic.rate[w] * traffic.bursts[int(walk[_BURSTING])]
        window_end = (w + 1) * traffic.window_s
        burst_end = walk[_BURST_END]
        end = min(window_end, burst_end)
        room = (end - t) * rate
        if need < room:
            t += need / rate
            walk[_CLOCK] = t
            return t if t < traffic.until_s else INF
        need -= room
        t = end
        if burst_end <= window_end:
            _flip(walk, _BURSTING, _BURST_END, traffic.bursts, rng, R_BURST)
        else:
            walk[_WINDOW] += 1.0


@_hot
def _lengths(traffic: Traffic, walk: Floats, rng: Any) -> tuple[float, float, float]:
    """Rank of the length, student tokens and the teacher's output tokens of this arrival."""
    if traffic.gap_kind == REPLAY:
        row = traffic.replay[int(walk[_ROW_OF_TRACE])]
        return row[3], row[1], row[2]
    u = _uniform(rng, R_LENGTH)
    tokens = math.floor(_quantile(traffic.tokens, u) + 0.5)
    if traffic.output.size == 1:
        return u, tokens, traffic.output[0]
    return u, tokens, _quantile(traffic.output, _uniform(rng, R_OUTPUT))


@_cold
def start_walk(traffic: Traffic, rng: Any) -> Floats:
    """State of the arrival process at the start of the clock."""
    walk = np.zeros(8)
    walk[_CLOCK] = traffic.start_s
    walk[_WINDOW] = math.floor(traffic.start_s / traffic.window_s)
    walk[_ROW_OF_TRACE] = -1.0
    # a two-state process starts in its long-run mixture, not always in the calm state
    for phase, end, table, stream in (
        (_BURSTING, _BURST_END, traffic.bursts, R_BURST),
        (_SPELL, _SPELL_END, traffic.spells, R_SPELL),
    ):
        share = 0.0 if table[2] == INF else table[3] / (table[2] + table[3])
        walk[phase] = 0.0 if _uniform(rng, stream) < share else 1.0
        walk[end] = traffic.start_s
        _flip(walk, phase, end, table, rng, stream)
    return walk


@_cold
def draw(traffic: Traffic, walk: Floats, rng: Any, block: Floats) -> int:
    """Fill a block (N, 4) with arrivals: second, tokens, output tokens, length rank; return n."""
    for n in range(block.shape[0]):
        at = _next_arrival(traffic, walk, rng)
        if at == INF:
            return n
        u, tokens, output = _lengths(traffic, walk, rng)
        block[n, 0] = at
        block[n, 1] = tokens
        block[n, 2] = output
        block[n, 3] = u
    return block.shape[0]


def streams(seed: int) -> npt.NDArray[np.uint64]:
    """Counters of the random streams of one seed, shape (STREAMS,)."""
    return np.random.SeedSequence(seed).generate_state(STREAMS, np.uint64)


@_hot
def _hardness(traffic: Traffic, walk: Floats, t: float, rng: Any) -> float:
    while walk[_SPELL_END] <= t:
        _flip(walk, _SPELL, _SPELL_END, traffic.spells, rng, R_SPELL)
    return traffic.hardness[int(walk[_WINDOW])] * traffic.spells[int(walk[_SPELL])]


# --- the teacher -----------------------------------------------------------------------------


@_cold
def _present(desk: _Desk, t: float, change: int) -> None:
    """Account the time-integral of the number of calls present, then change that number."""
    desk.real[_AREA] += desk.state[_PRESENT] * (t - desk.real[_SEEN])
    desk.real[_SEEN] = t
    desk.state[_PRESENT] += change


@_hot
def _answer(stats: Stats, student: Student, row: int, route: int, seconds: float, rng: Any) -> None:
    """Book the end-to-end latency of one answered request."""
    if row < 0:
        return
    if student.overhead.size > 1:
        seconds += _quantile(student.overhead, _uniform(rng, R_OVERHEAD))
    stats.counts[row, KEPT + route] += 1
    stats.sums[row, LATENCY + route] += seconds
    stats.latency[row, route, _bin(seconds)] += 1


@_cold
def _degrade(
    stats: Stats, student: Student, policy: Policy, row: int, reason: int,
    seconds: float, wrong: int, bare: bool, rng: Any,
) -> None:  # fmt: skip
    """The teacher was wanted and did not answer: the student's answer, flagged, or an error."""
    if row < 0:
        return
    stats.counts[row, reason] += 1
    if policy.degrade and not bare:
        stats.counts[row, DISAGREED] += wrong
        _answer(stats, student, row, DEGRADED, seconds, rng)
    else:
        stats.counts[row, REFUSED] += 1


@_cold
def _leave(
    slot: int, t: float, status: int, student: Student, policy: Policy, desk: _Desk,
    stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """End one teacher call at time t and free its place."""
    row = desk.i[slot, _ROW]
    stats.little[L_TEACHER_SUM] += t - desk.f[slot, _OFFERED]
    stats.little[L_TEACHER_N] += 1.0
    if row >= 0:
        _stage(stats, T_STAY, t - desk.f[slot, _OFFERED])
    if desk.i[slot, _AUDIT] == 1:
        if row >= 0 and status != _OK:
            stats.counts[row, AUDITS_LOST] += 1
    elif status == _OK:
        _answer(stats, student, row, TEACHER, t - desk.f[slot, _ARRIVED], rng)
    else:
        reason = TIMEOUT
        if status == _FAILED:
            reason = UNAVAILABLE
        elif status == _REJECTED:
            reason = THROTTLED
        elif status == _NO_SLOT:
            reason = BUSY
        _degrade(
            stats, student, policy, row, reason, t - desk.f[slot, _ARRIVED],
            desk.i[slot, _WRONG], desk.i[slot, _BARE] == 1, rng,
        )  # fmt: skip
    desk.i[slot, _NEXT] = desk.state[_FREE]
    desk.state[_FREE] = slot


@_cold
def _bill(slot: int, call: int, desk: _Desk, stats: Stats) -> None:
    """Count one attempt that reached the teacher; audits in columns of their own."""
    row = desk.i[slot, _ROW]
    if row < 0:
        return
    audit = desk.i[slot, _AUDIT] == 1
    calls, read, written = (
        (AUDIT_CALLS, AUDIT_INPUT, AUDIT_OUTPUT) if audit else (CALLS, INPUT, OUTPUT)
    )
    stats.counts[row, calls] += 1
    stats.counts[row, read] += desk.i[slot, _IN]
    if call != CALLS_FAILED:
        stats.counts[row, written] += desk.i[slot, _OUT]
    if call != CALLS:
        stats.counts[row, call] += 1


@_cold
def _allowed(teacher: Teacher, desk: _Desk, t: float, tokens: int) -> bool:
    """Spend from the two token buckets of the rate limit, or say no."""
    real = desk.real
    past = t - real[_FILLED_AT]
    real[_FILLED_AT] = t
    if teacher.calls_per_s < INF:
        left = real[_CALLS_LEFT] + past * teacher.calls_per_s
        real[_CALLS_LEFT] = min(teacher.calls_burst, left)
        if real[_CALLS_LEFT] < 1.0:
            return False
    if teacher.tokens_per_s < INF:
        left = real[_TOKENS_LEFT] + past * teacher.tokens_per_s
        real[_TOKENS_LEFT] = min(teacher.tokens_burst, left)
        if real[_TOKENS_LEFT] < tokens:
            return False
        real[_TOKENS_LEFT] -= tokens
    real[_CALLS_LEFT] -= 1.0
    return True


@_cold
def _attempt(
    slot: int, t: float, traffic: Traffic, teacher: Teacher, desk: _Desk, stats: Stats, rng: Any
) -> None:
    """Try once: the outcome is known now and happens when its event comes up."""
    desk.i[slot, _TRY] += 1
    row = desk.i[slot, _ROW]
    read, written = desk.i[slot, _IN], desk.i[slot, _OUT]
    if not _allowed(teacher, desk, t, read + written):
        status, seconds = _REJECTED, teacher.reject_s
        if row >= 0:
            stats.counts[row, CALLS_THROTTLED] += 1
    else:
        seconds = (
            teacher.base_s + teacher.per_input_s * read + teacher.per_output_s * written
        ) * _noise(teacher.noise, teacher.sigma, teacher.noise_table, rng, R_TEACHER)
        failed = teacher.failure_rate > 0.0 and _uniform(rng, R_RETRY) < teacher.failure_rate
        status = _FAILED if failed else _OK
        late = t + seconds > desk.f[slot, _DEADLINE]
        _bill(slot, CALLS_CANCELLED if late else (CALLS_FAILED if failed else CALLS), desk, stats)
    end = t + seconds
    if end > desk.f[slot, _DEADLINE]:
        end, status = desk.f[slot, _DEADLINE], _LATE
    at = _row(traffic, t, stats.sums.shape[0])
    if at >= 0:
        stats.sums[at, TEACHER_BUSY] += end - t
    desk.i[slot, _STATUS] = status
    desk.state[_EVENTS] = _push(desk.at, desk.who, desk.state[_EVENTS], end, slot)


@_cold
def _begin(
    slot: int, t: float, traffic: Traffic, teacher: Teacher, desk: _Desk, stats: Stats, rng: Any
) -> None:
    """Give a waiting call a slot."""
    desk.state[_SLOTS_BUSY] += 1
    if desk.i[slot, _ROW] >= 0:
        _stage(stats, T_WAIT, t - desk.f[slot, _OFFERED])
    _attempt(slot, t, traffic, teacher, desk, stats, rng)


@_cold
def _slot_event(
    slot: int, t: float, traffic: Traffic, student: Student, policy: Policy, teacher: Teacher,
    desk: _Desk, stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """An attempt ended, or the pause before the next one did."""
    status = desk.i[slot, _STATUS]
    if status == _RETRY:
        _attempt(slot, t, traffic, teacher, desk, stats, rng)
        return
    if status in (_FAILED, _REJECTED) and desk.i[slot, _TRY] < teacher.max_attempts:
        pause = teacher.backoff_s * 2.0 ** (desk.i[slot, _TRY] - 1) * _uniform(rng, R_RETRY)
        if t + pause < desk.f[slot, _DEADLINE]:
            desk.i[slot, _STATUS] = _RETRY
            desk.state[_EVENTS] = _push(desk.at, desk.who, desk.state[_EVENTS], t + pause, slot)
            return
    _present(desk, t, -1)
    desk.state[_SLOTS_BUSY] -= 1
    _leave(slot, t, status, student, policy, desk, stats, rng)
    while desk.state[_HEAD] >= 0:
        waiting = desk.state[_HEAD]
        desk.state[_HEAD] = desk.i[waiting, _NEXT]
        if desk.f[waiting, _DEADLINE] > t:
            _begin(waiting, t, traffic, teacher, desk, stats, rng)
            return
        _expire(waiting, t, student, policy, desk, stats, rng)


@_cold
def _expire(
    slot: int, t: float, student: Student, policy: Policy, desk: _Desk, stats: Stats, rng: Any
) -> None:
    """A call whose deadline passed while it queued: it left then, and is noticed at t."""
    left = desk.f[slot, _DEADLINE]
    _present(desk, t, -1)
    desk.real[_AREA] -= t - left
    _leave(slot, left, _NO_SLOT, student, policy, desk, stats, rng)


@_cold
def _step(
    rep: int, t: float, traffic: Traffic, student: Student, policy: Policy, teacher: Teacher,
    desk: _Desk, stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """Begin one engine step: admit what fits, decode one token for each running request."""
    n, context = desk.rep[rep, _RUNNING], desk.rep_f[rep, _CONTEXT]
    prefill = 0.0
    while desk.rep[rep, _RHEAD] >= 0 and desk.rep[rep, _RUNNING] < teacher.max_running:
        slot = desk.rep[rep, _RHEAD]
        if desk.f[slot, _DEADLINE] > t:
            need = float(desk.i[slot, _IN] + desk.i[slot, _OUT])
            running = desk.rep[rep, _RUNNING]
            full = desk.rep_f[rep, _RESERVED] + need > teacher.kv_tokens
            if running > 0 and (full or prefill + desk.i[slot, _IN] > teacher.prefill_budget):
                break
            desk.rep_f[rep, _RESERVED] += need
            prefill += desk.i[slot, _IN]
            if desk.i[slot, _ROW] >= 0:
                _stage(stats, T_WAIT, t - desk.f[slot, _OFFERED])
            last_step = float(desk.rep[rep, _STEP] + desk.i[slot, _OUT])
            desk.rep[rep, _RUNNING] = _push(
                desk.fin[rep], desk.fin_who[rep], running, last_step, slot
            )
            desk.rep[rep, _RHEAD] = desk.i[slot, _NEXT]
        else:
            desk.rep[rep, _RHEAD] = desk.i[slot, _NEXT]
            _expire(slot, t, student, policy, desk, stats, rng)
        desk.rep[rep, _RQUEUE] -= 1
    desk.rep_f[rep, _CONTEXT] = context + prefill
    if desk.rep[rep, _RUNNING] == 0:
        desk.rep[rep, _STEPPING] = 0
        return
    seconds = (
        teacher.step_s
        + teacher.step_per_request_s * n
        + teacher.step_per_context_s * context
        + teacher.step_per_prefill_s * prefill
    ) * _noise(teacher.noise, teacher.sigma, teacher.noise_table, rng, R_TEACHER)
    at = _row(traffic, t, stats.sums.shape[0])
    if at >= 0:
        stats.sums[at, TEACHER_BUSY] += seconds
    desk.rep[rep, _STEPPING] = 1
    desk.state[_EVENTS] = _push(
        desk.at, desk.who, desk.state[_EVENTS], t + seconds, desk.f.shape[0] + rep
    )


@_cold
def _step_end(
    rep: int, t: float, traffic: Traffic, student: Student, policy: Policy, teacher: Teacher,
    desk: _Desk, stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """Finish a step: everyone got a token; those with all of theirs leave."""
    desk.rep[rep, _STEP] += 1
    desk.rep_f[rep, _CONTEXT] += desk.rep[rep, _RUNNING]
    step = desk.rep[rep, _STEP]
    while desk.rep[rep, _RUNNING] > 0 and desk.fin[rep, 0] <= step:
        slot = desk.fin_who[rep, 0]
        desk.rep[rep, _RUNNING] = _pop(desk.fin[rep], desk.fin_who[rep], desk.rep[rep, _RUNNING])
        held = desk.i[slot, _IN] + desk.i[slot, _OUT]
        desk.rep_f[rep, _CONTEXT] -= held
        desk.rep_f[rep, _RESERVED] -= held
        late = t > desk.f[slot, _DEADLINE]
        _bill(slot, CALLS_CANCELLED if late else CALLS, desk, stats)
        _present(desk, t, -1)
        _leave(slot, t, _LATE if late else _OK, student, policy, desk, stats, rng)
    _step(rep, t, traffic, student, policy, teacher, desk, stats, rng)


@_cold
def _advance(
    until: float, traffic: Traffic, student: Student, policy: Policy, teacher: Teacher,
    desk: _Desk, stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """Let the teacher's side run up to a moment."""
    while desk.state[_EVENTS] > 0 and desk.at[0] <= until:
        t, who = desk.at[0], desk.who[0]
        desk.state[_EVENTS] = _pop(desk.at, desk.who, desk.state[_EVENTS])
        if who >= desk.f.shape[0]:
            _step_end(who - desk.f.shape[0], t, traffic, student, policy, teacher, desk, stats, rng)
        else:
            _slot_event(who, t, traffic, student, policy, teacher, desk, stats, rng)


@_cold
def _ask(
    t: float, arrived: float, tokens: float, output: float, row: int, wrong: int, bare: bool,
    audit: bool, traffic: Traffic, student: Student, policy: Policy, teacher: Teacher,
    desk: _Desk, stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """Hand one request to the teacher's side."""
    _advance(t, traffic, student, policy, teacher, desk, stats, rng)
    slot = desk.state[_FREE]
    if slot < 0:
        if audit:
            if row >= 0:
                stats.counts[row, AUDITS_LOST] += 1
        else:
            _degrade(stats, student, policy, row, BUSY, t - arrived, wrong, bare, rng)
        return
    desk.state[_FREE] = desk.i[slot, _NEXT]
    desk.f[slot, _ARRIVED] = arrived
    desk.f[slot, _OFFERED] = t
    deadline = t + policy.teacher_timeout_s
    desk.f[slot, _DEADLINE] = deadline if audit else min(deadline, arrived + policy.deadline_s)
    desk.i[slot, _IN] = int(teacher.prompt_tokens + teacher.token_ratio * tokens + 0.5)
    desk.i[slot, _OUT] = max(1, int(output + 0.5))
    desk.i[slot, _TRY] = 0
    desk.i[slot, _AUDIT] = 1 if audit else 0
    desk.i[slot, _ROW] = row
    desk.i[slot, _WRONG] = wrong
    desk.i[slot, _BARE] = 1 if bare else 0
    desk.i[slot, _NEXT] = -1
    _present(desk, t, 1)
    if teacher.kind == CONTINUOUS:
        _join(slot, t, traffic, student, policy, teacher, desk, stats, rng)
    elif desk.state[_SLOTS_BUSY] < teacher.servers:
        _begin(slot, t, traffic, teacher, desk, stats, rng)
    elif desk.state[_HEAD] < 0:
        desk.state[_HEAD] = desk.state[_TAIL] = slot
    else:
        desk.i[desk.state[_TAIL], _NEXT] = slot
        desk.state[_TAIL] = slot


@_cold
def _join(
    slot: int, t: float, traffic: Traffic, student: Student, policy: Policy, teacher: Teacher,
    desk: _Desk, stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """Queue at the replica with the fewest requests, as a least-loaded balancer would."""
    best = 0
    for r in range(1, teacher.replicas):
        load = desk.rep[r, _RUNNING] + desk.rep[r, _RQUEUE]
        if load < desk.rep[best, _RUNNING] + desk.rep[best, _RQUEUE]:
            best = r
    if desk.rep[best, _RHEAD] < 0:
        desk.rep[best, _RHEAD] = slot
    else:
        desk.i[desk.rep[best, _RTAIL], _NEXT] = slot
    desk.rep[best, _RTAIL] = slot
    desk.rep[best, _RQUEUE] += 1
    if desk.rep[best, _STEPPING] == 0:
        _step(best, t, traffic, student, policy, teacher, desk, stats, rng)


@_cold
def _new_desk(teacher: Teacher) -> _Desk:
    places = teacher.pending_limit
    links = np.zeros((places, 9), dtype=np.int64)
    for k in range(places):
        links[k, _NEXT] = k + 1
    links[places - 1, _NEXT] = -1
    state = np.zeros(6, dtype=np.int64)
    state[_HEAD] = -1
    replicas = teacher.replicas if teacher.kind == CONTINUOUS else 1
    running = teacher.max_running if teacher.kind == CONTINUOUS else 1
    rep = np.zeros((replicas, 6), dtype=np.int64)
    rep[:, _RHEAD] = -1
    real = np.zeros(5)
    real[_CALLS_LEFT] = teacher.calls_burst
    real[_TOKENS_LEFT] = teacher.tokens_burst
    return _Desk(
        np.zeros((places, 4)), links, state, real,
        np.empty(places + replicas + 1), np.empty(places + replicas + 1, dtype=np.int64),
        rep, np.zeros((replicas, 2)),
        np.empty((replicas, running + 1)), np.empty((replicas, running + 1), dtype=np.int64),
    )  # fmt: skip


# --- the student -----------------------------------------------------------------------------


class _Fleet(NamedTuple):
    """Student replicas, the queue in front of them and what each is working on."""

    queue: Floats
    """(capacity, 4) ring: arrived, tokens, rank, output tokens."""
    batch: Floats
    """(replicas, max_batch, 4): the same, of the batch each replica runs."""
    size: Ints
    at: Floats
    who: Ints
    idle: Ints
    starting: Floats
    state: Ints
    real: Floats


_QHEAD, _QUEUED, _WORKING, _IDLE, _ON, _PRESENT_S, _COLD, _CALM = 0, 1, 2, 3, 4, 5, 6, 7
_LAST, _AREA_S, _WORK_SINCE_CHECK, _PAID_SINCE, _BUDGET_LEFT, _BUDGET_AT = 0, 1, 2, 3, 4, 5


@_cold
def _new_fleet(student: Student, start: float, budget: float) -> _Fleet:
    capacity = 1
    while capacity < student.queue_limit + 1:
        capacity *= 2
    most = student.max_replicas
    state = np.zeros(8, dtype=np.int64)
    idle = np.empty(most, dtype=np.int64)
    for k in range(student.replicas):
        idle[k] = student.replicas - 1 - k
    state[_IDLE] = state[_ON] = student.replicas
    real = np.zeros(6)
    real[_LAST] = real[_PAID_SINCE] = real[_BUDGET_AT] = start
    real[_BUDGET_LEFT] = budget
    return _Fleet(
        np.empty((capacity, 4)), np.empty((most, student.max_batch, 4)),
        np.zeros(most, dtype=np.int64), np.empty(most + 1), np.empty(most + 1, dtype=np.int64),
        idle, np.full(most, INF), state, real,
    )  # fmt: skip


@_hot
def _row(traffic: Traffic, t: float, rows: int) -> int:
    """Row of the timeline that a moment belongs to; -1 while warming up."""
    if t < traffic.count_from_s:
        return -1
    return min(int((t - traffic.count_from_s) / traffic.row_s), rows - 1)


@_hot
def _fleet_present(fleet: _Fleet, t: float, change: int) -> None:
    fleet.real[_AREA_S] += fleet.state[_PRESENT_S] * (t - fleet.real[_LAST])
    fleet.real[_LAST] = t
    fleet.state[_PRESENT_S] += change


@_hot
def _start_batch(
    t: float, traffic: Traffic, student: Student, policy: Policy, fleet: _Fleet, stats: Stats,
    rng: Any,
) -> None:  # fmt: skip
    """An idle replica takes what queued, oldest first, within the budgets of one batch."""
    state = fleet.state
    mask = fleet.queue.shape[0] - 1
    rep = fleet.idle[state[_IDLE] - 1]
    rows = stats.counts.shape[0]
    n, tokens, longest = 0, 0.0, 0.0
    while state[_QUEUED] > 0 and n < student.max_batch:
        item = fleet.queue[state[_QHEAD]]
        if t - item[0] >= policy.deadline_s:
            row = _row(traffic, item[0], rows)
            stats.little[L_STUDENT_SUM] += t - item[0]
            _fleet_present(fleet, t, -1)
            if row >= 0:
                stats.counts[row, DEADLINE] += 1
                stats.counts[row, REFUSED] += 1
        else:
            longest = max(longest, item[1])
            work = (n + 1) * longest if student.padded else tokens + item[1]
            if n > 0 and work > student.max_tokens:
                break
            tokens = work
            fleet.batch[rep, n, 0] = item[0]
            fleet.batch[rep, n, 1] = item[1]
            fleet.batch[rep, n, 2] = item[2]
            fleet.batch[rep, n, 3] = item[3]
            n += 1
            if item[0] >= traffic.count_from_s:
                _stage(stats, S_WAIT, t - item[0])
        state[_QHEAD] = (state[_QHEAD] + 1) & mask
        state[_QUEUED] -= 1
    if n == 0:
        return
    seconds = (student.fixed_s + student.per_request_s * n + student.per_token_s * tokens) * _noise(
        student.noise, student.sigma, student.noise_table, rng, R_STUDENT
    )
    row = _row(traffic, t, rows)
    if row >= 0:
        stats.sums[row, STUDENT_BUSY] += seconds
        stats.counts[row, BATCHES] += 1
    fleet.real[_WORK_SINCE_CHECK] += seconds
    fleet.size[rep] = n
    state[_IDLE] -= 1
    state[_WORKING] = _push(fleet.at, fleet.who, state[_WORKING], t + seconds, rep)


@_hot
def _within_budget(policy: Policy, fleet: _Fleet, t: float) -> bool:
    """Spend one escalation from the token bucket, or say no."""
    if policy.budget_per_s == INF:
        return True
    real = fleet.real
    left = real[_BUDGET_LEFT] + (t - real[_BUDGET_AT]) * policy.budget_per_s
    real[_BUDGET_LEFT] = min(policy.budget_burst, left)
    real[_BUDGET_AT] = t
    if real[_BUDGET_LEFT] < 1.0:
        return False
    real[_BUDGET_LEFT] -= 1.0
    return True


@_hot
def _end_batch(
    t: float, rep: int, traffic: Traffic, student: Student, policy: Policy, teacher: Teacher,
    fleet: _Fleet, desk: _Desk, stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """A batch is done: decide each of its requests."""
    n = fleet.size[rep]
    rows = stats.counts.shape[0]
    cells = policy.disagreement.size
    _fleet_present(fleet, t, -n)
    for k in range(n):
        arrived = fleet.batch[rep, k, 0]
        tokens = fleet.batch[rep, k, 1]
        rank = fleet.batch[rep, k, 2]
        output = fleet.batch[rep, k, 3]
        stay = t - arrived
        stats.little[L_STUDENT_SUM] += stay
        row = _row(traffic, arrived, rows)
        counted = row >= 0
        if counted:
            _stage(stats, S_STAY, stay)
        failed = student.failure_rate > 0.0 and _uniform(rng, R_STUDENT) < student.failure_rate
        confidence = _quantile(policy.confidence, rank)
        risk = policy.disagreement[int(rank * cells)]
        wrong = 1 if _uniform(rng, R_WRONG) < risk else 0
        code = decide(failed, confidence, policy.threshold, True)
        if code == KEEP:
            if counted:
                stats.counts[row, DISAGREED] += wrong
            _answer(stats, student, row, STUDENT, stay, rng)
            if policy.audit_rate > 0.0 and _uniform(rng, R_AUDIT) < policy.audit_rate:
                if counted:
                    stats.counts[row, AUDITS] += 1
                _ask(
                    t, arrived, tokens, output, row, wrong, False, True,
                    traffic, student, policy, teacher, desk, stats, rng,
                )  # fmt: skip
            continue
        if counted:
            stats.counts[row, WANTED] += 1
            stats.counts[row, WANTED_TOKENS] += int(tokens)
            if failed:
                stats.counts[row, STUDENT_FAILED] += 1
        code = decide(failed, confidence, policy.threshold, _within_budget(policy, fleet, t))
        if code == OUT_OF_BUDGET:
            _degrade(stats, student, policy, row, BUDGET, stay, wrong, failed, rng)
        else:
            _ask(
                t, arrived, tokens, output, row, wrong, failed, False,
                traffic, student, policy, teacher, desk, stats, rng,
            )  # fmt: skip


@_cold
def _pay(t: float, traffic: Traffic, fleet: _Fleet, stats: Stats) -> None:
    """Book the replica-seconds that were switched on since the last booking."""
    since = max(fleet.real[_PAID_SINCE], traffic.count_from_s)
    if t > since:
        row = _row(traffic, since, stats.sums.shape[0])
        stats.sums[row, STUDENT_PAID] += (fleet.state[_ON]) * (t - since)
    fleet.real[_PAID_SINCE] = t


@_cold
def _rescale(t: float, traffic: Traffic, student: Student, fleet: _Fleet, stats: Stats) -> None:
    """Autoscale as a horizontal autoscaler does: replicas x utilisation / target, with patience."""
    _pay(t, traffic, fleet, stats)
    state = fleet.state
    ready = state[_ON] - state[_COLD]
    used = fleet.real[_WORK_SINCE_CHECK] / (student.check_s * max(1, ready))
    if state[_QUEUED] > student.max_batch:
        used = max(used, 2.0 * student.target)
    fleet.real[_WORK_SINCE_CHECK] = 0.0
    wanted = int(math.ceil(ready * used / student.target - 1e-9))
    wanted = min(max(wanted, student.min_replicas), student.max_replicas)
    if wanted > state[_ON]:
        state[_CALM] = 0
        for rep in range(student.max_replicas):
            if state[_ON] < wanted and fleet.starting[rep] == INF and fleet.size[rep] == -1:
                fleet.starting[rep] = t + student.start_delay_s
                state[_ON] += 1
                state[_COLD] += 1
    elif wanted < state[_ON]:
        state[_CALM] += 1
        if state[_CALM] >= student.calm_checks:
            while state[_ON] > wanted and state[_IDLE] > 0:
                rep = fleet.idle[0]
                for k in range(state[_IDLE] - 1):
                    fleet.idle[k] = fleet.idle[k + 1]
                state[_IDLE] -= 1
                state[_ON] -= 1
                fleet.size[rep] = -1
    else:
        state[_CALM] = 0


@_hot
def _arrive(
    t: float, walk: Floats, traffic: Traffic, student: Student, policy: Policy, fleet: _Fleet,
    stats: Stats, rng: Any,
) -> None:  # fmt: skip
    """A request: draw what it is, and queue it or turn it away."""
    state = fleet.state
    u, tokens, output = _lengths(traffic, walk, rng)
    rank = _uniform(rng, R_RANK)
    # rank mixing: with probability rho the longest is the least sure, else independent;
    # both marginals stay exact and Spearman's correlation of length and unsureness is rho
    if policy.length_correlation != 0.0:
        mixed = _uniform(rng, R_MIX) < abs(policy.length_correlation)
        if mixed:
            rank = 1.0 - u if policy.length_correlation > 0.0 else u
    rank = min(rank / _hardness(traffic, walk, t, rng), 1.0 - 1e-12)
    row = _row(traffic, t, stats.counts.shape[0])
    if row >= 0:
        stats.counts[row, REQUESTS] += 1
        stats.counts[row, STUDENT_TOKENS] += int(tokens)
    if state[_QUEUED] >= student.queue_limit:
        if row >= 0:
            stats.counts[row, QUEUE_FULL] += 1
            stats.counts[row, REFUSED] += 1
        return
    _fleet_present(fleet, t, 1)
    item = fleet.queue[(state[_QHEAD] + state[_QUEUED]) & (fleet.queue.shape[0] - 1)]
    item[0] = t
    item[1] = tokens
    item[2] = rank
    item[3] = output
    state[_QUEUED] += 1


# --- the loop --------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def run(
    traffic: Traffic, student: Student, policy: Policy, teacher: Teacher, rng: Any,
    stats: Stats, progress: Ints,
) -> None:  # fmt: skip
    """Run to the last arrival and then until everyone has left.

    Args:
        traffic: see `Traffic`; the other three likewise.
        student: the fleet.
        policy: the decision.
        teacher: the teacher.
        rng: shape (STREAMS,) uint64 counters, changed in place.
        stats: zeroed arrays, filled in place.
        progress: shape (2,): arrivals so far; the run stops early when [1] is set.
    """
    fleet = _new_fleet(student, traffic.start_s, policy.budget_burst)
    fleet.size[student.replicas :] = -1
    desk = _new_desk(teacher)
    desk.real[_SEEN] = desk.real[_FILLED_AT] = traffic.start_s
    walk = start_walk(traffic, rng)
    state = fleet.state
    arrival = _next_arrival(traffic, walk, rng)
    check = traffic.start_s + student.check_s
    seen = 0
    while arrival < INF or state[_WORKING] > 0:
        done = fleet.at[0] if state[_WORKING] > 0 else INF
        if check <= arrival and check <= done:
            for rep in range(student.max_replicas):
                if fleet.starting[rep] <= check:
                    fleet.starting[rep] = INF
                    fleet.size[rep] = 0
                    fleet.idle[state[_IDLE]] = rep
                    state[_IDLE] += 1
                    state[_COLD] -= 1
            _rescale(check, traffic, student, fleet, stats)
            while state[_QUEUED] > 0 and state[_IDLE] > 0:
                _start_batch(check, traffic, student, policy, fleet, stats, rng)
            check = check + student.check_s if arrival < INF else INF
        elif arrival <= done:
            _arrive(arrival, walk, traffic, student, policy, fleet, stats, rng)
            if state[_IDLE] > 0 and state[_QUEUED] > 0:
                _start_batch(arrival, traffic, student, policy, fleet, stats, rng)
            stats.little[LAST_EVENT] = arrival
            arrival = _next_arrival(traffic, walk, rng)
            seen += 1
            if seen & 0xFFFF == 0:
                progress[0] = seen
                if progress[1] != 0:
                    arrival = INF
        else:
            rep = fleet.who[0]
            state[_WORKING] = _pop(fleet.at, fleet.who, state[_WORKING])
            _end_batch(done, rep, traffic, student, policy, teacher, fleet, desk, stats, rng)
            fleet.size[rep] = 0
            fleet.idle[state[_IDLE]] = rep
            state[_IDLE] += 1
            if state[_QUEUED] > 0:
                _start_batch(done, traffic, student, policy, fleet, stats, rng)
    _pay(traffic.until_s, traffic, fleet, stats)
    _advance(INF, traffic, student, policy, teacher, desk, stats, rng)
    stats.little[L_STUDENT_AREA] = fleet.real[_AREA_S]
    stats.little[L_TEACHER_AREA] = desk.real[_AREA]
    progress[0] = seen
