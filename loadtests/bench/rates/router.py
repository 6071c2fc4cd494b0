"""`raisehand bench router`: requests a second and their CPU cost, beside a peer, then overload."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from costmodel.commands.options import JSON
from loadtests.bench.driving import chat_spec, drive, for_p99
from loadtests.bench.options import CLIENT_CORE, CONNECTIONS, CORE
from loadtests.bench.rates.peer import peer_router
from router.bench.process import python_subject, take_client_core

if TYPE_CHECKING:
    from loadtests.inputs.spec import LoadSpec
    from loadtests.verdict.knee import Knee
    from router.bench.process import Subject

PEER = Path(".venv-peers/bin/vllm-router")
WITHIN_S = 0.1
"""Goodput counts answers within this of their scheduled instant."""
OVERLOADS = (1.2, 2.0, 5.0)
KNEE_P99_MS = 25.0
"""The knee is the highest rate, open loop, at which 99 % are answered within this and none is
refused; beyond it latency only grows."""
KNEE_STEP = 1.4
"""Between the rates that bracket it: the closed loop's figure is a good guess."""
KNEE_RUNS = 16
IN_FLIGHT = 1_000
"""Under overload; an arrival beyond them gives up."""


@click.command(name="router", epilog="Example: raisehand bench router --json")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=3.0, show_default=True, help="Of each measurement, at least.")
@CONNECTIONS
@CORE
@CLIENT_CORE
@click.option(
    "--peer",
    type=click.Path(path_type=Path),
    default=PEER,
    show_default=True,
    help="vllm-router (pip install vllm-router==0.1.17 in its own environment); skipped if absent.",
)
@click.option("--overload/--no-overload", default=True, show_default=True)
@JSON
def router(
    runs: int,
    seconds: float,
    connections: int,
    core: int,
    client_core: int,
    peer: Path,
    overload: bool,
    as_json: bool,
) -> None:
    """Measure the router on one core: a linear student of 77 labels decides every request.

    Every request goes through /v1/chat/completions with ledger and metrics on. The peer, a Rust
    router, passes the same requests to an instant mock and decides nothing. Same core, same
    generator on another core, runs interleaved.
    """
    take_client_core(core, client_core)
    report = measure_router(runs, seconds, connections, core, client_core, peer, overload)
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


def measure_router(
    runs: int,
    seconds: float,
    connections: int,
    core: int,
    client_core: int,
    peer: Path,
    overload: bool,
) -> dict[str, Any]:
    """Measure the router on `core`; the generator is this process's core's."""
    from loadtests.bench.rates.clients import compare

    with ExitStack() as stack:
        spec = chat_spec(Path(stack.enter_context(TemporaryDirectory())))
        subjects = {
            "router": stack.enter_context(python_subject("router.bench.servers.target", core)),
            "bare": stack.enter_context(python_subject("router.bench.servers.bare", core)),
        }
        if peer.exists():
            subjects["peer"] = stack.enter_context(peer_router(peer, core, client_core))
        report = compare(subjects, spec, runs, connections, seconds)
        spec = spec.model_copy(update={"duration_s": seconds})
        knee = _knee(subjects["router"], spec, report["rps"])
        report["knee"] = knee.model_dump(mode="json", exclude={"probes": {"__all__": {"why"}}})
        report["knee_rps"] = knee.rate and round(knee.rate)
        quoted = {"at_70_of_knee": knee.rate, "at_70_of_closed_loop": report["rps"]}
        for name, most in quoted.items():
            if most:
                report[name] = _latencies(subjects, spec, 0.7 * most, runs)
        if overload and knee.rate:
            report["overload"] = _overload(subjects["router"], spec, knee.rate)
    return report


def _knee(subject: Subject, spec: LoadSpec, most: float) -> Knee:
    """Search from half of what the closed loop answered; the generator's own rules hold."""
    from loadtests.inputs.slo import Slo
    from loadtests.report.terminal import show_probe
    from loadtests.verdict.knee import KneeSearch
    from loadtests.verdict.null_check import believable_run

    slo = Slo(latency_ms={"all": {"p99": KNEE_P99_MS}}, max_failure_rate=0)
    url = f"http://127.0.0.1:{subject.port}"
    start = spec.model_copy(update={"url": url, "rate": 0.5 * most})
    return KneeSearch(
        start, believable_run(slo), slo=slo, step=KNEE_STEP, most_runs=KNEE_RUNS, told=show_probe
    ).find()


def _latencies(
    subjects: Mapping[str, Subject], spec: LoadSpec, rate: float, runs: int
) -> dict[str, Any]:
    """Ask ours and the bare server at one rate in turns: what the host adds shows in both."""
    from loadtests.verdict.generator_limit import trusted

    p99: dict[str, list[float | None]] = {"router": [], "bare": []}
    p50, doubts = [], set[str]()
    spec = for_p99(spec, rate)
    for seed in range(runs):
        for name, kept in p99.items():
            driven = drive([subjects[name]], spec, rate=rate, seed=seed)
            doubts.update(trusted(driven.report).invalid_reasons)
            kept.append(_ms(driven.answers_ms.p99))
            if name == "router":
                p50.append(_ms(driven.answers_ms.p50))
    ours, bare = _middle(p99["router"]), _middle(p99["bare"])
    return {
        "rate": round(rate),
        "p50_ms": _middle(p50),
        "p99_ms": ours,
        "p99_ms_runs": p99["router"],
        "bare_p99_ms": bare,
        "bare_p99_ms_runs": p99["bare"],
        "p99_of_bare": round(ours / bare, 2) if ours and bare else None,
        "doubts": sorted(doubts),
    }


def _overload(subject: Subject, spec: LoadSpec, knee: float) -> list[dict[str, Any]]:
    """Offer more than the knee, then little: what is still answered well, and how soon again."""
    rows = []
    for factor in OVERLOADS:
        before = subject.resident_mb()
        driven = drive(
            [subject], spec, rate=factor * knee, concurrency=IN_FLIGHT, deadline_ms=WITHIN_S * 1000
        )
        after = drive([subject], spec, rate=0.3 * knee)
        report = driven.report
        rows.append(
            {
                "offered": factor,
                "offered_rps": round(report.requested_rps),
                "sent_rps": round(report.offered_rps),
                "goodput_rps": round(report.goodput_rps),
                "goodput_of_knee": round(report.goodput_rps / knee, 3),
                "p99_ms": _ms(driven.answers_ms.p99),
                "send_lag_p99_ms": _ms(report.send_lag_ms.p99),
                "refused_429": driven.refused,
                "refusal_p99_ms": _ms(report.latency_ms["failed"].p99),
                "unsent": report.drops,
                "failures": dict(report.failures),
                "p99_ms_right_after": _ms(after.answers_ms.p99),
                "resident_mb": [round(before), round(subject.resident_mb())],
            }
        )
    return rows


def _ms(found: float | None) -> float | None:
    return None if found is None else round(found, 2)


def _middle(found: Sequence[float | None]) -> float | None:
    """Return the median of what is known: a short run carries no p99."""
    known = [value for value in found if value is not None]
    return median(known) if known else None


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _words(report: dict[str, Any]) -> str:
    from loadtests.bench.rates.clients import clients_words

    split = ", ".join(f"{name} {us:g}" for name, us in report["cpu_us_split"].items())
    lines = [
        f"{report['rps']:,.0f} requests/s on one core (runs: {report['rps_runs']})",
        *clients_words(report["clients"]),
        f"{report['cpu_us_per_request']:g} µs of CPU a request: {split}",
        f"Knee, open loop: {report['knee_rps']} requests/s (p99 {KNEE_P99_MS:g} ms), "
        f"ended by {report['knee']['ended_by']}",
    ]
    for name, words in (("at_70_of_knee", "the knee"), ("at_70_of_closed_loop", "the first line")):
        if name not in report:
            continue
        at = report[name]
        lines.append(
            f"p99 {_shown(at['p99_ms'])} ms at 70 % of {words}, {at['rate']:,}/s (runs: "
            f"{at['p99_ms_runs']}), {_shown(at['p99_of_bare'])} times the bare server's "
            f"{_shown(at['bare_p99_ms'])} ms"
        )
    if "peer_rps" in report:
        lines.append(
            f"{report['peer']}: {report['peer_rps']:,.0f} requests/s, "
            f"{report['peer_cpu_us_per_request']:g} µs; ratio {report['ratio']:g}"
        )
    else:
        lines.append(f"No peer at {PEER}: skipped.")
    for row in report.get("overload", ()):
        lines.append(
            f"{row['offered']:g} × offered ({row['offered_rps']:,}/s): goodput "
            f"{row['goodput_of_knee']:.0%} of the knee, p99 {_shown(row['p99_ms'])} ms, "
            f"{row['refused_429']:,} refused, memory {row['resident_mb']} MiB"
        )
    return "\n".join(lines)
