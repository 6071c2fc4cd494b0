"""`raisehand bench router`: requests a second and their CPU cost, beside a peer, then overload."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from router.bench.process import Subject

PEER = Path(".venv-peers/bin/vllm-router")
WITHIN_S = 0.1
"""Goodput counts answers within this of their scheduled instant."""
OVERLOADS = (1.2, 2.0, 5.0)
KNEE_P99_MS = 25.0
"""The knee is the highest rate, open loop, at which 99 % are answered within this and none is
refused; beyond it latency only grows."""
KNEE_STEPS = 5
KNEE_TRIES = 2
"""A rate that is held once is held: other work on the machine can only make it look worse."""


@click.command(name="router", epilog="Example: raisehand bench router --json")
@click.option("--runs", default=3, show_default=True, type=click.IntRange(1))
@click.option("--seconds", default=3.0, show_default=True, help="Of each measurement.")
@click.option("--connections", default=64, show_default=True, type=click.IntRange(1))
@click.option("--core", default=0, show_default=True, help="Core of the measured server.")
@click.option("--client-core", default=1, show_default=True, help="Core of the load generator.")
@click.option(
    "--peer",
    type=click.Path(path_type=Path),
    default=PEER,
    show_default=True,
    help="vllm-router (pip install vllm-router==0.1.17 in its own environment); skipped if absent.",
)
@click.option("--overload/--no-overload", default=True, show_default=True)
@click.option("--json", "as_json", is_flag=True)
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
    import json

    import uvloop

    from router.bench.process import take_client_core

    take_client_core(core, client_core)
    report = uvloop.run(_measure(runs, seconds, connections, core, client_core, peer, overload))
    click.echo(json.dumps(report, indent=1) if as_json else _words(report))


async def _measure(
    runs: int,
    seconds: float,
    connections: int,
    core: int,
    client_core: int,
    peer: Path,
    overload: bool,
) -> dict[str, Any]:
    from contextlib import ExitStack

    from router.bench.clients import compare
    from router.bench.peer import peer_router
    from router.bench.process import python_subject

    with ExitStack() as stack:
        subjects = {
            "router": stack.enter_context(python_subject("router.bench.servers.target", core)),
            "bare": stack.enter_context(python_subject("router.bench.servers.bare", core)),
        }
        if peer.exists():
            subjects["peer"] = stack.enter_context(peer_router(peer, core, client_core))
        report = await compare(subjects, chat_requests(), runs, connections, seconds)
        ours = subjects["router"]
        knee = await _knee(ours, report["rps"], seconds)
        report["knee_rps"] = round(knee)
        for name, most in (("at_70_of_knee", knee), ("at_70_of_closed_loop", report["rps"])):
            report[name] = await _latencies(subjects, 0.7 * most, runs, seconds)
        if overload:
            report["overload"] = await _overload(ours, knee, seconds)
    return report


async def _knee(subject: Subject, most: float, seconds: float) -> float:
    """Bisect between half of what the closed loop answered and a little more than all of it."""
    low, high = 0.5 * most, 1.1 * most
    for _ in range(KNEE_STEPS):
        rate = (low + high) / 2.0
        if await _holds(subject, rate, seconds):
            low = rate
        else:
            high = rate
    return low


async def _holds(subject: Subject, rate: float, seconds: float) -> bool:
    from router.bench.load import open_loop

    for seed in range(KNEE_TRIES):
        tally = await open_loop(
            subject.port, chat_requests(), rate=rate, seconds=seconds, connections=256, seed=seed
        )
        refused = tally.unsent + tally.statuses.total() - tally.statuses[200]
        if not refused and tally.quantile_ms(0.99) <= KNEE_P99_MS:
            return True
    return False


async def _latencies(
    subjects: dict[str, Subject], rate: float, runs: int, seconds: float
) -> dict[str, Any]:
    """Ask ours and the bare server at one rate in turns: what the host adds shows in both."""
    from router.bench.load import open_loop

    p99: dict[str, list[float]] = {"router": [], "bare": []}
    p50 = []
    for seed in range(runs):
        for name, kept in p99.items():
            tally = await open_loop(
                subjects[name].port,
                chat_requests(),
                rate=rate,
                seconds=seconds,
                connections=256,
                seed=seed,
            )
            kept.append(round(tally.quantile_ms(0.99), 2))
            if name == "router":
                p50.append(round(tally.quantile_ms(0.5), 2))
    ours, bare = median(p99["router"]), median(p99["bare"])
    return {
        "rate": round(rate), "p50_ms": median(p50), "p99_ms": ours, "p99_ms_runs": p99["router"],
        "bare_p99_ms": bare, "bare_p99_ms_runs": p99["bare"], "p99_of_bare": round(ours / bare, 2),
    }  # fmt: skip


async def _overload(subject: Subject, knee: float, seconds: float) -> list[dict[str, Any]]:
    """Offer more than the knee, then little: what is still answered well, and how soon again."""
    from router.bench.load import open_loop

    rows = []
    for factor in OVERLOADS:
        before = subject.resident_mb()
        tally = await open_loop(
            subject.port,
            chat_requests(),
            rate=factor * knee,
            seconds=seconds,
            connections=1_000,
            patience_s=WITHIN_S / 10,
        )
        after = await open_loop(
            subject.port, chat_requests(), rate=0.3 * knee, seconds=seconds, connections=256
        )
        rows.append(
            {
                "offered": factor,
                "offered_rps": round(tally.scheduled / seconds),
                "sent_rps": round((tally.scheduled - tally.unsent) / seconds),
                "goodput_rps": round(tally.goodput(WITHIN_S)),
                "goodput_of_knee": round(tally.goodput(WITHIN_S) / knee, 3),
                "p99_ms": round(tally.quantile_ms(0.99), 1),
                "refused_429": tally.statuses[429],
                "refusal_p99_ms": round(tally.refusal_quantile_ms(0.99), 1),
                "statuses": dict(tally.statuses),
                "p99_ms_right_after": round(after.quantile_ms(0.99), 2),
                "resident_mb": [round(before), round(subject.resident_mb())],
            }
        )
    return rows


@cache
def chat_requests() -> Sequence[bytes]:
    """Return whole HTTP requests for two thousand texts of the benchmark's task."""
    import msgspec

    from router.bench.load import http_requests
    from router.bench.subject import MODEL, PROMPT, make_texts
    from students.prompt import render

    bodies = [
        msgspec.json.encode({"model": MODEL, "messages": render(PROMPT, text), "temperature": 0})
        for text in make_texts(2_000, seed=1)
    ]
    return http_requests("/v1/chat/completions", bodies)


def _words(report: dict[str, Any]) -> str:
    from router.bench.clients import clients_words

    split = ", ".join(f"{name} {us:g}" for name, us in report["cpu_us_split"].items())
    lines = [
        f"{report['rps']:,.0f} requests/s on one core (runs: {report['rps_runs']})",
        *clients_words(report["clients"]),
        f"{report['cpu_us_per_request']:g} µs of CPU a request: {split}",
        f"Knee, open loop: {report['knee_rps']:,} requests/s (p99 {KNEE_P99_MS:g} ms)",
    ]
    for name, words in (("at_70_of_knee", "the knee"), ("at_70_of_closed_loop", "the first line")):
        at = report[name]
        lines.append(
            f"p99 {at['p99_ms']:g} ms at 70 % of {words}, {at['rate']:,}/s (runs: "
            f"{at['p99_ms_runs']}), {at['p99_of_bare']:g} times the bare server's "
            f"{at['bare_p99_ms']:g} ms"
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
            f"{row['goodput_of_knee']:.0%} of the knee, p99 {row['p99_ms']:g} ms, "
            f"{row['refused_429']:,} refused, memory {row['resident_mb']} MiB"
        )
    return "\n".join(lines)
