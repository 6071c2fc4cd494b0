"""Calls to the admin port of a running router, as an operator makes them."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

from students.errors import BadTask

TIMEOUT_S = 600.0
"""A bundle is loaded meanwhile."""


def call_admin(admin: str, path: str, body: dict[str, str] | None = None) -> Any:
    """Ask the admin port, or tell it (with a body); the token is RAISEHAND_ADMIN_TOKEN's.

    Raises:
        BadTask: it refuses, with its words, or cannot be reached.
    """
    headers = {"authorization": f"Bearer {os.environ.get('RAISEHAND_ADMIN_TOKEN', '')}"}
    data = None
    if body is not None:
        data, headers["content-type"] = json.dumps(body).encode(), "application/json"
    try:
        request = urllib.request.Request(f"{admin}{path}", data, headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise BadTask(f"the router refused: {error.read().decode()[:1000]}") from None
    except (OSError, ValueError) as error:
        raise BadTask(
            f"the admin port {admin} cannot be reached ({error}); is it served with --admin-port?"
        ) from None


def states_of(admin: str, task: str) -> list[dict[str, Any]]:
    """Return what each worker says of a task.

    Raises:
        BadTask: it cannot be reached, or knows no such task.
    """
    document = call_admin(admin, "/state")
    workers = [worker for worker in document.get("workers", [document]) if worker]
    states = [worker["tasks"].get(task) for worker in workers]
    if not states or None in states:
        raise BadTask(f"the router at {admin} serves no task {task}")
    return states
