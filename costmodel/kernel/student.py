"""The student's side: a bounded queue, batches, and what is decided when a batch is done."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np

from costmodel.kernel.arrivals import hardness, lengths
from costmodel.kernel.calls import NO_BUDGET, turn_away
from costmodel.kernel.chance import noise, quantile_at, table, uniform
from costmodel.kernel.compiled import inlined, record_of
from costmodel.kernel.decision import KEEP, OUT_OF_BUDGET, decide
from costmodel.kernel.events import schedule
from costmodel.kernel.layout import (
    R_AUDIT,
    R_MIX,
    R_OVERHEAD,
    R_RANK,
    R_STUDENT,
    R_WRONG,
    REPLICA,
    REQUEST,
    S_STAY,
    S_WAIT,
    STUDENT,
)
from costmodel.kernel.tally import (
    count_latency,
    count_stage,
    here,
    meter_student,
    row_at,
    row_of,
)
from costmodel.kernel.teachers.teacher import affords, ask, audit

INF = np.inf
request_at = record_of(REQUEST)
replica_at = record_of(REPLICA)


@inlined
def arrive(t: float, p: Any, x: Any) -> None:
    """A request: draw what it is, and queue it or turn it away."""
    u, tokens, output = lengths(p, x)
    rank = uniform(x, R_RANK)
    # rank mixing: with probability rho the longest is the least sure, else independent;
    # both marginals stay exact and Spearman's correlation of length and unsureness is rho
    if p.length_correlation != 0.0 and uniform(x, R_MIX) < abs(p.length_correlation):
        rank = 1.0 - u if p.length_correlation > 0.0 else u
    rank = min(rank / hardness(t, p, x), 1.0 - 1e-12)
    row = row_of(t, p, x)
    r = row_at(x.rows, row)
    r.requests += 1
    r.student_tokens += int(tokens)
    if x.queued >= p.queue_limit:
        r.queue_full += 1
        r.refused += 1
        return
    here(t, 1, x)
    item = request_at(x.queue, (x.head + x.queued) & x.queue_mask)
    item.arrived, item.tokens, item.rank, item.output, item.row = t, tokens, rank, output, row
    x.queued += 1


@inlined
def start_batch(t: float, p: Any, x: Any) -> None:
    """An idle replica takes what queued, oldest first, within the budgets of one batch."""
    replica = replica_at(x.replicas, x.idle - 1).idle
    n, tokens, longest = 0, 0.0, 0.0
    while x.queued > 0 and n < p.max_batch:
        item = request_at(x.queue, x.head)
        wait = t - item.arrived
        row = item.row
        r = row_at(x.rows, row)
        if wait >= p.deadline_s:
            x.student_sum += wait
            here(t, -1, x)
            r.deadline += 1
            r.refused += 1
        else:
            longest = max(longest, item.tokens)
            work = (n + 1) * longest if p.padded == 1 else tokens + item.tokens
            if n > 0 and work > p.max_batch_tokens:
                break
            tokens = work
            place = request_at(x.batch, replica * p.max_batch + n)
            place.arrived, place.tokens = item.arrived, item.tokens
            place.rank, place.output, place.row = item.rank, item.output, row
            n += 1
            r.in_student_wait_s += wait
            count_stage(x, row, S_WAIT, wait)
        x.head = (x.head + 1) & x.queue_mask
        x.queued -= 1
    if n == 0:
        return
    seconds = (p.fixed_s + p.per_request_s * n + p.per_token_s * tokens) * noise(
        p.student_noise, p.student_sigma, p.student_noise_table_at, p.student_noise_table_n, x,
        R_STUDENT,
    )  # fmt: skip
    meter_student(t, p, x)
    row_at(x.rows, x.student_meter.row).batches += 1
    replica_at(x.replicas, replica).size = n
    x.idle -= 1
    x.working = schedule(x, x.done, x.working, t, t + seconds, replica)


@inlined
def _keep(t: float, request: Any, wrong: int, p: Any, x: Any) -> None:
    """The student's answer goes out; some are audited in shadow."""
    row = request.row
    r = row_at(x.rows, row)
    r.student += 1
    r.disagreements += wrong
    seconds = t - request.arrived
    if p.overhead_n > 1:
        seconds += quantile_at(x, p.overhead_at, p.overhead_n, uniform(x, R_OVERHEAD))
    r.student_s += seconds
    count_latency(x, row, STUDENT, seconds)
    if p.audit_rate > 0.0 and uniform(x, R_AUDIT) < p.audit_rate:
        r.audits += 1
        audit(t, request, p, x)


@inlined
def end_batch(t: float, replica: int, p: Any, x: Any) -> None:
    """A batch is done: decide each of its requests, and the replica is idle again."""
    n = replica_at(x.replicas, replica).size
    here(t, -n, x)
    for k in range(n):
        request = request_at(x.batch, replica * p.max_batch + k)
        stay = t - request.arrived
        row = request.row
        r = row_at(x.rows, row)
        x.student_sum += stay
        r.in_student_s += stay
        count_stage(x, row, S_STAY, stay)
        failed = False
        if p.student_failure_rate > 0.0:
            failed = uniform(x, R_STUDENT) < p.student_failure_rate
        confidence = quantile_at(x, p.confidence_at, p.confidence_n, request.rank)
        risk = table(x, p.disagreement_at + int(request.rank * p.disagreement_n))
        wrong = 1 if uniform(x, R_WRONG) < risk else 0
        if decide(failed, confidence, p.threshold, True) == KEEP:
            _keep(t, request, wrong, p, x)
            continue
        bare = 1 if failed else 0
        r.wanted_teacher += 1
        r.wanted_tokens += int(request.tokens)
        r.student_failed += bare
        request.doubt = 1.0 if failed else 1.0 - confidence
        affords_it = affords(t, request.doubt, p, x)
        if decide(failed, confidence, p.threshold, affords_it) == OUT_OF_BUDGET:
            turn_away(request, t, NO_BUDGET, wrong, bare, p, x)
        else:
            ask(t, request, wrong, bare, p, x)
    put_idle(replica, x)


@inlined
def put_idle(replica: int, x: Any) -> None:
    """A replica waits for work."""
    replica_at(x.replicas, replica).size = 0
    replica_at(x.replicas, x.idle).idle = replica
    x.idle += 1
