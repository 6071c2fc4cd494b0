"""Servers side by side on one core, asked by clients that bring requests in different ways."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from router.bench.load import BenchCounts, Way, closed_loop
from router.bench.process import Subject

Clients = Mapping[str, Mapping[str, Any]]
"""By way, what `_side_by_side` says."""


@dataclass
class ClientFigures:
    """Closed-loop runs of one server on one core."""

    rps: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    split_us: dict[str, float] = field(default_factory=dict)
    """By thread, of the run with the least CPU per request."""
    core_busy: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, tally: BenchCounts, used: dict[str, float]) -> None:
        """Add one run."""
        answered = sum(tally.statuses.values())
        split = {name: seconds / answered * 1e6 for name, seconds in used.items() if seconds}
        if not self.cpu_us or sum(split.values()) < min(self.cpu_us):
            self.split_us = {name: round(us, 1) for name, us in split.items()}
        self.rps.append(round(tally.rps, 1))
        self.cpu_us.append(round(sum(split.values()), 1))
        self.core_busy.append(round(sum(used.values()) / tally.seconds, 3))
        self.failed += answered - tally.statuses[200]

    def forget_warm_up(self) -> None:
        """Drop the first run."""
        self.rps, self.cpu_us = self.rps[1:], self.cpu_us[1:]
        self.core_busy = self.core_busy[1:]


async def compare(
    subjects: Mapping[str, Subject],
    requests: Sequence[bytes],
    runs: int,
    connections: int,
    seconds: float,
) -> dict[str, Any]:
    """Measure every server with every client, in turns, and lay out what the first client saw."""
    measured = {way: {name: ClientFigures() for name in subjects} for way in Way}
    for _ in range(runs + 1):
        for way, servers in measured.items():
            for name, subject in subjects.items():
                await ask(subject, servers[name], requests, connections, seconds, way)
    for servers in measured.values():
        for one in servers.values():
            one.forget_warm_up()
    report = _first(measured[Way.WHOLE], seconds, connections)
    report["clients"] = {str(way): _side_by_side(servers) for way, servers in measured.items()}
    return report


async def ask(
    subject: Subject,
    measured: ClientFigures,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    way: Way,
) -> None:
    """Load a server once and add what came of it."""
    before = subject.cpu_seconds()
    tally = await closed_loop(
        subject.port, requests, connections=connections, seconds=seconds, way=way
    )
    after = subject.cpu_seconds()
    measured.add(tally, {name: after[name] - before[name] for name in after})


def _side_by_side(servers: Mapping[str, ClientFigures]) -> dict[str, Any]:
    ours = servers["router"]
    return {
        "rps": {name: median(one.rps) for name, one in servers.items()},
        "cpu_us": {name: min(one.cpu_us) for name, one in servers.items()},
        "failed": {name: one.failed for name, one in servers.items()},
        "ratio": {
            name: round(median(ours.rps) / median(one.rps), 2)
            for name, one in servers.items()
            if one is not ours
        },
    }


def _first(
    measured: Mapping[str, ClientFigures], seconds: float, connections: int
) -> dict[str, Any]:
    ours, bare = measured["router"], measured["bare"]
    report: dict[str, Any] = {
        "rps": median(ours.rps),
        "rps_runs": ours.rps,
        "cpu_us_per_request": min(ours.cpu_us),
        "cpu_us_split": ours.split_us | {"of which bare uvicorn": min(bare.cpu_us)},
        "core_busy": ours.core_busy,
        "failed": ours.failed,
        "bare_uvicorn_rps": median(bare.rps),
        "connections": connections,
        "seconds": seconds,
        "surface": "/v1/chat/completions",
        "load_average": os.getloadavg()[0],
    }
    if "peer" in measured:
        theirs = measured["peer"]
        report |= {
            "peer": "vllm-router 0.1.17 to an instant mock upstream, deciding nothing",
            "peer_rps": median(theirs.rps),
            "peer_rps_runs": theirs.rps,
            "peer_cpu_us_per_request": min(theirs.cpu_us),
            "peer_core_busy": theirs.core_busy,
            "peer_failed": theirs.failed,
            "ratio": round(median(ours.rps) / median(theirs.rps), 2),
            "cpu_ratio": round(min(theirs.cpu_us) / min(ours.cpu_us), 2),
        }
    return report


def clients_words(clients: Clients) -> list[str]:
    """Return a line for each way of asking."""
    lines = []
    for way, one in clients.items():
        servers = ", ".join(
            f"{name} {rps:,.0f} ({one['cpu_us'][name]:g} µs)" for name, rps in one["rps"].items()
        )
        ratios = ", ".join(f"{ratio:g} of {name}" for name, ratio in one["ratio"].items())
        lines.append(f"client {way:<6} {servers}: {ratios}")
    return lines
