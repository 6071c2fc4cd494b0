"""The board: one document for the page, made from all workers' pulses and one worker's books.

It is made while somebody looks, every other second, once for everybody who looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Any, Protocol

import msgspec

from router.process.board.books import SlowBooks
from router.process.board.promise import AuditIntervals, watched_of
from router.process.board.pulse import Pulse
from router.process.board.rates import RecentRates

TICK_S = 2.0


class BoardSource(Protocol):
    """Where the board's figures come from."""

    async def pulses(self) -> Sequence[Pulse | None]:
        """Return what each worker says now; None: it does not answer."""
        ...

    async def books(self) -> SlowBooks | None:
        """Return what one worker tells of its files; None: none answers."""
        ...


class Board:
    """Makes the document.

    Args:
        source: of its figures.
        tick_s: between two of them.
    """

    def __init__(self, source: BoardSource, tick_s: float = TICK_S) -> None:
        self._source = source
        self._tick_s = tick_s
        self._rates = RecentRates()
        self._intervals = AuditIntervals()
        self._document = b""
        self._version = 0
        self._made = asyncio.Condition()
        self._lookers = 0
        self._ticking: asyncio.Task[None] | None = None
        self._closed = False

    async def read(self) -> bytes:
        """Return the document as it is now."""
        pulses, books = await asyncio.gather(self._source.pulses(), self._source.books())
        self._rates.add(
            time.monotonic(), [None if pulse is None else pulse.tally for pulse in pulses]
        )
        document = partial(document_of, pulses, books, self._rates, self._intervals, time.time())
        return msgspec.json.encode(await asyncio.to_thread(document))

    async def follow(self) -> AsyncIterator[bytes]:
        """Yield the document now and whenever there is a new one, until the board is closed."""
        self._lookers += 1
        if self._ticking is None or self._ticking.done():
            self._ticking = asyncio.create_task(self._tick())
        seen = 0
        try:
            while not self._closed:
                async with self._made:
                    while self._version == seen and not self._closed:
                        await self._made.wait()
                    seen, document = self._version, self._document
                if not self._closed:
                    yield document
        finally:
            self._lookers -= 1

    async def close(self) -> None:
        """End every stream: a server that stops waits for its connections."""
        self._closed = True
        if self._ticking is not None:
            self._ticking.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticking
        async with self._made:
            self._made.notify_all()

    async def _tick(self) -> None:
        while self._lookers and not self._closed:
            document = await self.read()
            async with self._made:
                self._document, self._version = document, self._version + 1
                self._made.notify_all()
            await asyncio.sleep(self._tick_s)


def document_of(
    pulses: Sequence[Pulse | None],
    books: SlowBooks | None,
    rates: RecentRates,
    intervals: AuditIntervals,
    now: float,
) -> dict[str, Any]:
    """Put the document together; nothing in it was written by a client."""
    there = [pulse for pulse in pulses if pulse is not None]
    names = list(dict.fromkeys(name for pulse in there for name in pulse.tasks))
    per_second = rates.per_second
    return {
        "at": now,
        "workers": [pulse is not None for pulse in pulses],
        "draining": [pulse.draining for pulse in there],
        "ledger": {
            "dropped": sum(pulse.ledger_dropped for pulse in there),
            "backlog_s": max((pulse.ledger_backlog_s for pulse in there), default=0.0),
        },
        "per_second": sum(per_second.values()),
        "routes": {name: asdict(recent) for name, recent in rates.by_route.items()},
        "reasons": [[*key, rate] for key, rate in sorted(per_second.items())],
        "tasks": {
            name: _task(
                name,
                [pulse.tasks[name] for pulse in there if name in pulse.tasks],
                books,
                intervals,
            )
            for name in names
        },
        "events": books.events if books else [],
    }


def _task(
    name: str,
    states: Sequence[Mapping[str, Any]],
    books: SlowBooks | None,
    intervals: AuditIntervals,
) -> dict[str, Any]:
    first, spent = states[0], books.spent if books else None
    fills = [s["escalation_budget_fill"] for s in states if s["escalation_budget_fill"] is not None]
    watched = watched_of(name, states, intervals)
    return {
        "bundle": first["bundle"],
        "previous": first["previous"],
        "canary": first["canary"],
        "canary_share": first["canary_share"],
        "shadow": first.get("shadow"),
        "duel": max(
            (duel for state in states if (duel := state.get("duel"))),
            key=lambda duel: int(duel.get("compared") or 0),
            default=None,
        ),
        "suspects": books.suspects.get(name, ()) if books else (),
        "raised_threshold": first["raised_threshold"],
        "thresholds": [min(first["thresholds"]), max(first["thresholds"])],
        "differ": len({(s["bundle"], s["canary"], s["raised_threshold"]) for s in states}) > 1,
        "queue": sum(s["queue_depth"] for s in states),
        "teacher": {
            "inflight": sum(s["teacher_inflight"] for s in states),
            "limit": sum(s["teacher_limit"] for s in states),
            "refused": max(s["teacher_refusal_probability"] for s in states),
            "budget_fill": min(fills, default=None),
            "check": first.get("teacher_check"),
            "end": first.get("teacher_end"),
        },
        "audits": None if watched is None else asdict(watched),
        "audits_lost": sum(s["audits_lost"] for s in states),
        "bundles": [asdict(card) for card in books.bundles.get(name, ())] if books else [],
        "money": None
        if spent is None
        else {
            "today": spent.today.get(name),
            "month": spent.month.get(name),
            "read": spent.read,
            "saved": books.saved.get(name) if books else None,
        },
    }
