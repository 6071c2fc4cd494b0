"""How often the drift alarm is false, and how soon it is right: many lives at once.

Every life is a stream of audits with a known rate of disagreement, watched by the stakes of
`router.promise.monitor`, here in one array for all lives.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable

import click
import numpy as np
import numpy.typing as npt

from router.promise.monitor import BLOCK, ODDS, likelihood_ratio, starting_share

ALPHA, FALSE_ALARM = 0.05, 0.05
LENGTH = 20_000
"""Audits of a life."""
RATES = (0.065, 0.08, 0.10, 0.15)
GOOD_RATE, GOOD_AUDITS = 0.02, 5_000
NEVER = LENGTH + 1

Rate = Callable[[int], float]
"""True disagreement at each audit of a life."""


def audits_to_alarm(
    rate: Rate, lives: int, length: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Audits until the alarm of each life, (lives,); NEVER where there is none in `length`."""
    won = np.array([likelihood_ratio(odds, ALPHA, True) for odds in ODDS])
    lost = np.array([likelihood_ratio(odds, ALPHA, False) for odds in ODDS])
    stakes, cash = np.zeros((lives, len(ODDS))), 1.0
    alarm = np.full(lives, NEVER)
    for i in range(length):
        if i % BLOCK == 0:
            started = starting_share(i // BLOCK)
            cash -= started
            stakes += started / len(ODDS)
        disagreed = rng.random(lives) < rate(i)
        stakes *= np.where(disagreed[:, None], won, lost)
        rung = (cash + stakes.sum(axis=1) >= 1 / FALSE_ALARM) & (alarm == NEVER)
        alarm[rung] = i + 1
        if (alarm < NEVER).all():
            break
    return alarm


def simulate(lives: int, seed: int = 0) -> dict[str, object]:
    """Measure false alarms at a rate of exactly alpha, and delays at rates above it."""
    started = time.perf_counter()
    rng = np.random.default_rng(seed)
    false = float((audits_to_alarm(lambda i: ALPHA, lives, LENGTH, rng) < NEVER).mean())
    noise = 3 * float(np.sqrt(FALSE_ALARM * (1 - FALSE_ALARM) / lives))
    delays = []
    for rate in RATES:
        now = audits_to_alarm(lambda i, r=rate: r, lives, LENGTH, rng)  # type: ignore[misc]
        later = audits_to_alarm(
            lambda i, r=rate: r if i >= GOOD_AUDITS else GOOD_RATE,  # type: ignore[misc]
            lives,
            LENGTH,
            rng,
        )
        right = later[later > GOOD_AUDITS] - GOOD_AUDITS
        delays.append(
            {
                "rate": rate,
                "median": float(np.median(now)),
                "p90": float(np.quantile(now, 0.9)),
                "median_after_good_audits": float(np.median(right)),
            }
        )
    return {
        "alpha": ALPHA,
        "lives": lives,
        "audits": LENGTH,
        "good_audits": GOOD_AUDITS,
        "false_alarms": false,
        "false_alarm_excess": false - FALSE_ALARM - noise,
        "delays": delays,
        "seconds": time.perf_counter() - started,
        "versions": {"python": platform.python_version(), "numpy": np.__version__},
    }


@click.command(epilog="Example: raisehand bench monitor --json")
@click.option("--lives", default=1000, show_default=True, type=click.IntRange(100))
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def monitor(lives: int, seed: int, as_json: bool) -> None:
    """Count false alarms of the audits over long lives, and audits until a right one."""
    result = simulate(lives, seed)
    if as_json:
        click.echo(json.dumps(result))
        return
    click.echo(
        f"false alarms in {LENGTH:,} audits at exactly {ALPHA:.0%}: {result['false_alarms']:.2%} "
        f"of {lives:,} lives (at most {FALSE_ALARM:.0%})"
    )
    click.echo(
        f"{'true rate':>10}{'median':>9}{'p90':>9}  median after {GOOD_AUDITS:,} good audits"
    )
    delays = result["delays"]
    assert isinstance(delays, list)
    for d in delays:
        click.echo(
            f"{d['rate']:>10.1%}{d['median']:>9,.0f}{d['p90']:>9,.0f}"
            f"{d['median_after_good_audits']:>9,.0f}"
        )
