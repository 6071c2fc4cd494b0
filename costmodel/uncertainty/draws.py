"""How sure a projected figure is: intervals from counts, Monte Carlo, tornado, breaking points.

Every input of the closed form carries a distribution: the escalation rate and the disagreement
come from the evaluation's own counts, the others from a stated doubt. The figures are quantiles of
the month computed once per draw.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from costmodel.bill.projection import Projection
from costmodel.frozen import Frozen
from costmodel.inputs.stated_doubt import Doubt, Range

Floats = npt.NDArray[np.float64]
DRAWS = 20_000
INPUTS = {
    "escalation_rate": "share of requests that escalate",
    "disagreement": "share of all answers that differ",
    "traffic": "traffic",
    "lengths": "teacher tokens per request",
    "escalated_factor": "cost of an escalated request over the mean one",
    "teacher_price": "teacher's price",
    "student_price": "student machine's price",
}
"""Every input that is drawn, and what people call it."""


class Quantiles(Frozen):
    """P10, median and P90 over the draws."""

    p10: float
    p50: float
    p90: float


class Swing(Frozen):
    """One bar of the tornado: the month's saving with one input at its P10 and at its P90."""

    input: str
    low: float
    high: float
    saving_at_low: float
    saving_at_high: float

    @property
    def width(self) -> float:
        """How far the saving moves."""
        return abs(self.saving_at_high - self.saving_at_low)


class Limit(Frozen):
    """What would have to be true for the cascade not to pay."""

    input: str
    now: float
    limit: float | None
    """The saving is 0 here, all else as projected; None: no value of this input does that."""
    probability: float
    """Share of the draws beyond the limit."""


@dataclass(frozen=True, slots=True)
class Rival:
    """What the cascade is compared with, so that one draw moves both sides of the comparison."""

    usd: float
    """A month of asking it everything, as projected."""
    teacher: bool = False
    """Whether it is the teacher itself, on these or other terms: its price is in doubt with it."""
    asked_factor: float = 1.0
    """The cascade's own calls on the same terms, over those at the price given."""


class Uncertain(Frozen):
    """A projection with its doubts."""

    draws: int
    cascade_usd: Quantiles
    teacher_only_usd: Quantiles
    saving_usd: Quantiles
    savings: dict[str, Quantiles]
    """The saving against each alternative named, both sides on the same draws."""
    cost_ratio: Quantiles
    agreement: Quantiles
    break_even_months: Quantiles | None
    """None when more than one draw in ten never earns the one-off cost back."""
    probability_of_loss: float
    tornado: tuple[Swing, ...]
    limits: tuple[Limit, ...]


@dataclass(frozen=True, slots=True)
class MoneyModel:
    """The closed form as a function of its inputs; any of them may be an array of draws (M,).

    Prices, lengths and traffic are factors on what was projected.
    """

    projection: Projection

    @property
    def middle(self) -> dict[str, float]:
        """The inputs as projected."""
        got = self.projection
        return {
            "escalation_rate": got.escalation.mid,
            "disagreement": 1 - got.agreement.mid,
            "traffic": 1.0,
            "lengths": 1.0,
            "escalated_factor": got.escalated_cost_factor,
            "teacher_price": 1.0,
            "student_price": 1.0,
        }

    def teacher_only(self, x: Mapping[str, float | Floats]) -> Floats:
        """US dollars of a month of the teacher answering everything."""
        got = self.projection
        size = np.asarray(x["traffic"]) * x["lengths"]
        if got.teacher_machines is not None:
            machines = got.teacher_machines.usd_for(got.requests_per_month * size)
            return np.asarray(machines * x["teacher_price"])
        usd = float(got.rail("teacher_only").usd_per_month)
        return np.asarray(usd * size * x["teacher_price"])

    def cascade(self, x: Mapping[str, float | Floats]) -> Floats:
        """US dollars of a month of the cascade."""
        got = self.projection
        lines = {line.name: float(line.usd) for line in got.rail("cascade").lines}
        total = self.asked(x) + self.student(x) + lines.get("retraining, monitoring", 0.0)
        requests = got.requests_per_month * np.asarray(x["traffic"])
        wrong = requests * x["disagreement"] * got.cost_of_wrong_answer
        return total + wrong + lines.get("refused requests", 0.0) * np.asarray(x["traffic"])

    def asked(self, x: Mapping[str, float | Floats]) -> Floats:
        """US dollars of a month of escalations and audits."""
        got = self.projection
        e, weight = np.asarray(x["escalation_rate"]), np.asarray(x["escalated_factor"])
        # Kept requests cost what the escalated ones leave of the mean.
        left = np.maximum(1 - e * weight, 0.0)
        asked, audits = e * weight * got.attempts, got.audit_rate * left
        share = asked + audits * got.audit_cost_factor
        if got.asked_machines is not None:
            work = got.requests_per_month * share * x["traffic"] * x["lengths"]
            return np.asarray(got.asked_machines.usd_for(work) * x["teacher_price"])
        return np.asarray(self.teacher_only(x) * share)

    def student(self, x: Mapping[str, float | Floats]) -> Floats:
        """US dollars of a month of student machines; their number follows the traffic."""
        student = self.projection.student
        traffic, price = np.asarray(x["traffic"]), np.asarray(x["student_price"])
        if not student.machines:
            return np.asarray(float(student.provisioned_usd) * traffic * price)
        return np.asarray(student.usd_for(self.projection.requests_per_month * traffic) * price)

    def saving(self, x: Mapping[str, float | Floats], against: Rival | None = None) -> Floats:
        """US dollars a month against an alternative, or teacher-only; negative is a loss."""
        if against is None:
            return self.teacher_only(x) - self.cascade(x)
        if against.teacher:
            listed = float(self.projection.rail("teacher_only").usd_per_month)
            usd = self.teacher_only(x) * (against.usd / listed)
        else:
            usd = against.usd * np.asarray(x["traffic"]) * x["lengths"]
        cheaper = self.asked(x) * (1 - against.asked_factor)
        return np.asarray(usd - self.cascade(x) + cheaper)


def rivals_of(projection: Projection) -> dict[str, Rival]:
    """The baselines of a projection as rivals."""
    model = MoneyModel(projection)
    asked = float(model.asked(model.middle))
    listed = projection.baselines[0].cascade_usd_per_month
    return {
        one.name: Rival(
            float(one.usd_per_month),
            one.name != "decision_api",
            1 - float(listed - one.cascade_usd_per_month) / asked if asked else 1.0,
        )
        for one in projection.baselines
    }


def quantify(
    projection: Projection,
    doubt: Doubt | None = None,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    rivals: Mapping[str, Rival] | None = None,
) -> Uncertain:
    """Draw the inputs, compute the month for each draw, and say what moves it.

    The escalation rate and the disagreement are drawn from their Jeffreys posteriors
    Beta(k + ½, n − k + ½). `rivals` are the alternatives by name; the projection's own baselines
    if not given.
    """
    rivals = rivals_of(projection) if rivals is None else rivals
    model = MoneyModel(projection)
    x = draw_inputs(projection, doubt or Doubt(), seed, draws)
    saving, teacher, cascade = model.saving(x), model.teacher_only(x), model.cascade(x)
    one_off = float(projection.break_even.one_off_usd)
    months = np.where(saving > 0, one_off / np.where(saving > 0, saving, 1.0), np.inf)
    return Uncertain(
        draws=draws,
        cascade_usd=_quantiles(cascade),
        teacher_only_usd=_quantiles(teacher),
        saving_usd=_quantiles(saving),
        savings={name: _quantiles(model.saving(x, rival)) for name, rival in rivals.items()},
        cost_ratio=_quantiles(cascade / teacher),
        agreement=_quantiles(1 - x["disagreement"]),
        break_even_months=_quantiles(months) if np.isfinite(months).mean() > 0.9 else None,
        probability_of_loss=float((saving <= 0).mean()),
        tornado=_tornado(model, x),
        limits=_limits(model, x),
    )


def draw_inputs(projection: Projection, doubt: Doubt, seed: int, draws: int) -> dict[str, Floats]:
    """Draw each input of the closed form, (M,); two projections of one seed see one chance."""
    rng, middle = np.random.default_rng(seed), MoneyModel(projection).middle
    n = projection.n
    escalated = round(projection.escalation.mid * n)
    wrong = round((1 - projection.agreement.mid) * n)
    rate = rng.beta(escalated + 0.5, n - escalated + 0.5, draws)
    return {
        "escalation_rate": np.minimum(rate * _around(1.0, doubt.escalation_drift, rng, draws), 1.0),
        "disagreement": rng.beta(wrong + 0.5, n - wrong + 0.5, draws),
        "traffic": _around(1.0, doubt.traffic, rng, draws),
        "lengths": _around(1.0, doubt.lengths, rng, draws),
        "escalated_factor": _around(middle["escalated_factor"], doubt.escalated_factor, rng, draws),
        "teacher_price": _between(doubt.teacher_price, rng, draws),
        "student_price": _between(doubt.student_price, rng, draws),
    }


def _around(mean: float, sd: float, rng: np.random.Generator, draws: int) -> Floats:
    """Lognormal with this mean and relative standard deviation."""
    sigma = np.sqrt(np.log1p(sd**2))
    drawn: Floats = mean * np.exp(sigma * rng.standard_normal(draws) - sigma**2 / 2)
    return drawn


def _between(factor: Range, rng: np.random.Generator, draws: int) -> Floats:
    if factor.low == factor.high:
        return np.ones(draws)
    drawn: Floats = rng.triangular(factor.low, 1.0, factor.high, draws)
    return drawn


def _quantiles(values: Floats) -> Quantiles:
    p10, p50, p90 = np.quantile(values, [0.1, 0.5, 0.9])
    return Quantiles(p10=float(p10), p50=float(p50), p90=float(p90))


def _tornado(model: MoneyModel, x: Mapping[str, Floats]) -> tuple[Swing, ...]:
    swings = []
    for name, drawn in x.items():
        low, high = (float(v) for v in np.quantile(drawn, [0.1, 0.9]))
        at = [float(model.saving({**model.middle, name: value})) for value in (low, high)]
        swings.append(
            Swing(input=name, low=low, high=high, saving_at_low=at[0], saving_at_high=at[1])
        )
    return tuple(sorted((s for s in swings if s.width > 0), key=lambda s: s.width, reverse=True))


def _limits(model: MoneyModel, x: Mapping[str, Floats]) -> tuple[Limit, ...]:
    found = []
    for name, drawn in x.items():
        if name == "disagreement" and not model.projection.cost_of_wrong_answer:
            continue  # costs no teacher call: it moves quality, not the bill
        now = model.middle[name]
        limit = _root(model, name)
        beyond = 0.0
        if limit is not None:
            beyond = float((drawn > limit).mean() if limit > now else (drawn < limit).mean())
        found.append(Limit(input=name, now=now, limit=limit, probability=beyond))
    return tuple(found)


def _root(model: MoneyModel, name: str) -> float | None:
    """Where the saving changes its sign nearest to the projected value, looked for on grids."""
    top = 1.0 if name in ("escalation_rate", "disagreement") else 1e6
    now = min(max(model.middle[name], 1e-6), top)
    grid: Floats = np.unique(np.r_[np.geomspace(1e-6, top, 1001), now])
    for _ in range(3):
        # An input that moves nothing gives one value for the whole grid.
        saving = np.broadcast_to(model.saving({**model.middle, name: grid}), grid.shape)
        positive = saving > 0
        change = np.flatnonzero(positive[1:] != positive[:-1])
        if not change.size:
            return None
        near = change[np.argmin(np.abs(np.log(grid[change] / now)))]
        grid = np.linspace(grid[near], grid[near + 1], 2001)
    return float(grid.mean())
