"""How many spare machines an availability needs: N+k, each state simulated, weighed as it occurs.

Machines go and are back independently of each other, so how many of n are there follows a binomial
law. What the system does with m machines is simulated; a rare failure needs no simulated year.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import bdtr, bdtrc

from costmodel.engine.result import Result
from costmodel.engine.run import simulate_many
from costmodel.errors import BadGoal
from costmodel.inputs.fleet import Interruptions
from costmodel.inputs.scenario import Scenario, vary
from costmodel.plan.capacity import Goal, Plan, fleet_usd, teacher_of_size

MOST_SPARES = 8
SEEN = 1e-7
"""Probability of states with fewer machines that need not be simulated: they answer nothing."""
SHARE_IN_TIME = 0.99
"""A p99."""


@dataclass(frozen=True, slots=True)
class Spares:
    """N machines that carry the load, and so many more, over all states of theirs."""

    side: str
    """Whose machines: student or teacher."""
    needed: int
    spare: int
    answered: float
    """Share of all arrivals that are neither refused nor degraded."""
    in_time: float
    """Share of all arrivals that are answered within the goal's p99."""
    all_there: float
    """Share of the time in which at least as many machines as needed are there."""
    usd_per_month: float | None
    """The cascade with all of them; None: a price is missing."""
    enough: bool


@dataclass(frozen=True)
class SpareSearch:
    """Finds the spares of a plan.

    Args:
        plan: the smallest fleet that keeps the goal while all machines are there.
        goal: what it keeps.
        often: how often machines go.
        availability: share of arrivals to be answered as meant, over all states.
        seeds: of each simulated state.
    """

    plan: Plan
    goal: Goal
    often: Interruptions
    availability: float
    seeds: Sequence[int]
    workers: int = 2

    def find(self) -> list[Spares]:
        """Try spares from none upwards until they are enough, for the student and for engines.

        Raises:
            BadGoal: so many are not enough, or the load is not answered with all of them there.
        """
        found = self._of("student", self.plan.replicas)
        if self.plan.scenario.teacher.kind == "hosted":
            found += self._of("teacher", self.plan.teacher_units)
        return found

    def _of(self, side: str, needed: int) -> list[Spares]:
        states: dict[int, tuple[float, float]] = {0: (0.0, 0.0)}
        found: list[Spares] = []
        for spare in range(MOST_SPARES + 1):
            machines = needed + spare
            runs = self._runs(side, machines)
            states[machines] = _shares(runs, self.goal)
            for fewer in range(machines - 1, 0, -1):
                if fewer in states or bdtr(fewer, machines, self.often.available) < SEEN:
                    break
                states[fewer] = _shares(self._runs(side, fewer), self.goal)
            answered, in_time = weighed(states, machines, self.often.available)
            enough = answered >= self.availability and in_time >= SHARE_IN_TIME
            there = float(bdtrc(needed - 1, machines, self.often.available))
            found.append(
                Spares(side, needed, spare, answered, in_time, there, fleet_usd(runs), enough)
            )
            if enough:
                return found
        raise BadGoal(
            f"{self.plan.scenario.name}: {needed} + {MOST_SPARES} machines of the {side} answer "
            f"{found[-1].answered:.4%} of all arrivals as meant, {found[-1].in_time:.2%} within "
            f"{self.goal.p99_s:g} s; {self.availability:.4%} and 99 % were asked for: it is not "
            "machines that are missing"
        )

    def _runs(self, side: str, machines: int) -> tuple[Result, ...]:
        place = _with_machines(self.plan.scenario, side, machines)
        return simulate_many(place, self.seeds, workers=self.workers).results


def _with_machines(scenario: Scenario, side: str, machines: int) -> Scenario:
    """So many machines that all stay: which of them are there is weighed outside."""
    if side == "student":
        return vary(scenario, {"student.replicas": machines, "student.interruptions": None})
    return vary(scenario, {**teacher_of_size(scenario, machines), "teacher.interruptions": None})


def _shares(runs: Sequence[Result], goal: Goal) -> tuple[float, float]:
    good = [1 - run.refused_rate - run.degraded_rate for run in runs]
    return float(np.mean(good)), float(np.mean([run.slo(goal.p99_s) for run in runs]))


def weighed(
    states: Mapping[int, tuple[float, float]], machines: int, available: float
) -> tuple[float, float]:
    """Mean of both shares over how many of the machines are there; a state not given counts 0."""
    answered = in_time = 0.0
    for there, (good, soon) in states.items():
        if there <= machines:
            below = bdtr(there - 1, machines, available) if there else 0.0
            weight = float(bdtr(there, machines, available) - below)
            answered, in_time = answered + weight * good, in_time + weight * soon
    return answered, in_time
