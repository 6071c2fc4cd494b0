"""One event to one receiver over HTTP: what is said, how it is signed, and whether it was taken."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp
import msgspec

from router.errors import BadSettings
from router.shared.records import SHADOW, Event
from students.errors import BadTask
from students.sections import WebhookSection
from students.task import Task
from students.teachers.client import proxy_of

ANSWER_S = 10.0
"""A receiver that has not answered by then has not taken it."""
RUNBOOK = "https://github.com/raisehand/raisehand/blob/main/docs/operations.md#alerts"
_FIGURES_SHOWN = 12


class Webhook:
    """A receiver as the task file names it.

    Raises:
        BadSettings: a variable that it needs is not set, or its address is none.
    """

    def __init__(
        self, task: Task, section: WebhookSection, environment: Mapping[str, str] = os.environ
    ) -> None:
        self.task = task.name
        self.kind = section.kind
        self._kinds = section.events
        self._url = _read(task, section.url_env, environment) or str(section.url)
        parts = urlsplit(self._url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadSettings(
                f"task {task.name}: the address of a webhook (variable {section.url_env}) is no "
                "https://… address"
            )
        self.host = parts.hostname
        """All of the address that may be shown: with some services the rest is the secret."""
        self._secret = _read(task, section.secret_env, environment)
        address = hashlib.sha256(f"{self.kind} {self._url}".encode()).hexdigest()
        self.name = f"{task.name}/{address[:16]}"
        """Of its place in the stream of events: another address begins anew."""

    def wants(self, event: Event) -> bool:
        """Whether it is told of an event."""
        task = event.task.removesuffix(SHADOW)
        return task == self.task and (not self._kinds or event.kind in self._kinds)

    async def deliver(self, session: aiohttp.ClientSession, event: Event) -> str | None:
        """Post an event once; None when it was taken, else why not."""
        body = msgspec.json.encode(slack(event) if self.kind == "slack" else plain(event))
        headers = {"content-type": "application/json", "x-raisehand-event": id_of(event)}
        if self._secret:
            digest = hmac.new(self._secret.encode(), body, hashlib.sha256).hexdigest()
            headers["x-raisehand-signature"] = f"sha256={digest}"
        try:
            async with session.post(
                self._url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=ANSWER_S),
                proxy=proxy_of(self._url),
            ) as response:
                status = response.status
        except BadTask as error:
            return str(error)
        except TimeoutError:
            return f"it did not answer within {ANSWER_S:g} s"
        except (aiohttp.ClientSSLError, ssl.SSLError):
            return "its certificate is not trusted, or it speaks no TLS"
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            return f"it cannot be reached ({type(error).__name__})"
        return None if 200 <= status < 300 else f"it answered {status}"


def id_of(event: Event) -> str:
    """Return what tells an event from every other: the same however often it is sent."""
    return f"{event.task}-{event.id}-{int(event.at * 1000)}"


def plain(event: Event) -> dict[str, object]:
    """An event as JSON for programs."""
    return {
        "id": id_of(event),
        "at": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds"),
        "task": event.task,
        "bundle": event.bundle,
        "kind": event.kind,
        "reason": event.reason,
        "actor": event.actor,
        "figures": dict(event.figures),
        "runbook": RUNBOOK,
    }


def slack(event: Event) -> dict[str, object]:
    """The same as a message for people."""
    figures = ", ".join(
        f"{name.replace('_', ' ')} {_short(value)}"
        for name, value in list(event.figures.items())[:_FIGURES_SHOWN]
        if value is not None
    )
    head = f"*{event.task}*: {event.reason.replace('_', ' ')} ({event.kind}, bundle {event.bundle})"
    # Of its markup only what is ours: labels and names come from files that people write.
    escaped = "\n".join(filter(None, (head, figures)))
    escaped = escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return {"text": f"{escaped}\n<{RUNBOOK}|What to do> · event {id_of(event)}"}


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _read(task: Task, name: str | None, environment: Mapping[str, str]) -> str:
    """Return a variable that a task names; empty where it names none.

    Raises:
        BadSettings: it is not set.
    """
    if name is None:
        return ""
    value = environment.get(name, "")
    if not value:
        raise BadSettings(f"task {task.name}: webhooks need the variable {name}, which is not set")
    return value
