"""What operators do is an event like any other: on the page, and for webhooks."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from router.process.admin_door import Change
from router.service.service import Service
from router.shared.records import Event, Figure, StoreAway

KIND = "operator"
log = logging.getLogger(__name__)


class ChangeLog:
    """Writes changes into the store that all workers share."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def record(self, change: Change) -> None:
        """Append a change; a store that is away is said in the log, and the change stays made."""
        event = event_of(change, time.time())
        served = self._service.tasks.get(event.task)
        if served is not None and not event.bundle:
            bundle = served.pipeline.slot.current.bundle
            event = msgspec.structs.replace(event, bundle=bundle)
        keeper = self._service.keepers.get(event.task or next(iter(self._service.tasks)))
        if keeper is None:
            return
        try:
            await asyncio.to_thread(keeper.store.record, event)
        except StoreAway as away:
            log.warning("a change of an operator is in no list of events: %s", away)


def event_of(change: Change, at: float) -> Event:
    """Put a change in an event's terms; its figures are what was asked for."""
    parts = change.path.strip("/").split("/")
    of_task = parts[0] == "tasks" and len(parts) > 2
    return Event(
        at=at,
        task=unquote(parts[1]) if of_task else "",
        bundle=str(_figures(change.body).get("bundle", "")),
        kind=KIND,
        reason=" ".join(parts[2:]) if of_task else parts[0],
        actor=change.who,
        figures={k: v for k, v in _figures(change.body).items() if k != "bundle"},
    )


def _figures(body: str) -> Mapping[str, Figure]:
    try:
        told = json.loads(body or "{}")
    except json.JSONDecodeError:  # longer than what is kept of it
        return {}
    if not isinstance(told, dict):
        return {}
    return {
        str(name): int(value) if isinstance(value, bool) else value
        for name, value in told.items()
        if isinstance(value, (bool, int, float, str)) or value is None
    }
