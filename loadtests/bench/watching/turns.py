"""Pairs of turns of which no request failed, as many as were asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from router.errors import BadSettings

if TYPE_CHECKING:
    from loadtests.figures.latency import LatencySummary

AGAIN = 0.5
"""Pairs taken again because a request failed, at most, as a share of those wanted; one at least."""
Asked = TypeVar("Asked")


@dataclass(frozen=True, slots=True)
class Turn:
    """One router asked for some seconds: milliseconds, and requests that got no valid answer."""

    p50_ms: float
    p99_ms: float
    unanswered: int

    @classmethod
    def of(cls, found: LatencySummary, unanswered: int) -> Turn:
        """Take what came of it; what never got an answer is later than every answer.

        Raises:
            BadSettings: all got answers, and they are too few for a p99.
        """
        if not unanswered and (found.p50 is None or found.p99 is None):
            raise BadSettings(
                f"{found.n} requests in a turn have no p99: give --seconds or --rate a larger value"
            )
        late = math.inf
        return cls(found.p50 or late, found.p99 or late, unanswered)


@dataclass(frozen=True, slots=True)
class Taken:
    """Milliseconds by router, a pair a place, and how many turns of each had to be taken again."""

    p50: Mapping[str, list[float]]
    p99: Mapping[str, list[float]]
    failed: dict[str, int] = field(default_factory=dict)


def take_pairs(
    routers: Mapping[str, Asked], turn: Callable[[Asked, int], Turn], pairs: int
) -> Taken:
    """Ask the routers in turns, the first to go changing; the first pair warms up.

    Args:
        routers: who is asked, by name.
        turn: asks one of them, with a seed.
        pairs: wanted.

    Raises:
        BadSettings: too many pairs had failed requests.
    """
    taken = Taken(
        {name: [] for name in routers}, {name: [] for name in routers}, dict.fromkeys(routers, 0)
    )
    left, pair = max(1, round(AGAIN * pairs)), 0
    while pair <= pairs:
        order = list(routers)[:: 1 if pair % 2 else -1]
        turns = {name: turn(routers[name], pair) for name in order}
        ill = {name: found.unanswered for name, found in turns.items() if found.unanswered}
        if ill and pair:
            for name in ill:
                taken.failed[name] += 1
            if left == 0:
                raise BadSettings(
                    f"requests failed in {taken.failed} turns, and {pair - 1} pairs of {pairs} "
                    "are whole: the machine is too busy, or the rate too high; give --rate"
                )
            left -= 1
            continue
        if pair:
            for name, found in turns.items():
                taken.p50[name].append(found.p50_ms)
                taken.p99[name].append(found.p99_ms)
        pair += 1
    return taken
