"""Rules that a run must keep before it says anything about the target, judged where they break.

A mean over the run would hide a generator that was late for ten of its seconds: the processor is
judged by interval, the send lag by stretch (as many intervals as carry a p99).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests.figures.load_report import LoadReport

SHORTEST_CPU_S = 0.5
"""The share of a core over less than this is about the moment of the look."""
COLD = 1.5
"""A first interval so many times slower than the slowest other one was still warm-up."""


def broken_rules(report: LoadReport) -> list[str]:
    """Name every rule that the run broke: then its figures say nothing about the target."""
    found = list(_cut(report))
    if report.sent == 0:
        return [*found, "no request was sent in the measured window; raise rate or duration"]
    for rule in (_drops, _send_lag, _offered, _processor, _warm):
        found.extend(rule(report))
    return found


def _cut(report: LoadReport) -> Iterator[str]:
    decided = report.cut is not None and report.cut.decided
    if report.cut is not None and not (decided and any(not c.passed for c in report.checks)):
        yield (
            f"{report.measured_s:.0f} of {report.spec.duration_s:g} s were measured, which is "
            f"incomplete: {report.cut.why}"
        )


def _drops(report: LoadReport) -> Iterator[str]:
    if report.drops:
        first = next((i.at_s for i in report.intervals if i.dropped), 0.0)
        yield (
            f"{report.drops} arrivals were dropped, the first after {first:g} s, because "
            f"{report.spec.concurrency} requests per process were in flight; raise concurrency, or "
            "the target is far past its limit"
        )


def _send_lag(report: LoadReport) -> Iterator[str]:
    limit = report.spec.max_send_lag_ms
    late = [s for s in report.send_lag_stretches if s.p99_ms is not None and s.p99_ms > limit]
    if late:
        worst = max(late, key=lambda s: s.p99_ms or 0.0)
        yield (
            f"1 % of the requests of {_part(worst.at_s, worst.length_s, report)} left "
            f"{worst.p99_ms:.1f} ms or more after their instant; {limit:g} ms is allowed: use more "
            "processes or a quieter machine"
        )


def _offered(report: LoadReport) -> Iterator[str]:
    needed = report.spec.min_offered_share
    if report.sent < needed * report.scheduled:
        yield f"{report.sent} of {report.scheduled} arrivals were sent; {needed:.0%} are needed"


def _processor(report: LoadReport) -> Iterator[str]:
    limit = report.spec.max_generator_cpu
    known = [
        (i.generator_cpu, i)
        for i in report.intervals
        if i.generator_cpu is not None and i.length_s >= SHORTEST_CPU_S
    ]
    busy = [(cpu, i) for cpu, i in known if cpu > limit]
    if busy:
        cpu, worst = max(busy, key=lambda pair: pair[0])
        yield (
            f"a generator process used {cpu:.0%} of a core in "
            f"{_part(worst.at_s, worst.length_s, report)}, and too much in {len(busy)} of "
            f"{len(known)} intervals; {limit:.0%} is allowed: use more processes or a lower rate"
        )
    if not known and not report.generator_cpu <= limit:
        yield "the generator's own use of the processor is not known; make the run longer"


def _warm(report: LoadReport) -> Iterator[str]:
    """A steady load whose first interval is slower than all others began before the target was."""
    medians = [i.p50_ms for i in report.intervals]
    if report.spec.shape.kind != "steady" or len(medians) < 5 or medians[0] is None:
        return
    others = [median for median in medians[1:] if median is not None]
    if others and medians[0] > COLD * max(others):
        yield (
            f"the first interval's median was {medians[0]:.1f} ms and no other's above "
            f"{max(others):.1f} ms: the target was not warm yet; raise --warmup above "
            f"{report.spec.warmup_s:g} s"
        )


def _part(at_s: float, length_s: float, report: LoadReport) -> str:
    if length_s >= report.measured_s - 1e-9:
        return "the run"
    return f"seconds {at_s:g} to {at_s + length_s:g}"
