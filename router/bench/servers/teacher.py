"""A teacher that breaks on command, in a process of its own.

    python -m router.bench.servers.teacher

It reads one word a line: a fault of `router.testing.Fault`, `slow` (answers after 1 s) or `dead`
(no longer listens); it behaves so from then on, and repeats the word.
"""

from __future__ import annotations

import asyncio
import json
import sys

import click

from router.bench.subject import LABELS
from router.testing import Fault, FaultServer

LATENCY_S = 0.02
SLOW_S = 1.0


async def _serve() -> None:
    server = FaultServer([f"intent_{k:02d}" for k in range(LABELS)])
    await server.__aenter__()
    _say(json.dumps({"port": server.port, "threads": {}}))
    listens = True
    while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
        if listens and word == "dead":
            await server.__aexit__(None, None, None)
        elif not listens and word != "dead":
            await server.__aenter__()
        listens = word != "dead"
        server.latency_s = SLOW_S if word == "slow" else LATENCY_S
        server.fault = Fault(word) if word in set(Fault) else Fault.NONE
        server.heads.clear()
        server.bodies.clear()
        _say(word)


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_serve())
