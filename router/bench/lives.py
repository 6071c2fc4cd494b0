"""Whole lives of a bundle under its ladder, compiled: traffic whose truth is known.

`step` is the arithmetic of `router.promise.ladder` with one promise over all traffic, on arrays; a
test holds it to that, draw by draw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
from numba import njit

from router.promise.ladder import EAGER, EAGER_TOP
from router.promise.monitor import BLOCK, ODDS, likelihood_ratio, starting_share
from router.promise.proof import LOWER_ODDS

Floats = npt.NDArray[np.float64]

LATCH, LADDER, UNREJECTED = 0, 1, 2
"""Everything escalates for ever; the product; climb to the lowest rung that is not rejected."""
PHASES = 3
"""Of a life: as certified, drifted, back."""
COLUMNS = (
    "false_alarms", "alarms", "wrong_returns", "first_alarm", "audits", "audits_paid", "rung",
    *(f"{what}_{phase}" for what in ("wrong", "escalated", "broken") for phase in range(PHASES)),
)  # fmt: skip
"""Of a life's row. `broken`: requests served while the true rate was above alpha."""

_UP, _DOWN = np.array(ODDS), np.array(LOWER_ODDS)
F = TypeVar("F", bound=Callable[..., Any])


def _compiled(function: F) -> F:
    return cast("F", njit(function))


_share, _ratio = _compiled(starting_share), _compiled(likelihood_ratio)


@_compiled
def bet(wealth: Floats, odds: Floats, alpha: float, disagreed: bool) -> float:
    """Take one audit; `wealth` is (audits, cash, a stake for each of the odds). Return the sum."""
    if wealth[0] % BLOCK == 0:
        started = _share(int(wealth[0] // BLOCK))
        wealth[1] -= started
        for m in range(odds.size):
            wealth[2 + m] += started / odds.size
    wealth[0] += 1
    total: float = wealth[1]
    for m in range(odds.size):
        wealth[2 + m] *= _ratio(odds[m], alpha, disagreed)
        total += wealth[2 + m]
    return total


@_compiled
def renew(wealth: Floats) -> None:
    """Begin with no evidence, in each row."""
    wealth[:] = 0.0
    wealth[:, 1] = 1.0


@_compiled
def _alarmed(
    rung: int, against: Floats, alpha: float, at: float, kept_by: int, wrong: bool, policy: int
) -> bool:
    top = against.shape[0]
    if policy != UNREJECTED:
        return rung < top and bet(against[0], _UP, alpha, wrong and rung < kept_by) >= at
    reached = False
    for j in range(top):
        value = bet(against[j], _UP, alpha, wrong and j < kept_by)
        reached |= j == rung and value >= at
    return reached


@_compiled
def _climb(
    state: npt.NDArray[np.int64], against: Floats, proofs: Floats, at: float, policy: int
) -> None:
    state[1] += 1
    renew(proofs)
    if policy == UNREJECTED:
        while state[0] < against.shape[0] and against[state[0], 1:].sum() >= at:
            state[0] += 1
    else:
        state[0] = against.shape[0]
        renew(against)


@_compiled
def _come_down(state: npt.NDArray[np.int64], against: Floats, proofs: Floats, at: float) -> None:
    while state[0] > 0 and proofs[state[0] - 1, 1:].sum() >= at:
        state[0] -= 1


@_compiled
def step(
    state: npt.NDArray[np.int64],
    against: Floats,
    proofs: Floats,
    alpha: float,
    delta: float,
    kept_by: int,
    wrong: bool,
    policy: int,
) -> int:
    """Take one draw; return +1 for an alarm, -1 where a lower rung is in force, 0 otherwise.

    Args:
        state: rung and spell; changed.
        against: (R, 2 + odds), row 0 bets against what is served, or row j against rung j.
        proofs: (R, 2 + odds), evidence for each rung.
        alpha: disagreement allowed.
        delta: the budget of false alarms, and that of wrong returns.
        kept_by: how many rungs would have let the student answer.
        wrong: whether its answer differs from the teacher's.
        policy: `LATCH`, `LADDER` or `UNREJECTED`.
    """
    rung, spell = state[0], state[1]
    alarm_at = spell * (spell + 1) / delta
    alarmed = _alarmed(rung, against, alpha, alarm_at, kept_by, wrong, policy)
    if rung > 0:
        for j in range(proofs.shape[0]):
            bet(proofs[j], _DOWN, alpha, wrong and j < kept_by)
    if alarmed:
        _climb(state, against, proofs, alarm_at, policy)
        return 1
    if rung == 0 or policy == LATCH:
        return 0
    _come_down(state, against, proofs, (spell - 1) * spell / delta)
    if state[0] == rung:
        return 0
    if policy == UNREJECTED:
        renew(against)
    return -1


@_compiled
def _life(
    seed: int,
    shares: Floats,
    errors: Floats,
    ends: Floats,
    alpha: float,
    delta: float,
    coin: float,
    policy: int,
) -> Floats:
    np.random.seed(seed)
    top = shares.size
    state = np.array([0, 1])
    against, proofs = np.zeros((top, 2 + _UP.size)), np.zeros((top, 2 + _DOWN.size))
    renew(against)
    renew(proofs)
    bounds = np.cumsum(shares)
    true = np.zeros((PHASES, top + 1))
    kept = np.zeros(top + 1)
    for j in range(top):
        kept[j] = shares[j:].sum()
        for p in range(PHASES):
            true[p, j] = (shares[j:] * errors[p, j:]).sum()
    out = np.zeros(7 + 3 * PHASES)
    out[3] = ends[-1]
    phase, at = 0, 0.0
    while at < ends[-1]:
        rung = state[0]
        eager = 1.0 if rung == 0 else (EAGER_TOP if rung == top else EAGER)
        gap = float(np.random.geometric(min(1.0, coin * eager)))
        until = min(at + gap, ends[-1])
        while at < until:  # a gap may lie in two phases
            part = min(until, ends[phase]) - at
            out[7 + phase] += part * true[phase, rung]
            out[7 + PHASES + phase] += part * (1.0 - kept[rung])
            if true[phase, rung] > alpha + 1e-12:
                out[7 + 2 * PHASES + phase] += part
            at += part
            if at >= ends[phase] and phase < PHASES - 1:
                phase += 1
        place = np.random.random()
        kept_by, disagreed = 0, False
        if place < bounds[-1]:
            kept_by = int(np.searchsorted(bounds, place, side="right")) + 1
            disagreed = np.random.random() < errors[phase, kept_by - 1]
        out[4] += 1
        out[5] += kept_by > rung
        moved = step(state, against, proofs, alpha, delta, kept_by, disagreed, policy)
        if moved == 1:
            out[1] += 1
            out[0] += true[phase, rung] <= alpha + 1e-12
            out[3] = min(out[3], at)
        elif moved == -1 and true[phase, state[0]] > alpha + 1e-12:
            out[2] += 1
    out[6] = state[0]
    return out


def live(
    lives: int,
    shares: Floats,
    errors: Floats,
    ends: Floats,
    *,
    alpha: float,
    delta: float,
    coin: float,
    policy: int = LADDER,
    seed: int = 0,
) -> dict[str, Floats]:
    """Live so many lives; return each of `COLUMNS`, (lives,).

    Args:
        lives: how many.
        shares: (R,), share of the traffic between two rungs, the lowest first; their sum is the
            coverage of rung 0.
        errors: (PHASES, R), share of the answers in each of them that differ from the teacher's.
        ends: (PHASES,), requests after which each phase ends.
        alpha: disagreement allowed.
        delta: the budget of false alarms, and that of wrong returns.
        coin: share of the requests that is drawn.
        policy: `LATCH`, `LADDER` or `UNREJECTED`.
        seed: of the first life.
    """
    rows = np.array(
        [_life(seed + i, shares, errors, ends, alpha, delta, coin, policy) for i in range(lives)]
    )
    return {name: rows[:, i] for i, name in enumerate(COLUMNS)}


def errors_of(rate: float, shares: Floats, fall: float) -> Floats:
    """Errors (R,) that make `rate` over all traffic at rung 0 and fall by a factor at each rung."""
    shape = fall ** np.arange(shares.size)
    found: Any = np.minimum(1.0, rate * shape / (shares * shape).sum())
    return np.asarray(found)
