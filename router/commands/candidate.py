"""`raisehand candidate`: shadow, promote or end a candidate of a running router."""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from typing import Any

import click

from router.errors import BadSettings

TIMEOUT_S = 600.0
_admin = click.option(
    "--admin",
    default="http://127.0.0.1:9090",
    show_default=True,
    help="The admin port; its token is read from RAISEHAND_ADMIN_TOKEN.",
)


@click.group(epilog="Example: raisehand candidate shadow tickets 0123456789ab")
def candidate() -> None:
    """The next student of a running router: beside the old one, then instead of it."""


@candidate.command()
@click.argument("task")
@click.argument("bundle")
@_admin
def shadow(task: str, bundle: str, admin: str) -> None:
    """Score a bundle beside the one that serves; nobody is answered by it."""
    _show(_post(admin, f"/tasks/{task}/shadow", {"bundle": bundle}))


@candidate.command()
@click.argument("task")
@_admin
def promote(task: str, admin: str) -> None:
    """Take one step: the next share of the traffic, or all; refused before it is shown no worse."""
    _show(_post(admin, f"/tasks/{task}/promote", {}))


@candidate.command()
@click.argument("task")
@_admin
def end(task: str, admin: str) -> None:
    """Take the candidate out, of its share of the traffic, too."""
    _show(_post(admin, f"/tasks/{task}/shadow/end", {}))


@candidate.command()
@click.argument("task")
@_admin
def show(task: str, admin: str) -> None:
    """Show how the candidate does."""
    state = _ask(urllib.request.Request(f"{admin}/state"))
    workers = state.get("workers", [state])
    _show([worker["tasks"].get(task) for worker in workers if worker])


def _post(admin: str, path: str, body: dict[str, str]) -> Any:
    request = urllib.request.Request(
        f"{admin}{path}", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    return _ask(request)


def _ask(request: urllib.request.Request) -> Any:
    request.add_header("authorization", f"Bearer {os.environ.get('RAISEHAND_ADMIN_TOKEN', '')}")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as response:
            return json.load(response)
    except urllib.error.HTTPError as error:
        raise BadSettings(f"the router refused: {error.read().decode()[:1000]}") from None
    except OSError as error:
        raise BadSettings(
            f"the admin port cannot be reached ({error}); is it served with --admin-port, and "
            "--admin its address?"
        ) from None


def _show(said: object) -> None:
    states = said.get("workers", [said]) if isinstance(said, dict) else said
    keys = ("bundle", "shadow", "canary", "canary_share", "duel")
    assert isinstance(states, list), "one state for each worker"
    shown = [{key: state.get(key) for key in keys} for state in states if state]
    click.echo(json.dumps(shown, indent=1))
