"""Arrivals and lengths from a seed: for the simulator's kernel and, one by one, for load tests.

    workload = Workload(per_day=10_000_000, hourly=BUSINESS_DAY)
    for arrival in arrivals(workload, seed=1, duration_s=60):
        ...

Both readings of a workload draw from the same streams: the requests that a load test sends are the
requests that the simulation of the same seed saw.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from costmodel.errors import BadScenario, BadTable
from costmodel.fields import Positive
from costmodel.frozen import Frozen
from costmodel.inputs.tables.read import read_table
from costmodel.inputs.tables.times import TimesOfOneKind
from costmodel.kernel import layout
from costmodel.kernel.layout import TAIL_FROM, TAIL_LOWEST, TAIL_STEPS
from costmodel.money.pricing import HOURS_PER_MONTH
from costmodel.units import DAY_S

Floats = npt.NDArray[np.float64]

MONTH_DAYS = HOURS_PER_MONTH / 24
"""The one month convention of the product: 730 hours."""
WINDOW_S = 900.0
"""Rates are constant within a quarter of an hour."""
TABLE = 4096
"""Cells of a quantile table."""

BUSINESS_DAY: tuple[float, ...] = (
    0.35, 0.28, 0.24, 0.22, 0.24, 0.32, 0.50, 0.80, 1.15, 1.45, 1.60, 1.65,
    1.55, 1.55, 1.60, 1.60, 1.55, 1.45, 1.30, 1.15, 1.05, 0.95, 0.80, 0.65,
)  # fmt: skip
"""A day of one region's office hours, mean 1, busiest hour 7.5 times the quietest; an example,
not a measurement. Public API traces show 1.4 to 5."""


class Lengths(Frozen):
    """Token counts: lognormal by `mean` and `cv` (0 is constant), or evenly spaced `quantiles`."""

    mean: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    cv: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    most: float = Field(default=131_072.0, gt=0)
    """No text is longer: a context window."""
    quantiles: tuple[Annotated[float, Field(ge=0)], ...] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.mean is None) == (self.quantiles is None):
            raise ValueError("give either mean (and cv) or quantiles")
        if self.quantiles is not None and list(self.quantiles) != sorted(self.quantiles):
            raise ValueError("quantiles must not decrease")
        return self

    def table(self) -> Floats:
        """Quantiles at evenly spaced ranks 0..1, shape (1,) when constant, else (TABLE + 1,)."""
        if self.quantiles is not None:
            return np.asarray(self.quantiles, dtype=np.float64)
        assert self.mean is not None
        if self.cv == 0 or self.mean == 0:
            return np.array([self.mean])
        body = self._lognormal(np.clip(np.linspace(0, 1, TABLE + 1), 1e-5, 1 - 1 / TABLE))
        # the last cell ends where the straight lines have the mean of the law
        cells = (body[1:-1] + body[:-2]) / 2
        body[-1] = 2 * (TABLE * self.mean - cells.sum()) - body[-2]
        return np.minimum(body, self.most)

    def tail(self) -> Floats:
        """Quantiles of the longest: straight lines between evenly spaced ranks would be wrong here.

        At ranks 1 - v, v evenly spaced within each octave (TAIL_STEPS) from 2^-TAIL_LOWEST up to
        1 / TAIL_FROM; empty where there is no tail.
        """
        if self.quantiles is not None or self.cv == 0 or self.mean == 0:
            return np.zeros(0)
        left = np.ldexp(1 + np.arange(TAIL_STEPS) / TAIL_STEPS, -TAIL_LOWEST)
        octaves = 2.0 ** np.arange(TAIL_LOWEST - (TAIL_FROM.bit_length() - 1))
        drawn = self._lognormal(np.r_[np.outer(octaves, left).ravel(), 1 / TAIL_FROM], upper=True)
        return np.minimum(drawn, self.most)

    @property
    def _sigma(self) -> float:
        return math.sqrt(math.log1p(self.cv**2))

    def _lognormal(self, rank: Floats, upper: bool = False) -> Floats:
        """Quantiles at these ranks; at these distances from 1 with `upper`."""
        from scipy.special import ndtri

        assert self.mean is not None
        z = -ndtri(rank) if upper else ndtri(rank)
        drawn: Floats = np.exp(math.log(self.mean) - self._sigma**2 / 2 + self._sigma * z)
        return drawn


class Bursts(Frozen):
    """A two-state Markov process on top of the rate (MMPP-2); the mean rate is kept."""

    factor: Positive
    """Rate in a burst, relative to the mean."""
    share: Annotated[float, Field(gt=0, lt=1)]
    """Share of time spent in bursts."""
    mean_s: Positive
    """Mean length of a burst."""

    @model_validator(mode="after")
    def _calm_is_possible(self) -> Self:
        if self.factor * self.share > 1:
            raise ValueError(
                f"factor {self.factor:g} for a share {self.share:g} of the time is more than all "
                "of the traffic; factor x share must be at most 1"
            )
        return self

    def table(self) -> Floats:
        """Factor calm, factor in a burst, mean seconds calm, mean seconds of a burst."""
        calm = (1 - self.factor * self.share) / (1 - self.share)
        return np.array(
            [calm, self.factor, self.mean_s * (1 - self.share) / self.share, self.mean_s]
        )


NO_BURSTS = np.array([1.0, 1.0, np.inf, 1.0])


class Trace(Frozen):
    """A CSV to replay: any file with a time and a number of tokens, e.g. the Azure LLM traces."""

    path: Path
    time: str = "TIMESTAMP"
    """ISO date-times, or numbers of seconds."""
    tokens: str = "ContextTokens"
    output_tokens: str | None = "GeneratedTokens"
    get: str | None = None
    """The command that fetches it, or the page that has it, for whoever lacks it."""


class Workload(Frozen):
    """How requests arrive and how long they are."""

    per_day: Positive | None = None
    per_second: Positive | None = None
    arrivals: Literal["poisson", "gamma", "even", "replay"] = "poisson"
    """Gaps between arrivals; `replay` takes a trace's, stretched to the rate when one is given."""
    cv: Positive = 1.0
    """Coefficient of variation of gamma gaps: 1 is Poisson, above is bursty."""
    bursts: Bursts | None = None
    hourly: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """24 relative rates; they are scaled to mean 1 and joined by straight lines."""
    weekly: tuple[Annotated[float, Field(ge=0)], ...] | None = None
    """7 relative rates by day; scaled to mean 1."""
    growth_per_month: Annotated[float, Field(gt=-1, allow_inf_nan=False)] = 0.0
    tokens: Lengths = Lengths(mean=40, cv=0.8)
    """Tokens of one input as the student counts them."""
    trace: Trace | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.per_day is not None and self.per_second is not None:
            raise ValueError("both per_day and per_second are given; give one")
        if self.per_day is None and self.per_second is None and self.trace is None:
            raise ValueError("no rate is given; give per_day or per_second")
        if (self.arrivals == "replay") != (self.trace is not None):
            raise ValueError("arrivals: replay and trace: belong together; give both or neither")
        for name, n in (("hourly", 24), ("weekly", 7)):
            shape = getattr(self, name)
            if shape is not None and (len(shape) != n or sum(shape) <= 0):
                raise ValueError(f"{name} has {len(shape)} rates; it needs {n} and not all 0")
        return self

    @property
    def mean_per_s(self) -> float:
        """Mean arrivals per second before growth.

        Raises:
            BadScenario: the trace that sets the rate cannot be read.
        """
        if self.per_second is not None:
            return self.per_second
        if self.per_day is not None:
            return self.per_day / DAY_S
        assert self.trace is not None
        return read_trace(self.trace).per_s

    def rates(self, until_s: float, zero_s: float = 0.0) -> Floats:
        """Arrivals per second in each window of WINDOW_S up to `until_s`, shape (W,).

        Hour 0 of day 0 is at `zero_s`.
        """
        middle = (np.arange(max(1, math.ceil(until_s / WINDOW_S))) + 0.5) * WINDOW_S - zero_s
        rate = np.full(middle.size, self.mean_per_s)
        if self.hourly is not None:
            shape = np.asarray(self.hourly) / np.mean(self.hourly)
            hours = np.arange(-0.5, 25.0)
            rate *= np.interp(middle % DAY_S / 3600, hours, np.r_[shape[-1], shape, shape[0]])
        if self.weekly is not None:
            by_day = np.asarray(self.weekly) / np.mean(self.weekly)
            rate *= by_day[(middle // DAY_S).astype(int) % 7]
        rate *= (1 + self.growth_per_month) ** (middle / DAY_S / MONTH_DAYS)
        return rate


@dataclass(frozen=True)
class TraceRows:
    """A trace in time order: gaps in mean gaps, tokens, output tokens, rank of length; (N, 4)."""

    rows: Floats
    per_s: float


def read_trace(trace: Trace) -> TraceRows:
    """Read a trace file.

    Raises:
        BadScenario: the file is missing, lacks a column, or has fewer than two usable rows.
    """
    if trace.get is not None and not trace.path.exists():
        raise BadScenario(f"trace {trace.path} is not there; get it: {trace.get}")
    named = [name for name in (trace.time, trace.tokens, trace.output_tokens) if name]
    try:
        table = read_table(trace.path, named)
        columns = [table.words(name) for name in named]
    except BadTable as error:
        raise BadScenario(f"trace {error} (columns are named in trace.time, …)") from error
    if len(table) < 2:
        raise BadScenario(f"trace {trace.path.name} has {len(table)} rows; it needs at least 2")
    try:
        times = TimesOfOneKind()
        at = np.array([times.seconds_of(word) for word in columns[0]])
        tokens = np.array([float(word) for word in columns[1]])
        output = np.array([float(word) for word in columns[2]]) if columns[2:] else np.ones(at.size)
    except ValueError as error:
        raise BadScenario(f"trace {trace.path.name} has a bad value: {error}") from error
    order = np.argsort(at, kind="stable")
    at, tokens, output = at[order], tokens[order], output[order]
    span = float(at[-1] - at[0])
    if span <= 0 or tokens.min() < 0:
        raise BadScenario(f"trace {trace.path.name} spans {span:g} s and must go forward in time")
    per_s = (at.size - 1) / span
    # the first row closes the loop with a mean gap, so that a repeated trace keeps its rate
    gaps = np.r_[1.0, np.diff(at) * per_s]
    rank = (np.argsort(np.argsort(tokens, kind="stable")) + 0.5) / tokens.size
    return TraceRows(np.column_stack([gaps, tokens, output, rank]), per_s)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request: when (seconds from the start), how long, and how long an answer it would get."""

    at_s: float
    tokens: int
    output_tokens: int
    length_rank: float
    """Rank of its length in [0, 1): pick the text at this rank of a corpus sorted by length."""


def traffic(
    workload: Workload,
    *,
    until_s: float,
    start_s: float = 0.0,
    zero_s: float = 0.0,
    hardness: Floats | None = None,
    spells: Floats = NO_BURSTS,
    output: Lengths | None = None,
) -> dict[str, float | Floats]:
    """Lay a workload out as the fields the kernel draws from (see `layout.tell`).

    Args:
        workload: what arrives.
        until_s: the clock takes no arrival at or after this second of the workload.
        start_s: where the clock starts.
        zero_s: where hour 0 of day 0 of the workload's shape is on that clock.
        hardness: factor on the share of unsure requests by window of WINDOW_S.
        spells: two-state process on that share, as `Bursts.table` lays it out.
        output: tokens of a teacher's answer.
    """
    kinds = {
        "poisson": layout.POISSON,
        "gamma": layout.GAMMA,
        "even": layout.EVERY_GAP,
        "replay": layout.REPLAY,
    }
    rate, output = workload.rates(until_s, zero_s), output or Lengths(mean=1)
    return {
        "rate": rate,
        "hardness": np.ones(rate.size) if hardness is None else hardness,
        "window_s": WINDOW_S,
        "gap_kind": kinds[workload.arrivals],
        "gap_shape": 1 / workload.cv**2,
        "bursts": workload.bursts.table() if workload.bursts else NO_BURSTS,
        "spells": spells,
        "replay": read_trace(workload.trace).rows if workload.trace else np.zeros((1, 4)),
        "tokens": workload.tokens.table(),
        "tokens_tail": workload.tokens.tail(),
        "output": output.table(),
        "output_tail": output.tail(),
        "start_s": start_s,
        "until_s": until_s,
    }


def arrivals(
    workload: Workload, *, seed: int, duration_s: float, output: Lengths | None = None
) -> Iterator[Arrival]:
    """Yield the arrivals of a workload in time order, the same as the simulator's for this seed."""
    from costmodel.kernel.arrivals import Drawer

    drawer = Drawer(layout.tell(traffic(workload, until_s=duration_s, output=output)), seed)
    block = np.empty((1024, 4))
    n = len(block)
    while n == len(block):
        n = drawer.fill(block)
        for at, tokens, out, rank in block[:n].tolist():
            yield Arrival(at, int(tokens), round(out), rank)
