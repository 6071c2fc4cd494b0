"""The verdict, in three parts and in this order: does it answer, is the promise kept, does it pay.

The first part that fails leads the sentence, and then nothing after it is good news.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from costmodel.bill.feasibility import LEAST_ESCALATIONS, LEAST_REQUESTS, Feasibility
from costmodel.frozen import Frozen

Tone = Literal["plain", "good", "bad"]
VOID = "A saving on answers that nobody got is no saving."
INFEASIBLE = 3
"""Exit code of a system that does not answer or breaks its promise, whatever it costs."""


class Verdict(Frozen):
    """What a manager can repeat, and the same as flags for a machine."""

    sentence: str
    answers: bool | None
    """None: not within the limits, but on a figure that nobody measured."""
    keeps_promise: bool | None
    """None: nothing was promised, or it hangs on a figure that nobody measured."""
    enough: bool
    """Whether enough was simulated to judge by."""
    pays: bool
    """All of it: it answers, breaks no promise, enough was simulated, and the saving is sure."""
    tone: Tone
    """`good` only when it pays and nothing named would be cheaper."""

    @property
    def flags(self) -> dict[str, bool | None]:
        """The parts for a machine."""
        return {
            "answers": self.answers,
            "keeps_promise": self.keeps_promise,
            "enough": self.enough,
            "pays": self.pays,
        }

    @property
    def works(self) -> bool:
        """Whether the first two parts hold."""
        return self.answers is True and self.keeps_promise is not False

    @property
    def brief(self) -> str:
        """Three words for a table."""
        if self.answers is not True:
            return "does not answer" if self.answers is False else "not shown to answer"
        if self.keeps_promise is False:
            return "breaks its promise"
        if not self.enough:
            return "too few to judge"
        return "pays" if self.pays else "not sure to pay"

    @property
    def saved(self) -> str:
        """What to call the difference of the two bills."""
        return "saved a month" if self.works else "less a month on paper, void"

    @property
    def exit_code(self) -> int:
        """0 for a system that works, whether it pays or not."""
        return INFEASIBLE if self.answers is False or self.keeps_promise is False else 0


@dataclass(frozen=True, slots=True)
class Money:
    """The third part: the signed saving against the price given, and what would be cheaper."""

    low: float
    mid: float
    high: float
    cheaper: tuple[str, ...]
    """Alternatives that cost less than the cascade."""
    given: str = "the price given"
    all_named: str = "every baseline"
    cost_ratio: float = 0.0
    most_cost_ratio: float | None = None

    @property
    def saves(self) -> bool:
        """Whether the whole band is a saving, within the budget."""
        limit = self.most_cost_ratio
        return self.low > 0 and self.mid > 0 and (limit is None or self.cost_ratio <= limit)

    @property
    def sentence(self) -> str:
        """Whether it pays."""
        if self.high <= 0:
            return "It does not pay: the cascade costs more than asking the teacher everything."
        if self.mid <= 0 or self.low <= 0:
            return "It may not pay: the interval of the saving includes 0."
        if not self.saves:
            return (
                f"It saves money but misses the budget: {self.cost_ratio:.1%} of the teacher's "
                f"bill, {self.most_cost_ratio:.1%} allowed (max_cost_ratio)."
            )
        if self.cheaper:
            other = " and than: ".join(self.cheaper)
            return f"It pays against {self.given}, but it costs MORE than: {other}."
        return f"It pays against {self.all_named}."


def judge(found: Feasibility, money: Money) -> Verdict:
    """Put the three parts together."""
    works = found.answers is True and found.keeps_promise is not False and found.enough
    pays = works and money.saves
    tone: Tone = "good" if pays and not money.cheaper else "plain" if pays else "bad"
    return Verdict(
        sentence=" ".join(_parts(found, money)),
        answers=found.answers,
        keeps_promise=found.keeps_promise,
        enough=found.enough,
        pays=pays,
        tone=tone,
    )


def _parts(found: Feasibility, money: Money) -> list[str]:
    parts = [] if found.enough else [_too_few(found)]
    broken = [] if found.keeps_promise is not False else [_broken(found)]
    if found.answers is False:
        return [*parts, f"It does not answer: {_faults(found)}.", *broken, VOID]
    if found.answers is None:
        parts.append(
            f"It is not shown to answer: {_faults(found)}, if {found.assumed} (nobody measured "
            "it: state teacher.latency_s, or raise teacher.max_concurrency)."
        )
    if broken:
        return [*parts, *broken, "A saving on answers that were not promised is no saving."]
    if found.answers is None:
        return [*parts, "Once it does:", money.sentence]
    return [*parts, _works(found), money.sentence]


def _too_few(found: Feasibility) -> str:
    return (
        f"Too little was simulated to judge: {found.requests:,} requests, {found.escalations:,} "
        f"escalations; {LEAST_REQUESTS:,} and {LEAST_ESCALATIONS} are needed (raise days)."
    )


def _faults(found: Feasibility) -> str:
    faults, limits = [], found.limits
    if found.refused > limits.most_refused:
        why = f", mostly because {found.why_refused}" if found.why_refused else ""
        faults.append(
            f"{found.refused:.3%} of the requests are refused{why} ({limits.most_refused:.2%} "
            "allowed)"
        )
    if found.unanswered > limits.most_degraded:
        why = f", mostly because {found.why_unanswered}" if found.why_unanswered else ""
        faults.append(
            f"the teacher does not answer {found.unanswered:.1%} of the escalations{why} "
            f"({limits.most_degraded:.1%} allowed)"
        )
    if found.late > limits.most_late:
        faults.append(
            f"{found.late:.1%} of the requests are answered after their deadline of "
            f"{found.deadline_s:g} s ({limits.most_late:.1%} allowed)"
        )
    return "; ".join(faults)


def _agreement(found: Feasibility) -> str:
    band, promise = found.agreement, found.promise
    assert promise is not None, "only asked where something was promised"
    whose = "answers" if promise.promise == "system" else "the student's answers"
    return (
        f"{band.mid:.2%} of {whose} agree with the teacher ({band.low:.2%} to {band.high:.2%}), "
        f"{promise.agreement:.2%} promised"
    )


def _broken(found: Feasibility) -> str:
    assert found.promise is not None, "a promise that is broken is one"
    maybe = found.agreement.high >= found.promise.agreement
    doubt = ", which the interval does not exclude" if maybe else ""
    return f"It breaks its promise: {_agreement(found)}{doubt}."


def _works(found: Feasibility) -> str:
    if found.promise is None:
        return "It answers; no promise is stated."
    proof = "certified" if found.certified else "nothing certifies it"
    return f"It answers and keeps its promise ({_agreement(found)}; {proof})."
