"""`raisehand candidate`: shadow, promote or end a candidate of a running router."""

from __future__ import annotations

import json
from typing import Any

import click

from students.admin_port import call_admin, states_of

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
    _show(call_admin(admin, f"/tasks/{task}/shadow", {"bundle": bundle}))


@candidate.command()
@click.argument("task")
@_admin
def promote(task: str, admin: str) -> None:
    """Take one step: the next share of the traffic, or all; refused before it is shown no worse."""
    _show(call_admin(admin, f"/tasks/{task}/promote", {}))


@candidate.command()
@click.argument("task")
@_admin
def end(task: str, admin: str) -> None:
    """Take the candidate out, of its share of the traffic, too."""
    _show(call_admin(admin, f"/tasks/{task}/shadow/end", {}))


@candidate.command()
@click.argument("task")
@_admin
def show(task: str, admin: str) -> None:
    """Show how the candidate does."""
    _show({"workers": states_of(admin, task)})


def _show(said: dict[str, Any]) -> None:
    keys = ("bundle", "shadow", "canary", "canary_share", "duel")
    states = [state for state in said.get("workers", [said]) if state]
    click.echo(json.dumps([{key: state.get(key) for key in keys} for state in states], indent=1))
