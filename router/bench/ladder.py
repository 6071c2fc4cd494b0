"""How the ladder does over whole lives: false alarms, delays, drift and drift back.

Every life is a bundle's traffic with a known truth, watched by `router.promise.ladder` (here
compiled, `router.bench.lives`). Beside the product stand the two usual ways: an alarm that is
final, and a climb to the lowest rung that is not rejected.
"""

from __future__ import annotations

import json
import platform
import time

import click
import numba
import numpy as np

from router.bench.lives import (
    LADDER,
    LATCH,
    PHASES,
    UNREJECTED,
    Floats,
    errors_of,
    live,
)

ALPHA, BUDGET = 0.05, 0.05
COIN = 0.01
COVERAGE, RUNGS = 0.9, 8
FALL = 0.8
"""Errors of a rung, of those of the rung below."""
REQUESTS = 1_000_000
DRIFT = (300_000.0, 600_000.0, float(REQUESTS))
"""As certified, drifted, back."""
GOOD_RATE, GOOD_AUDITS = 0.03, 5_000
RATES = (0.065, 0.08, 0.10, 0.15)
DRIFTS = (0.08, 0.10, 0.15, 0.30)
PATIENCE = 40_000
"""Audits that a delay is waited for."""
POLICIES = {"ladder": LADDER, "alarm is final": LATCH, "lowest not rejected": UNREJECTED}
SHARES = np.full(RUNGS, COVERAGE / RUNGS)

Row = dict[str, float | str | None]


def simulate(lives: int, seed: int = 0) -> dict[str, object]:
    """Measure false alarms at exactly alpha, delays above it, and drift in both directions."""
    started = time.perf_counter()
    false = float(
        (_lives((ALPHA,) * 3, DRIFT, lives, seed)["false_alarms"] > 0).mean(),
    )
    noise = 3 * float(np.sqrt(BUDGET * (1 - BUDGET) / lives))
    return {
        "alpha": ALPHA,
        "lives": lives,
        "requests": REQUESTS,
        "coin": COIN,
        "false_alarms": false,
        "false_alarm_excess": false - BUDGET - noise,
        "delays": [_delay(rate, lives, seed) for rate in RATES],
        "drifts": [
            _drift(rate, name, policy, lives, seed)
            for rate in DRIFTS
            for name, policy in POLICIES.items()
        ],
        "seconds": time.perf_counter() - started,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
        },
    }


def _lives(
    rates: tuple[float, ...],
    ends: tuple[float, ...],
    lives: int,
    seed: int,
    policy: int = LADDER,
    coin: float = COIN,
) -> dict[str, Floats]:
    errors = np.array([errors_of(rate, SHARES, FALL) for rate in rates])
    return live(
        lives, SHARES, errors, np.array(ends), alpha=ALPHA, delta=BUDGET, coin=coin,
        policy=policy, seed=seed,
    )  # fmt: skip


def _delay(rate: float, lives: int, seed: int) -> Row:
    """Audits until the first alarm: with a coin of 1 every request is one. None: never so."""
    end = float(PATIENCE)
    now = _lives((rate,) * 3, (end,) * 3, lives, seed, LATCH, 1.0)["first_alarm"]
    later = _lives(
        (GOOD_RATE, rate, rate),
        (GOOD_AUDITS, GOOD_AUDITS + end, GOOD_AUDITS + end),
        lives,
        seed,
        LATCH,
        1.0,
    )["first_alarm"]
    right = later[later > GOOD_AUDITS] - GOOD_AUDITS
    return {
        "rate": rate,
        "median": float(np.median(now)),
        "p90": float(np.quantile(now, 0.9)),
        "median_after_good_audits": float(np.median(right)),
    }


def _drift(rate: float, name: str, policy: int, lives: int, seed: int) -> Row:
    """One way to answer a drift to `rate`, and the way back; shares of lives and of requests."""
    seen = _lives((GOOD_RATE, rate, GOOD_RATE), DRIFT, lives, seed, policy)
    alarmed = seen["first_alarm"] < DRIFT[1]
    wrong = np.sum([seen[f"wrong_{phase}"] for phase in range(PHASES)], axis=0)
    escalated = np.sum([seen[f"escalated_{phase}"] for phase in range(PHASES)], axis=0)
    drifted = DRIFT[1] - DRIFT[0]
    # What was served above alpha and not while the first alarm was still to come.
    after = seen["broken_1"] - np.maximum(0.0, np.minimum(seen["first_alarm"], DRIFT[1]) - DRIFT[0])
    return {
        "rate": rate,
        "policy": name,
        "alarmed": float(alarmed.mean()),
        "kept_over_life": float((wrong / REQUESTS <= ALPHA).mean()),
        "kept_after_alarm": float((after[alarmed] < 1.0).mean()) if alarmed.any() else None,
        "drifted_rate": float(seen["wrong_1"].mean() / drifted),
        "escalated": float(escalated.mean() / REQUESTS),
        "escalated_drifted": float(seen["escalated_1"].mean() / drifted),
        "escalated_back": float(seen["escalated_2"].mean() / (REQUESTS - DRIFT[1])),
        "audits_paid": float(seen["audits_paid"].mean() / REQUESTS),
        "back_at_rung_0": float((seen["rung"] == 0).mean()),
    }


@click.command(epilog="Example: raisehand bench ladder --json")
@click.option("--lives", default=1000, show_default=True, type=click.IntRange(20))
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def ladder(lives: int, seed: int, as_json: bool) -> None:
    """Live many lives under the ladder: false alarms, delays, drift and drift back."""
    result = simulate(lives, seed)
    if as_json:
        click.echo(json.dumps(result, indent=1))
        return
    click.echo(
        f"false alarms in {REQUESTS:,} requests at exactly {ALPHA:.0%}, audited at {COIN:.0%}: "
        f"{result['false_alarms']:.2%} of {lives:,} lives (at most {BUDGET:.0%})\n"
    )
    delays, drifts = result["delays"], result["drifts"]
    assert isinstance(delays, list)
    assert isinstance(drifts, list)
    click.echo(_table(delays))
    click.echo(_table(drifts))
    click.echo(f"{result['seconds']:.0f} s")


def _table(rows: list[Row]) -> str:
    """Columns as in the JSON, shares in per cent."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|---" * len(rows[0]) + "|"]
    lines += ["| " + " | ".join(map(_shown, row.values())) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _shown(value: float | str | None) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    return f"{value:,.0f}" if value > 1 else f"{value:.2%}"
