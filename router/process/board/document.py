"""What the page shows, put together from all workers' pulses and what is in the files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from router.process.board.books import SlowBooks
from router.process.board.promise import AuditIntervals, watched_of
from router.process.board.pulse import Pulse
from router.process.board.rates import RecentRates


def document_of(
    pulses: Sequence[Pulse | None],
    books: SlowBooks,
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
        "events": books.events,
    }


def _task(
    name: str,
    states: Sequence[Mapping[str, Any]],
    books: SlowBooks,
    intervals: AuditIntervals,
) -> dict[str, Any]:
    first, spent = states[0], books.spent
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
        "suspects": books.suspects.get(name, ()),
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
        "bundles": [asdict(card) for card in books.bundles.get(name, ())],
        "money": None
        if spent is None
        else {
            "today": spent.today.get(name),
            "month": spent.month.get(name),
            "read": spent.read,
            "saved": books.saved.get(name),
        },
    }
