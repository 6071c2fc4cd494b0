"""Servers side by side on one core, asked by clients that bring requests in different ways."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Any, get_args

from loadtests.bench.driving import Driven, drive
from loadtests.inputs.spec import ClientWay, LoadSpec
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
    client_busy: list[float] = field(default_factory=list)
    """Share of the generator's core that it used: near 1 it is the generator that is measured."""
    failed: int = 0

    def add(self, driven: Driven) -> None:
        """Add one run."""
        report = driven.report
        split = {name: s / report.sent * 1e6 for name, s in driven.used_s.items() if s}
        if not self.cpu_us or driven.cpu_us < min(self.cpu_us):
            self.split_us = {name: round(us, 1) for name, us in split.items()}
        self.rps.append(round(driven.rps, 1))
        self.cpu_us.append(round(driven.cpu_us, 1))
        self.core_busy.append(round(sum(driven.used_s.values()) / report.measured_s, 3))
        self.client_busy.append(round(report.generator_cpu, 3))
        self.failed += driven.unanswered

    def forget_warm_up(self) -> None:
        """Drop the first run."""
        self.rps, self.cpu_us = self.rps[1:], self.cpu_us[1:]
        self.core_busy, self.client_busy = self.core_busy[1:], self.client_busy[1:]


def compare(
    subjects: Mapping[str, Subject], spec: LoadSpec, runs: int, connections: int, seconds: float
) -> dict[str, Any]:
    """Measure every server with every client, in turns, and lay out what the first client saw."""
    ways = get_args(ClientWay)
    measured = {way: {name: ClientFigures() for name in subjects} for way in ways}
    for _ in range(runs + 1):
        for way, servers in measured.items():
            for name, subject in subjects.items():
                servers[name].add(
                    drive(
                        [subject],
                        spec,
                        client=way,
                        closed_loop=connections,
                        duration_s=seconds,
                    )
                )
    for servers in measured.values():
        for one in servers.values():
            one.forget_warm_up()
    report = _first(measured["whole"], seconds, connections)
    report["clients"] = {way: _side_by_side(servers) for way, servers in measured.items()}
    return report


def _side_by_side(servers: Mapping[str, ClientFigures]) -> dict[str, Any]:
    ours = servers["router"]
    return {
        "rps": {name: median(one.rps) for name, one in servers.items()},
        "cpu_us": {name: min(one.cpu_us) for name, one in servers.items()},
        "core_busy": {name: median(one.core_busy) for name, one in servers.items()},
        "client_busy": {name: median(one.client_busy) for name, one in servers.items()},
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
        "client_busy": ours.client_busy,
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
        busy = one["client_busy"]["router"]
        lines.append(f"client {way:<6} {servers}: {ratios}; the generator's core {busy:.0%} busy")
    return lines
