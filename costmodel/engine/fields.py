"""A scenario as the kernel takes it: named scalars and tables."""

from __future__ import annotations

import math

import numpy as np

from costmodel.engine.dollars import dollars_of
from costmodel.errors import BadScenario
from costmodel.inputs.fleet import Interruptions, Noise
from costmodel.inputs.scenario import ApiTeacher, HostedTeacher, Quality, Scenario
from costmodel.kernel import layout
from costmodel.kernel.layout import Floats

Fields = dict[str, float | Floats]
"""Named scalars and tables for `layout.tell`."""
CURVE = 1024
"""Cells of the confidence curve."""
_OPEN = float("inf")
_NOISES = {
    "constant": layout.CONSTANT,
    "exponential": layout.EXPONENTIAL,
    "lognormal": layout.LOGNORMAL,
    "measured": layout.TABLE,
}


def _noise(noise: Noise) -> tuple[int, float, Floats]:
    if noise.kind == "measured":
        table = np.asarray(noise.quantiles, dtype=np.float64)
        cells = (table[1:] + table[:-1]) / 2 if table.size > 1 else table
        return layout.TABLE, 0.0, table / cells.mean()
    return _NOISES[noise.kind], math.sqrt(math.log1p(noise.cv**2)), np.ones(1)


def student_of(scenario: Scenario) -> Fields:
    """The fleet as the kernel takes it."""
    fleet, scale = scenario.student, scenario.student.autoscaling
    kind, sigma, table = _noise(fleet.noise)
    most = scale.max_replicas if scale else fleet.replicas
    least = scale.min_replicas if scale else fleet.replicas
    return {
        "fixed_s": fleet.fixed_s,
        "per_request_s": fleet.per_request_s,
        "per_token_s": fleet.per_token_s,
        "student_noise": kind,
        "student_sigma": sigma,
        "student_noise_table": table,
        "max_batch": fleet.max_batch,
        "max_batch_tokens": fleet.max_batch_tokens,
        "padded": fleet.padded,
        "queue_limit": fleet.queue_limit,
        "student_failure_rate": fleet.failure_rate,
        "fleet": min(max(fleet.replicas, least), most),
        "min_replicas": least,
        "max_replicas": most,
        "check_s": scale.check_s if scale else _OPEN,
        "target": scale.target_utilisation if scale else 1.0,
        "start_delay_s": scale.start_delay_s if scale else 0.0,
        "calm_checks": scale.calm_checks if scale else 1,
        **_taken_away("replica", fleet.interruptions),
        "overhead": np.asarray(fleet.overhead_s, dtype=np.float64),
    }


def _taken_away(who: str, often: Interruptions | None) -> Fields:
    up_s, down_s = (often.hours_between * 3600.0, often.back_after_s) if often else (_OPEN, _OPEN)
    return {f"{who}_up_s": up_s, f"{who}_down_s": down_s}


def _engines_of(hosted: HostedTeacher) -> Fields:
    """How many engines there are, and how their number follows load."""
    scale = hosted.autoscaling
    most = scale.max_replicas if scale else hosted.replicas
    least = scale.min_replicas if scale else hosted.replicas
    return {
        "engines": min(max(hosted.replicas, least), most),
        "engines_most": most,
        "engines_least": least,
        "engine_check_s": scale.check_s if scale else _OPEN,
        "engine_wanted_load": scale.target_utilisation * hosted.max_running if scale else 1.0,
        "engine_start_s": scale.start_delay_s if scale else 0.0,
        "engine_calm_checks": scale.calm_checks if scale else 1,
        **_taken_away("engine", hosted.interruptions),
    }


def confidence_curve(quality: Quality) -> tuple[Floats, Floats]:
    """Confidence at evenly spaced ranks (CURVE + 1,) and local disagreement by cell (CURVE,).

    A row (threshold, coverage, risk) says: at rank 1 - coverage the confidence is the threshold,
    and coverage x risk of all traffic is kept and wrong. Between rows: straight lines.
    """
    grid = np.linspace(0, 1, CURVE + 1)
    rows = sorted(quality.risk_coverage)
    threshold = np.array([0.0, *(t for t, _, _ in rows), 1.0])
    rank = np.array([0.0, *(1 - c for _, c, _ in rows), 1.0])
    wrong = np.array([rows[0][1] * rows[0][2], *(c * r for _, c, r in rows), 0.0])
    confidence = np.interp(grid, rank, threshold)
    mass = np.interp(grid, rank, wrong)
    return confidence, np.clip(-np.diff(mass) * CURVE, 0.0, 1.0)


def policy_of(scenario: Scenario) -> Fields:
    """The rule as the kernel takes it."""
    policy, quality = scenario.policy, scenario.quality
    if quality.risk_coverage:
        confidence, wrong = confidence_curve(quality)
        threshold = policy.threshold
        if threshold is None:
            assert policy.escalation_rate is not None
            threshold = float(
                np.interp(policy.escalation_rate, np.linspace(0, 1, CURVE + 1), confidence)
            )
    else:
        assert policy.escalation_rate is not None
        confidence, threshold = np.array([0.0, 1.0]), policy.escalation_rate
        unsure = np.arange(CURVE) < round(threshold * CURVE)
        wrong = np.where(unsure, quality.unsure_disagreement, quality.kept_disagreement)
    # a rate of 1 means everything, also a confidence of exactly 1
    if policy.escalation_rate == 1.0:
        threshold = _OPEN
    return {
        "threshold": threshold,
        "confidence": confidence,
        "disagreement": wrong,
        "length_correlation": quality.length_correlation,
        "audit_rate": policy.audit_rate,
        "budget_per_s": policy.budget_per_s or _OPEN,
        "budget_burst": (policy.budget_per_s or 0.0) * policy.budget_burst_s,
        **dollars_of(scenario),
        "deadline_s": policy.deadline_s,
        "teacher_timeout_s": scenario.teacher.timeout_s,
        "degrade": policy.on_failure == "student",
    }


def teacher_of(scenario: Scenario) -> Fields:
    """The teacher as the kernel takes it."""
    teacher = scenario.teacher
    kind, sigma, table = _noise(teacher.noise)
    api = teacher if isinstance(teacher, ApiTeacher) else ApiTeacher(asking=None)
    hosted = teacher if isinstance(teacher, HostedTeacher) else HostedTeacher()
    calls = api.calls_per_minute / 60 if api.calls_per_minute else _OPEN
    tokens = api.tokens_per_minute / 60 if api.tokens_per_minute else _OPEN
    longest = float(scenario.workload.tokens.table()[-1]) * teacher.tokens_per_student_token
    longest += teacher.prompt_tokens + float(teacher.output_tokens.table()[-1])
    if tokens * api.limit_burst_s < longest:
        raise BadScenario(
            f"{scenario.name}: teacher.tokens_per_minute {api.tokens_per_minute:g} with a burst of "
            f"{api.limit_burst_s:g} s never admits the longest call of {longest:.0f} tokens; "
            "raise either"
        )
    return {
        "teacher_kind": layout.SLOTS if teacher.kind == "api" else layout.CONTINUOUS,
        "base_s": api.latency_s,
        "per_input_s": api.per_input_token_s,
        "per_output_s": api.per_output_token_s,
        "teacher_noise": kind,
        "teacher_sigma": sigma,
        "teacher_noise_table": table,
        "prompt_tokens": teacher.prompt_tokens,
        "token_ratio": teacher.tokens_per_student_token,
        "calls_per_s": calls,
        "calls_burst": max(1.0, calls * api.limit_burst_s),
        "tokens_per_s": tokens,
        "tokens_burst": tokens * api.limit_burst_s,
        "teacher_failure_rate": api.failure_rate,
        "reject_s": api.reject_s,
        "max_attempts": teacher.max_attempts,
        "max_wait_s": teacher.max_wait_s or _OPEN,
        "retry_after_s": -1.0 if api.retry_after_s is None else api.retry_after_s,
        **asking_of(teacher),
        "pending_limit": teacher.pending_limit,
        **_engines_of(hosted),
        "max_running": hosted.max_running,
        "kv_blocks": int(hosted.kv_tokens // hosted.block_tokens),
        "block_tokens": hosted.block_tokens,
        "prefix_tokens": _whole_blocks(hosted) if teacher is hosted else 0,
        "abort": hosted.abort_on_leave,
        "ahead": hosted.plans_ahead,
        "step_s": hosted.step_s,
        "step_per_request_s": hosted.step_per_request_s,
        "step_per_context_s": hosted.step_per_context_token_s,
        "step_per_prefill_s": hosted.step_per_prefill_token_s,
        "step_tokens": int(min(hosted.prefill_tokens_per_step, 2**40)),
    }


def _whole_blocks(hosted: HostedTeacher) -> int:
    """Tokens of the beginning that all prompts share and that a prefix cache can hold."""
    if not hosted.prefix_cache:
        return 0
    return int(hosted.cached_prompt_tokens // hosted.block_tokens) * hosted.block_tokens


def asking_of(teacher: ApiTeacher | HostedTeacher) -> Fields:
    """The router's guard as the kernel takes it; plain servers are guarded by nothing."""
    rules, slots = teacher.asking, teacher.max_concurrency
    if rules is None:
        slots = slots if teacher.kind == "api" else teacher.pending_limit
        return {
            "slots": slots,
            "throttle_window_s": 1.0, "throttle_least": 2**62, "retry_reserve": _OPEN,
            "retry_most": _OPEN, "slow_s": _OPEN, "limit_backoff": 1.0, "least_slots": slots,
            "audits_most": teacher.pending_limit,
        }  # fmt: skip
    return {
        "slots": slots,
        "few_wait": 1,
        "hedge": rules.hedge,
        "retry_jitter_s": rules.retry_jitter_s,
        "retry_ratio": rules.retry_ratio,
        "retry_reserve": rules.retry_reserve,
        "retry_most": rules.retry_most,
        "throttle_k": rules.throttle_k,
        "throttle_window_s": rules.throttle_window_s,
        "throttle_least": rules.throttle_least,
        "throttle_most": rules.throttle_most,
        "slow_s": rules.slow_share * teacher.timeout_s,
        "limit_backoff": rules.limit_backoff,
        "least_slots": max(1, slots // rules.least_slots_of),
        "retry_after_most_s": rules.retry_after_most_s,
        "audits_most": max(1, slots // rules.audits_of),
    }
