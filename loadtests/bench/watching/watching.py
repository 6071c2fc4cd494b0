"""`raisehand bench watching`: what audits, a shadow and a looked-at page cost everybody else.

Two real routers on one core, the one watched in every way, the other not at all, take turns at a
third of what they can; while one is asked the other is stopped. Each pair of turns gives a ratio of
p99; what is told is the median of the ratios and its interval by bootstrap, so that the machine's
moods, which are larger than what is asked about, cancel out. A pair in which a request failed says
how ill the machine was and not what watching costs: it is taken again, so often and no oftener, and
what failed is told, of either router on its own.
"""

from __future__ import annotations

import json
import os
import time
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.driving import WARM_UP_S, drive, for_p99, write_texts
from loadtests.bench.options import CLIENT_CORE, CORE
from loadtests.bench.ratios import ratio_of_pairs
from loadtests.bench.watching.turns import Turn, take_pairs
from router.bench.process import python_subject, take_client_core

if TYPE_CHECKING:
    from loadtests.bench.watching.pair import Routed
    from loadtests.inputs.spec import LoadSpec

SHARE = 0.3
"""Of the requests a second that the slower router can, asked of both: a closed loop can more than
an open one bears, and a breath of the machine must not fill the queue."""
SETTLE_S = 0.4
"""Before each turn: what was due while a process was stopped is done."""
TOLD_S = 45.0
"""A router tells of its comparisons a few times a minute."""
AIM = 1.03


@click.command(name="watching", epilog="Example: raisehand bench watching --pairs 40 --json")
@click.option("--pairs", default=40, show_default=True, type=click.IntRange(2))
@click.option("--seconds", default=4.0, show_default=True, help="Of each turn, at least.")
@click.option(
    "--rate", type=float, help=f"Requests a second; default: {SHARE:.0%} of what a router can."
)
@CORE
@CLIENT_CORE
@JSON
def watching(
    pairs: int, seconds: float, rate: float | None, core: int, client_core: int, as_json: bool
) -> None:
    """Time the answers of a router that is watched beside one that is not."""
    from loadtests.bench.watching.pair import two_routers

    take_client_core(core, client_core)
    with (
        TemporaryDirectory() as folder,
        python_subject("router.bench.servers.teacher", client_core) as teacher,
        two_routers(Path(folder), f"http://127.0.0.1:{teacher.port}", core) as (plain, watched),
    ):
        spec = _spec(Path(folder), seconds)
        report = _measure(plain, watched, spec, pairs, rate)
    report["load_average"] = os.getloadavg()[0]
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


def _spec(folder: Path, seconds: float) -> LoadSpec:
    from loadtests.inputs.spec import LoadSpec
    from router.bench.subject import make_texts

    return LoadSpec(
        url="http://127.0.0.1:9",
        inputs=write_texts(folder / "texts.csv", make_texts(2_000, seed=1)),
        rate=1.0,
        warmup_s=WARM_UP_S,
        duration_s=seconds,
        abort="never",
    )


def _measure(
    plain: Routed, watched: Routed, spec: LoadSpec, pairs: int, rate: float | None
) -> dict[str, Any]:
    plain.pause()
    watched.pause()
    try:
        rate = rate or SHARE * min(_most(routed, spec) for routed in (plain, watched))
        turn = partial(_turn, spec=for_p99(spec, rate), rate=rate)
        taken = take_pairs({"off": plain, "on": watched}, turn, pairs)
    finally:
        plain.go_on()
        watched.go_on()
    state = watched.compared(TOLD_S)
    return {
        "rate": round(rate),
        "pairs": pairs,
        "again": taken.failed,
        "p50_ms": {name: round(median(values), 3) for name, values in taken.p50.items()},
        "p99_ms": {name: round(median(values), 3) for name, values in taken.p99.items()},
        "p50": ratio_of_pairs(taken.p50["on"], taken.p50["off"]),
        "p99": ratio_of_pairs(taken.p99["on"], taken.p99["off"]),
        "compared": state["duel"],
    }


def _most(routed: Routed, spec: LoadSpec) -> float:
    """Return requests a second of a closed loop."""
    routed.go_on()
    driven = drive([routed.subject], spec, closed_loop=64)
    routed.pause()
    return driven.rps


def _turn(routed: Routed, seed: int, *, spec: LoadSpec, rate: float) -> Turn:
    """Ask one router for so long."""
    routed.go_on()
    with routed.looked_at():
        time.sleep(SETTLE_S)
        driven = drive([routed.subject], spec, rate=rate, seed=seed)
    routed.pause()
    return Turn.of(driven.report.latency_ms["all"], driven.unanswered)


def _words(report: dict[str, Any]) -> str:
    p50, p99 = report["p50"], report["p99"]
    held = "holds" if p99["high"] < AIM else "is not shown" if p99["low"] < AIM else "is missed"
    return (
        f"{report['pairs']} pairs at {report['rate']} requests/s: p99 {report['p99_ms']['off']} ms "
        f"unwatched, {report['p99_ms']['on']} ms with audits, shadow and page: "
        f"{p99['ratio']:g} × [{p99['low']:g}, {p99['high']:g}]; p50 {p50['ratio']:g} × "
        f"[{p50['low']:g}, {p50['high']:g}].\n"
        f"{_again(report['again'])}"
        f"The aim of less than {AIM - 1:.0%} on p99 {held}."
    )


def _again(failed: dict[str, int]) -> str:
    if not any(failed.values()):
        return ""
    return (
        f"Turns with failed requests, whose pairs were taken again: {failed['off']} unwatched, "
        f"{failed['on']} watched.\n"
    )
