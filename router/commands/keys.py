"""`raisehand keys`: make, list and remove API keys."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import click
from pydantic import ValidationError

from costmodel.faults import first_fault
from router.errors import BadSettings
from router.keys.ring import KeySpec, changing, load_keys, new_secret, save_keys, sha256_of

_file = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default=Path("keys.yaml"),
    show_default=True,
    help="The file of keys; it holds hashes, never a key.",
)


@click.group(epilog="Example: raisehand keys add team-a --rps 50 --usd-per-day 20")
def keys() -> None:
    """Make, list and remove the API keys that `raisehand serve --keys FILE` asks for."""


@keys.command()
@click.argument("name")
@click.option("--rps", type=float, help="Requests a second; default: no limit.")
@click.option("--usd-per-day", type=Decimal, help="Dollars a UTC day; default: no limit.")
@click.option(
    "--teacher-rps", type=float, help="Calls to the teacher a second; default: no limit of its own."
)
@click.option("--max-threshold", type=float, help="Certainty it may ask for, 0 to 1; default: any.")
@click.option("--priority", default=0, show_default=True, help="0 (first) to 9 (last).")
@click.option(
    "--student-only/--no-student-only",
    default=True,
    show_default=True,
    help="Whether it may ask the student alone, past certificate and audit.",
)
@click.option("--reviewer", is_flag=True, help="Its feedback counts for every key's answers.")
@_file
def add(
    name: str,
    rps: float | None,
    usd_per_day: Decimal | None,
    teacher_rps: float | None,
    max_threshold: float | None,
    priority: int,
    student_only: bool,
    reviewer: bool,
    path: Path,
) -> None:
    """Make a key and print it: this once, and nowhere else."""
    secret = new_secret()
    try:
        spec = KeySpec(
            name=name,
            sha256=sha256_of(secret),
            requests_per_second=rps,
            max_usd_per_day=usd_per_day,
            teacher_calls_per_second=teacher_rps,
            max_threshold=max_threshold,
            priority=priority,
            student_only=student_only,
            reviewer=reviewer,
        )
    except ValidationError as error:
        raise BadSettings(first_fault(error)) from None
    with changing(path):
        known = load_keys(path) if path.exists() else ()
        if any(key.name == name for key in known):
            raise BadSettings(
                f"{path} has a key named {name!r} already; remove it or choose another"
            )
        save_keys(path, (*known, spec))
    click.echo(secret)
    click.echo(f"This is the only time the key is shown. {path} holds its hash.", err=True)


@keys.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_file
def list_(as_json: bool, path: Path) -> None:
    """Show names and limits; hashes are not shown."""
    specs = load_keys(path)
    if as_json:
        shown = [spec.model_dump(mode="json", exclude={"sha256"}) for spec in specs]
        click.echo(json.dumps(shown, indent=2))
        return
    for spec in specs:
        rps = "any rate" if spec.requests_per_second is None else f"{spec.requests_per_second:g}/s"
        usd = "any cost" if spec.max_usd_per_day is None else f"{spec.max_usd_per_day} USD a day"
        calls = spec.teacher_calls_per_second
        teacher = "" if calls is None else f", the teacher {calls:g}/s"
        sure = "" if spec.max_threshold is None else f", threshold to {spec.max_threshold:g}"
        alone = "" if spec.student_only else ", may not ask the student alone"
        judges = ", a reviewer" if spec.reviewer else ""
        click.echo(
            f"{spec.name:<24}{rps:<14}{usd:<20}priority {spec.priority}"
            f"{teacher}{sure}{alone}{judges}"
        )


@keys.command()
@click.argument("name")
@_file
def remove(name: str, path: Path) -> None:
    """Remove a key; a running router forgets it when it gets SIGHUP."""
    with changing(path):
        known = load_keys(path)
        left = tuple(key for key in known if key.name != name)
        if len(left) == len(known):
            names = ", ".join(key.name for key in known) or "none"
            raise BadSettings(f"{path} has no key named {name!r}; it has {names}")
        save_keys(path, left)
