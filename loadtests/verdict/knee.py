"""The highest rate that a server carries: bracketed from both sides, bisected, then confirmed.

The knee is a rate at which every repeat counted and kept every limit of the SLO, within 5 % of one
that did not hold. Past it goodput should plateau, not collapse.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, computed_field

from loadtests.errors import GeneratorFailed
from loadtests.figures.load_report import LoadReport
from loadtests.inputs.percentiles import MIN_SAMPLES
from loadtests.inputs.shape import RateShape
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec

TOLERANCE = 0.05
BACK_OFF = 0.93
"""A rate that held once and not in every repeat is above the knee."""
LOWEST = 1 / 1024
"""Of the first rate: a server that does not carry that has no knee to speak of."""
SPARE = 1.3
"""Poisson arrivals vary: a probe is planned for so many more answers than its limits need."""

End = Literal["tolerance", "budget", "generator", "samples", "nothing held", "interrupted"]
ENDS: dict[End, str] = {
    "tolerance": "a rate within 5 % above it did not hold",
    "budget": "the number of runs is used up; raise --most-runs, or start nearer",
    "generator": "above it the generator's runs do not count: use more --processes",
    "samples": "below it a run is too short for the percentiles that the limits name: longer ones "
    "are needed, raise --duration",
    "nothing held": "no rate held; see why beside each",
    "interrupted": "it was cut short",
}


class KneeProbe(BaseModel):
    """One rate that was tried."""

    model_config = ConfigDict(frozen=True)

    rate: float
    seed: int = 0
    achieved_rps: float
    goodput_rps: float
    p50_ms: float | None = None
    p99_ms: float | None
    failure_rate: float
    send_lag_p99_ms: float | None = None
    generator_cpu: float | None = None
    """Share of a core, the mean of the busiest process."""
    passed: bool
    valid: bool
    too_few: bool = False
    """It missed nothing but the number of samples that its limits need."""
    why: str


class Knee(BaseModel):
    """What the search found."""

    model_config = ConfigDict(frozen=True)

    rate: float | None
    """None: no rate held."""
    ended_by: End
    confirmed: int = 0
    """So many runs held at the knee, each with another seed."""
    probes: tuple[KneeProbe, ...]
    """By rate."""
    past: tuple[KneeProbe, ...] = ()
    """At multiples of the knee."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def limited_by_generator(self) -> bool:
        """Whether the server was not the first to fail."""
        return self.ended_by == "generator"

    @property
    def words(self) -> str:
        """Say why the search ended."""
        return ENDS[self.ended_by]


class KneeSearch:
    """Searches a knee; `broken_off` is what ended it early, after the probes so far were kept.

    Args:
        spec: the test; its shape is ignored, a knee is found at steady rates from its rate on.
        run: runs one load test and judges it, the generator's own rules included.
        slo: the limits; a probe lasts long enough for the samples that they need.
        repeats: runs that have to hold at the knee.
        most_runs: of all probes together.
        longest_s: no probe is longer.
        step: factor between the rates that bracket the knee; near a good guess less than 2.
        past: multiples of the knee that are measured afterwards, e.g. 1.2, 2, 5.
        told: is called after each probe.
    """

    def __init__(
        self,
        spec: LoadSpec,
        run: Callable[[LoadSpec], LoadReport],
        *,
        slo: Slo | None = None,
        repeats: int = 3,
        most_runs: int = 40,
        longest_s: float = 120.0,
        step: float = 2.0,
        past: Sequence[float] = (),
        told: Callable[[KneeProbe], None] = lambda _: None,
    ) -> None:
        self._spec, self._run, self._told = spec, run, told
        self._step = step
        self._repeats, self._most_runs, self._past_factors = repeats, most_runs, past
        self._longest_s = max(longest_s, spec.duration_s)
        limits = () if slo is None else slo.latency_ms.values()
        self._samples = max((MIN_SAMPLES[name] for each in limits for name in each), default=0)
        self._probes: list[KneeProbe] = []
        self._past: list[KneeProbe] = []
        self.broken_off: BaseException | None = None

    def find(self) -> Knee:
        """Search; a search that is cut short tells what it found until then."""
        low: float | None = None
        end: End = "interrupted"
        confirmed = 0
        try:
            low, high = self._bracket()
            if low is not None and high is not None:
                low = self._bisect(low, high)
            if low is not None:
                low, confirmed = self._confirm(low)
                if low is not None:
                    self._past += [self._probe(low * factor) for factor in self._past_factors]
            end = self._end(low)
        except (KeyboardInterrupt, GeneratorFailed) as error:
            self.broken_off = error
            held = [p.rate for p in self._probes if p.passed]
            low = max(held, default=None)
        return Knee(
            rate=low,
            ended_by=end,
            confirmed=confirmed,
            probes=tuple(sorted(self._probes, key=lambda p: (p.rate, p.seed))),
            past=tuple(self._past),
        )

    def _bracket(self) -> tuple[float | None, float | None]:
        """Return a rate that held and one above that did not; None for one that was not found."""
        rate = self._spec.rate
        if self._holds(rate):
            while self._may_go_on():
                if not self._holds(self._step * rate):
                    return rate, self._step * rate
                rate *= self._step
            return rate, None
        while self._may_go_on() and rate / self._step >= LOWEST * self._spec.rate:
            if self._probes[-1].too_few:
                return None, rate  # slower is fewer answers still
            if self._holds(rate / self._step):
                return rate / self._step, rate
            rate /= self._step
        return None, rate

    def _bisect(self, low: float, high: float) -> float:
        while high > low * (1 + TOLERANCE) and self._may_go_on():
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self._holds(middle) else (low, middle)
        return low

    def _confirm(self, rate: float) -> tuple[float | None, int]:
        """Return the highest rate up to this one that holds in every repeat, and how many held."""
        lowest = LOWEST * self._spec.rate
        while rate >= lowest:
            held = 1 if any(p.passed and p.rate == rate for p in self._probes) else 0
            while held < self._repeats and self._may_go_on():
                if not self._holds(rate, seed=self._spec.seed + held):
                    break
                held += 1
            if held >= self._repeats or not self._may_go_on():
                return (rate if held else None), held
            rate *= BACK_OFF
        return None, 0

    def _end(self, low: float | None) -> End:
        if low is None:
            return "samples" if self._probes[-1].too_few else "nothing held"
        held = {p.rate for p in self._probes if p.passed}
        # A run that did not count at a rate that held says nothing of that rate.
        above = [
            p
            for p in self._probes
            if not p.passed and p.rate >= low and (p.valid or p.rate not in held)
        ]
        if not above or min(p.rate for p in above) > low * (1 + TOLERANCE) / BACK_OFF:
            return "budget"
        first = min(above, key=lambda p: p.rate)
        return "tolerance" if first.valid else "generator"

    def _may_go_on(self) -> bool:
        return len(self._probes) < self._most_runs

    def _holds(self, rate: float, seed: int | None = None) -> bool:
        """Ask a rate; a run that does not count is asked again once before it bounds anything."""
        probe = self._probe(rate, seed)
        self._probes.append(probe)
        if not probe.valid and self._may_go_on():
            probe = self._probe(rate, seed)
            self._probes.append(probe)
        return probe.passed

    def _probe(self, rate: float, seed: int | None = None) -> KneeProbe:
        needed_s = min(self._longest_s, SPARE * self._samples / rate)
        update = {
            "rate": rate,
            "shape": RateShape(),
            "seed": self._spec.seed if seed is None else seed,
            "duration_s": max(self._spec.duration_s, needed_s),
        }
        probe = _of(self._run(self._spec.model_copy(update=update)))
        self._told(probe)
        return probe


def _of(report: LoadReport) -> KneeProbe:
    missed = [check for check in report.checks if not check.passed]
    return KneeProbe(
        rate=report.spec.rate,
        seed=report.spec.seed,
        achieved_rps=report.achieved_rps,
        goodput_rps=report.goodput_rps,
        p50_ms=report.latency_ms["all"].p50,
        p99_ms=report.latency_ms["all"].p99,
        failure_rate=report.failure_rate,
        send_lag_p99_ms=report.send_lag_ms.p99,
        generator_cpu=report.generator_cpu,
        passed=report.passed,
        valid=report.valid,
        too_few=report.valid and bool(missed) and all("too few" in c.words for c in missed),
        why="; ".join(report.faults),
    )
