"""When to stop a run early: the target is dead, or a limit cannot be kept any more."""

from __future__ import annotations

from collections.abc import Callable

from loadtests.generator.tallies import Tally
from loadtests.inputs.percentiles import QUANTILES
from loadtests.inputs.slo import Slo
from loadtests.inputs.spec import LoadSpec

DEAD_S = 10.0
"""A target that answered nothing for so long while requests failed is not sent more of them."""
DEAD_FAILURES = 20


class Abandoned(Exception):
    """The run is to end now; `decided`: whatever follows, a limit is broken."""

    def __init__(self, why: str, *, decided: bool) -> None:
        super().__init__(why)
        self.decided = decided


class Lookout:
    """Looks at a run as it goes; `tally` reads what was counted so far, `planned` is its arrivals.

    Raises from `look`:
        Abandoned: the run should end.
    """

    def __init__(
        self, spec: LoadSpec, slo: Slo, planned: int, tally: Callable[[], Tally], interval_s: float
    ) -> None:
        self._spec, self._slo, self._planned, self._tally = spec, slo, planned, tally
        self._interval_s = interval_s
        self._answered, self._answered_at, self._failed_then = -1, 0.0, 0
        self._judged_at = 0.0

    def look(self, elapsed_s: float, answered: int, failed: int) -> None:
        """Take in how far the run is; `failed` includes drops."""
        if self._spec.abort == "never":
            return
        if answered != self._answered:
            self._answered, self._answered_at, self._failed_then = answered, elapsed_s, failed
        silent_s = elapsed_s - self._answered_at
        if silent_s >= DEAD_S and failed - self._failed_then >= DEAD_FAILURES:
            raise Abandoned(
                f"nothing was answered for {silent_s:.0f} s while "
                f"{failed - self._failed_then} requests failed; --abort never sends on",
                decided=lost(self._slo, self._tally(), self._planned) is not None,
            )
        if self._spec.abort == "lost" and elapsed_s - self._judged_at >= self._interval_s:
            self._judged_at = elapsed_s
            why = lost(self._slo, self._tally(), self._planned)
            if why is not None:
                raise Abandoned(why, decided=True)


def lost(slo: Slo, tally: Tally, planned: int) -> str | None:
    """Name a limit that is broken even if all the rest of `planned` requests were perfect."""
    failed = sum(counts.total() for counts in tally.failed.values()) + tally.dropped.total()
    if failed > slo.max_failure_rate * planned:
        return (
            f"{failed} of {planned} requests have failed and at most {slo.max_failure_rate:.2%} may"
        )
    for route, limits in slo.latency_ms.items():
        for name, limit_ms in limits.items():
            late = failed if route == "all" else 0
            for known, intervals in tally.latency.items():
                if route in ("all", known):
                    late += sum(
                        round(h.n * (1.0 - h.share_within(limit_ms / 1000 * 1.01)))
                        for h in intervals.values()
                        if h.n
                    )
            if late > (1.0 - QUANTILES[name]) * planned:
                return (
                    f"{late} of {planned} requests are later than {limit_ms:g} ms on route "
                    f"{route}: its {name} cannot be kept any more"
                )
    return None
