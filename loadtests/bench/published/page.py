"""The page of the router's published figures, from what `raisehand bench published` measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WAYS = {
    "whole": "head and body in one write (aiohttp, curl)",
    "apart": "the body by itself (openai, httpx, requests, Java, Go)",
    "fresh": "a connection for each request",
}
SERVERS = {"router": "raisehand", "bare": "bare uvicorn", "peer": "vllm-router"}


def page_of_published(found: Mapping[str, Any]) -> str:
    """Return it as Markdown."""
    router = found["router"]
    return "\n".join(
        [
            f"# The router, measured on {found['date']}",
            "",
            "By the [load harness](../loadtests.md) alone: `raisehand bench published --out "
            "docs/benchmarks`. `/v1/chat/completions`, a 77-class linear student on every request, "
            "ledger and metrics on, one core; the generator on another. Load average before: "
            f"{found['load_average_before']:.2f}. {_machine(found['harness']['versions'])}",
            "",
            *_generator(found["harness"]),
            *_clients(router),
            *_knee(router),
            *_overload(router),
            *_soak(found.get("soak")),
            *_beside(router, found.get("beside")),
        ]
    )


def _machine(versions: Mapping[str, str]) -> str:
    commit = versions.get("commit", "unknown")
    return f"{versions['machine']}, Python {versions['python']}, commit {commit}."


def _generator(harness: Mapping[str, Any]) -> Iterator[str]:
    lags = ", ".join(_shown(lag, 2) for lag in harness["send_lag_p99_ms"])
    yield "## The generator"
    yield ""
    yield (
        f"One process sends **{harness['rps_per_core']:,.0f}** requests a second on time to a "
        f"server that does nothing ({harness['runs_that_held']} runs; p99 of the send lag {lags} "
        f"ms), with Locust's events on. A request costs {_shown(harness['cpu_us'])} µs of its "
        f"core, {_shown(harness['event_us'])} of them for Locust's event and statistics. Nothing "
        f"is claimed above {harness['claim_limit_rps']:,.0f} a second."
    )
    yield ""


def _clients(router: Mapping[str, Any]) -> Iterator[str]:
    clients = router["clients"]
    servers = [name for name in SERVERS if name in clients["whole"]["rps"]]
    yield f"## Requests a second, closed loop of {router['connections']} clients"
    yield ""
    yield from _table(
        ["client", *(SERVERS[name] for name in servers), "ratio", "CPU µs", "cores busy"],
        [
            [
                WAYS[way],
                *(f"{one['rps'][name]:,.0f}" for name in servers),
                ", ".join(f"{ratio:g} of {SERVERS[name]}" for name, ratio in one["ratio"].items()),
                _shown(one["cpu_us"]["router"]),
                f"router {one['core_busy']['router']:.0%}, generator "
                f"{one['client_busy']['router']:.0%}",
            ]
            for way, one in clients.items()
        ],
    )
    yield ""
    yield "The slower of router and generator is measured: the one whose core is busy."
    yield ""


def _knee(router: Mapping[str, Any]) -> Iterator[str]:
    knee = router["knee"]
    yield "## Knee, open loop"
    yield ""
    yield (
        f"**{_shown(router['knee_rps'], 0)}** requests a second with a p99 within 25 ms and none "
        f"refused, held {knee['confirmed']} times; the search ended by: {knee['ended_by']}."
    )
    yield ""
    quoted = {"at_70_of_knee": "the knee", "at_70_of_closed_loop": "the closed loop"}
    rows = [
        [
            f"70 % of {words}",
            f"{at['rate']:,}",
            f"{_shown(at['p99_ms'], 2)} ({_runs(at['p99_ms_runs'])})",
            f"{_shown(at['bare_p99_ms'], 2)} ({_runs(at['bare_p99_ms_runs'])})",
            _shown(at["p99_of_bare"], 2),
            "; ".join(at["doubts"]) or "counts",
        ]
        for name, words in quoted.items()
        if (at := router.get(name))
    ]
    yield from _table(
        ["at", "a second", "p99 ms (runs)", "bare server's (runs)", "times it", "generator"], rows
    )
    yield ""


def _overload(router: Mapping[str, Any]) -> Iterator[str]:
    if "overload" not in router:
        return
    yield "## Overload"
    yield ""
    yield from _table(
        [
            "offered",
            "a second",
            "sent",
            "goodput of the knee",
            "p99 ms",
            "refused",
            "p99 right after",
        ],
        [
            [
                f"{row['offered']:g} × knee",
                f"{row['offered_rps']:,}",
                f"{row['sent_rps']:,}",
                f"{row['goodput_of_knee']:.0%}",
                _shown(row["p99_ms"]),
                f"{row['refused_429']:,}",
                _shown(row["p99_ms_right_after"], 2),
            ]
            for row in router["overload"]
        ],
    )
    yield ""


def _soak(soak: Mapping[str, Any] | None) -> Iterator[str]:
    if soak is None:
        return
    low, high = soak["resident_mb_per_hour_95"]
    yield f"## Soak: {soak['minutes']:g} minutes at {soak['rate']:,.0f} a second"
    yield ""
    yield (
        f"**{'Passed' if soak['passed'] else 'Failed'}.** {soak['requests']:,} requests, "
        f"{soak['refused']:,} refused, {soak['failed']:,} failed. Memory "
        f"{soak['resident_mb_per_hour']:g} MiB an hour ({low:g} to {high:g}), descriptors "
        f"{soak['descriptors'][0]} to {soak['descriptors'][1]}, p99 {_runs(soak['p99_ms'])} ms in "
        f"the first and last quarter. {' '.join(soak['doubts'])}"
    )
    yield ""


def _beside(router: Mapping[str, Any], other: Mapping[str, Any] | None) -> Iterator[str]:
    """The generator that the benches had before, in the same hour."""
    if other is None:
        return
    yield "## Beside the generator that the benches had before"
    yield ""
    names = {"rps": "requests a second", "cpu_us_per_request": "CPU µs", "knee_rps": "knee"}
    rows = [
        [words, _shown(router.get(name), 1), _shown(other.get(name), 1)]
        for name, words in names.items()
    ]
    for way in WAYS:
        pair = [_shown(each["clients"][way]["rps"]["router"], 0) for each in (router, other)]
        rows.append([f"client {way}, a second", *pair])
    yield from _table(["", "load harness", "asyncio client"], rows)
    yield ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---"] * len(head), *rows):
        yield f"| {' | '.join(row)} |"


def _runs(values: Sequence[float | None]) -> str:
    return ", ".join(_shown(value, 2) for value in values)


def _shown(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
