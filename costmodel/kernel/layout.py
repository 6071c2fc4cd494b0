"""The records a run is told, keeps and tells; plain numpy, without the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Records = npt.NDArray[np.void]

# --- what a run is told ----------------------------------------------------------------------

EVERY_GAP, POISSON, GAMMA, REPLAY = 0, 1, 2, 3
CONSTANT, EXPONENTIAL, LOGNORMAL, TABLE = 0, 1, 2, 3
SLOTS, CONTINUOUS = 0, 1

TAIL_FROM, TAIL_LOWEST, TAIL_STEPS = 64, 53, 16
"""The longest 1 of 64 have a table of their own, up to 1 - 2^-53, the highest rank drawn."""
TABLES = (
    "rate",  # mean arrivals per second in each window
    "hardness",  # factor on the share of unsure requests, by window
    "bursts",  # rate factor calm, in a burst; mean seconds calm, of a burst
    "spells",  # the same for hardness
    "replay",  # trace rows: gap in mean gaps, tokens, output tokens, rank of length
    "tokens",  # quantiles of student tokens; every table of quantiles is evenly spaced in rank
    "tokens_tail",  # the longest, by distance from rank 1: see `chance.length_at`
    "output",  # quantiles of the teacher's output tokens
    "output_tail",
    "student_noise_table",
    "overhead",  # quantiles of the seconds around the student that occupy no replica
    "confidence",  # quantiles of confidence, least sure first
    "disagreement",  # chance that a kept answer differs from the teacher's, by cell of rank
    "teacher_noise_table",
    "prices",  # by size of the call: above so many input tokens, USD a call, a token read, written
)
_WHOLE = (
    "gap_kind", "student_noise", "max_batch", "padded", "queue_limit", "fleet", "min_replicas",
    "max_replicas", "calm_checks", "degrade", "teacher_kind", "slots", "teacher_noise",
    "max_attempts", "pending_limit", "engines", "max_running", "abort", "ahead", "throttle_least",
    "least_slots", "audits_most", "few_wait", "kv_blocks", "block_tokens", "prefix_tokens",
    "step_tokens", "hedge", "engines_most", "engines_least", "engine_calm_checks",
)  # fmt: skip
_REAL = (
    # traffic
    "window_s", "gap_shape", "start_s", "count_from_s", "until_s", "row_s",
    # student
    "fixed_s", "per_request_s", "per_token_s", "student_sigma", "max_batch_tokens",
    "student_failure_rate", "check_s", "target", "start_delay_s",
    # policy
    "threshold", "length_correlation", "audit_rate", "budget_per_s", "budget_burst", "deadline_s",
    "teacher_timeout_s", "usd_per_s", "usd_burst", "audit_usd_per_s", "audit_usd_burst",
    # machines that are taken away: mean seconds until then, seconds until they are back
    "replica_up_s", "replica_down_s", "engine_up_s", "engine_down_s",
    # teacher
    "engine_check_s", "engine_wanted_load", "engine_start_s",
    "base_s", "per_input_s", "per_output_s", "teacher_sigma", "prompt_tokens", "token_ratio",
    "calls_per_s", "calls_burst", "tokens_per_s", "tokens_burst", "teacher_failure_rate",
    "reject_s", "retry_after_s", "max_wait_s", "step_s", "step_per_request_s",
    "step_per_context_s", "step_per_prefill_s",
    # the router's guard
    "retry_jitter_s", "retry_ratio", "retry_reserve", "retry_most", "throttle_k",
    "throttle_window_s", "throttle_most", "slow_s", "limit_backoff", "retry_after_most_s",
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
    "breaker_open", "retry_budget", "teacher_rejected",
    "teacher_calls", "calls_failed", "calls_cancelled", "calls_throttled",
    "input_tokens", "output_tokens", "audit_calls", "audit_input_tokens", "audit_output_tokens",
    "batches", "student_tokens", "wanted_tokens", "student_failed", "preemptions", "prefix_tokens",
    "taken_away", "lost_with_machine",
    "lost_calls", "lost_input_tokens", "lost_output_tokens",
)  # fmt: skip
"""Whole columns of a row. Token columns count every billed attempt, audits in their own; what of
it bought no answer, as it failed or was cancelled, is counted once more as lost, audits apart."""
SUMS = (
    "student_busy_s", "student_paid_s", "teacher_busy_s", "teacher_paid_s", "student_s",
    "teacher_s", "degraded_s",
    "in_student_wait_s", "in_student_s", "in_teacher_wait_s", "in_teacher_s",
    "in_first_token_s", "in_token_gap_s",
)  # fmt: skip
"""Columns of seconds: capacity up to the horizon, in the row in which it was busy or paid;
end-to-end latency summed by route; time in each stage summed."""
ROW = np.dtype([(name, "i8") for name in COUNTS] + [(name, "f8") for name in SUMS])

STUDENT, TEACHER, DEGRADED = 0, 1, 2
STAGES = ("student_wait", "student", "teacher_wait", "teacher", "first_token", "token_gap")
"""The last two of a hosted teacher: from the call to its first token, and between two tokens."""
S_WAIT, S_STAY, T_WAIT, T_STAY, T_FIRST, T_GAP = range(6)

SUB_BITS = 7
"""128 bins per factor of two: a quantile is read within 1/256 = 0.4 % of its value."""
LOWEST_EXPONENT = -30
OCTAVES = 48
BINS = 1 + OCTAVES * 2**SUB_BITS


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
    log: Records
    """(L,) of `LOG`: the first L that the teacher was wanted for."""


def new_stats(rows: int, log: int = 0) -> Stats:
    """Zeroed arrays for a timeline of so many rows, and a log of so many requests."""
    return Stats(
        np.zeros(rows + 1, ROW),
        np.zeros((rows + 1, 3, BINS), np.int32),
        np.zeros((2, len(STAGES), BINS), np.int64),
        np.zeros(1, STATE),
        np.zeros(log, LOG),
    )


# --- what a run keeps ------------------------------------------------------------------------

VALUE, COUNTER = np.dtype([("it", "f8")]), np.dtype([("n", "u8")])
BIN32, BIN64 = np.dtype([("n", "i4")]), np.dtype([("n", "i8")])
REQUEST = np.dtype(
    [
        ("arrived", "f8"), ("tokens", "f8"), ("rank", "f8"), ("output", "f8"), ("row", "i8"),
        ("doubt", "f8"),
    ]
)  # fmt: skip
EVENT = np.dtype([("at", "f8"), ("who", "i8")])
REPLICA = np.dtype([("size", "i8"), ("starting", "f8"), ("idle", "i8"), ("until", "f8")])
"""Size of its batch (-1 while it is off, -2 taken away), when it will be there; `idle` is the
stack's place; until when it stays, or stays away."""
CALL = np.dtype(
    [
        ("arrived", "f8"), ("offered", "f8"), ("deadline", "f8"), ("joined", "f8"),
        ("read", "i8"), ("written", "i8"), ("tries", "i8"), ("status", "i8"),
        ("audit", "i8"), ("wrong", "i8"), ("bare", "i8"), ("row", "i8"), ("next", "i8"),
        ("computed", "i8"), ("generated", "i8"), ("chunk", "i8"), ("blocks", "i8"),
        ("shared", "i8"), ("started", "i8"), ("first_token", "f8"), ("last_token", "f8"),
        # of a hedged call: its second attempt, and of that one: whose it is; -1 for none
        ("child", "i8"), ("parent", "i8"), ("hedged", "i8"), ("stranded", "i8"),
        ("began", "f8"), ("doubt", "f8"), ("billed", "i8"), ("billed_read", "i8"),
        ("billed_written", "i8"),
        # hosted: in which engine (1, …; 0: in none), whether it is computed for nobody, whether the
        # router has let its place go, and which of those that had the place in turn
        ("engine", "i8"), ("dropped", "i8"), ("done", "i8"), ("turn", "i8"),
    ]
)  # fmt: skip
SENT = np.dtype([("slot", "i8"), ("asked", "i8"), ("accepted", "i8")])
"""Calls within one of the WINDOW parts of the throttle's window."""
WINDOW = 10
WANTED = np.dtype([("at", "f8"), ("value", "f8"), ("ordered", "f8")])
"""The last WANTED_MOST escalations and their values; and these in order."""
WANTED_MOST = 512
RECENT_MOST = 100
"""Times of answers that tell what is slow; laid out as WANTED."""
LOG = np.dtype(
    [
        ("arrived", "f8"), ("left", "f8"), ("status", "i8"), ("tries", "i8"), ("read", "i8"),
        ("written", "i8"), ("audit", "i8"), ("value", "f8"), ("first_token", "f8"),
    ]
)  # fmt: skip
"""One request that the teacher was wanted for: what became of it, tokens billed, its doubt."""
OFF, UP, STARTING, AWAY = range(4)
"""An engine: not wanted, answering, paid and not there yet, taken away."""
ENGINE = np.dtype(
    [
        ("running", "i8"), ("first", "i8"), ("last", "i8"), ("queued", "i8"), ("stepping", "i8"),
        ("free", "i8"), ("warm", "i8"), ("order", "i8"),
        # calls that somebody waits for, and those to be thrown out at the next step
        ("load", "i8"), ("dropped", "i8"),
        # whether it is there, until when, and how often it came
        ("state", "i8"), ("until", "f8"), ("turn", "i8"),
        # of the step that runs
        ("budget", "i8"), ("prefill", "i8"), ("decoding", "i8"), ("context", "i8"), ("began", "f8"),
    ]
)  # fmt: skip
MANY = ("tables", "rng", "queue", "batch", "replicas", "done", "calls", "events", "engines",
        "rows", "latency", "stages", "sent", "wanted",
        "recent", "log")  # fmt: skip
"""What there is many of: the state holds the address of each."""
METER = np.dtype([("at", "f8"), ("row", "i8"), ("row_end", "f8")])
"""Up to where the busy seconds of one side are booked."""
STATE = np.dtype(
    [(name, "i8") for name in MANY]
    + [
        ("last_row", "i8"), ("queue_mask", "i8"), ("places", "i8"),
        # arrivals
        ("clock", "f8"), ("window", "i8"), ("bursting", "i8"), ("burst_end", "f8"),
        ("trace_row", "i8"), ("spell", "i8"), ("spell_end", "f8"),
        # fleet
        ("head", "i8"), ("queued", "i8"), ("working", "i8"), ("idle", "i8"), ("on", "i8"),
        ("cold", "i8"), ("calm", "i8"), ("work_s", "f8"), ("student_meter", METER),
        ("next_change", "f8"),
        ("budget_left", "f8"), ("budget_at", "f8"), ("wanted_n", "i8"), ("wanted_next", "i8"),
        ("usd_left", "f8"), ("usd_at", "f8"), ("usd_per_call", "f8"),
        ("audit_usd_left", "f8"), ("audit_usd_at", "f8"),
        # teacher; audits queue behind everybody else, in a line of their own
        ("free", "i8"), ("first", "i8"), ("last", "i8"), ("pending", "i8"), ("waiting", "i8"),
        ("shadow_first", "i8"), ("shadow_last", "i8"), ("shadows", "i8"), ("auditing", "i8"),
        ("offered", "i8"), ("reminders_most", "i8"), ("ended_first", "i8"), ("ended_last", "i8"),
        # slots of the router in use; slots or engines that are busy
        ("taken", "i8"), ("busy", "i8"), ("teacher_meter", METER),
        ("rented", "i8"), ("engines_calm", "i8"), ("area_at_check", "f8"),
        ("calls_left", "f8"), ("tokens_left", "f8"), ("filled_at", "f8"),
        # the router's guard
        ("slots", "f8"), ("retries", "f8"), ("closed_until", "f8"), ("usual_s", "f8"),
        ("answers", "i8"), ("recent_n", "i8"), ("recent_next", "i8"),
        ("log_n", "i8"), ("logged", "i8"),
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

# --- random streams --------------------------------------------------------------------------

STREAMS = 15
(
    R_GAP, R_BURST, R_LENGTH, R_MIX, R_RANK, R_SPELL, R_OUTPUT,
    R_STUDENT, R_WRONG, R_AUDIT, R_TEACHER, R_FAIL, R_OVERHEAD, R_GUARD,
    R_OUTAGE,
) = range(STREAMS)  # fmt: skip


def streams(seed: int) -> npt.NDArray[np.uint64]:
    """Counters of the random streams of one seed, shape (STREAMS,)."""
    return np.asarray(np.random.SeedSequence(seed).generate_state(STREAMS, np.uint64), np.uint64)
