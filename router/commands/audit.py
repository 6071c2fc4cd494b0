"""`raisehand audit`: what audits say of each bundle's certificate, and where its ladder stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from costmodel.intervals import confidence_sequence
from router.errors import BadSettings

if TYPE_CHECKING:
    from router.shared.records import Event, Figure
    from router.shared.store import Store

STEPS = 10
"""Events that are shown, the latest."""


@dataclass(frozen=True)
class Shown:
    """One task: the figures of each bundle, and what happened."""

    bundles: Mapping[str, Mapping[str, Figure]]
    events: Sequence[Event]


@click.command(epilog="Example: raisehand audit --task task.yaml")
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def audit(task_path: Path, as_json: bool) -> None:
    """Show the evidence for and against each bundle, of all workers' audits together.

    With RAISEHAND_DATABASE_URL of all hosts. A router that runs is at most a second ahead.
    """
    from router.settings import load_settings
    from router.shared.opening import open_store
    from students.task import load_task

    task = load_task(task_path)
    url = load_settings().database_url
    store = open_store(task.work_dir, None if url is None else url.get_secret_value())
    found = _read(store, task.name)
    if as_json:
        click.echo(json.dumps(dict(found.bundles), indent=1))
    elif not found.bundles:
        click.echo(f"No audits in {task.work_dir} yet; `raisehand serve` draws them at audit_rate.")
    else:
        click.echo("\n".join([*_table(found.bundles), *_history(found.events)]))


def _read(store: Store, task: str) -> Shown:
    from router.shared.records import StoreAway
    from router.shared.sqlite_store import SqliteStore

    if isinstance(store, SqliteStore) and not store.path.exists():
        return Shown({}, ())  # who only looks makes no file
    try:
        rulings = [one for one in store.rulings() if one.task == task]
        events = [event for event in store.events(limit=1_000_000) if event.task == task]
    except StoreAway as away:
        raise BadSettings(f"{away}; restore it, or distil a bundle on fresh labels") from None
    finally:
        store.close()
    return Shown({one.bundle: _with_interval(one.verdict.figures) for one in rulings}, events)


def _with_interval(figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Add the 95 % interval of what is served, which holds however often one looks."""
    wrong, of = (int(figures[name] or 0) for name in ("disagreements", "audits"))
    low, high = confidence_sequence(wrong, of)
    return dict(figures) | {"low": low, "high": high}


def _table(found: Mapping[str, Mapping[str, Figure]]) -> list[str]:
    width = max(map(len, found)) + 2
    lines = [f"{'bundle':<{width}}{'status':<10}{'audits':>9}  disagreement [95 %, at any time]"]
    for name, one in found.items():
        rate = "none yet" if one["disagreement"] is None else f"{one['disagreement']:.2%}"
        lines += [
            f"{name:<{width}}{one['status']:<10}{one['audits']:>9,}  {rate} "
            f"[{one['low']:.2%}, {one['high']:.2%}], at most {one['allowed']:.2%}; "
            f"e = {one['e_value']:.3g}, alarm at {one['alarm_at']:g}",
            f"{'':<{width}}{_rung(one)}",
            *(f"{'':<{width}}{line}" for line in _classes(one)),
        ]
    return lines


def _classes(one: Mapping[str, Figure]) -> list[str]:
    """Say what audits show of each label with a promise of its own."""
    from router.promise.watch import class_figures

    lines = []
    for label, (audits, wrong, allowed) in class_figures(one).items():
        low, high = confidence_sequence(wrong, audits)
        lines.append(
            f"{label}: {wrong:,} of {audits:,} audits differ [{low:.2%}, {high:.2%}], at most "
            f"{allowed:.2%}"
        )
    return lines


def _rung(one: Mapping[str, Figure]) -> str:
    """Say in words which rung is in force and what would bring the next lower one back."""
    if one["status"] == "watching":
        return f"rung 0 of {one['rungs']}: the certified threshold"
    if one["status"] == "void":
        return "only the teacher answers, until another bundle is certified"
    floor = "only the teacher answers"
    if one["threshold"] is not None:
        floor = f"the teacher answers below {one['threshold']:.4f}"
    return (
        f"rung {one['rung']} of {one['rungs']}: {floor} (broken: {one['broken']}); the next lower "
        f"one comes back at e = {one['proved_at']:g}, now {one['proof']:.3g}"
    )


def _history(events: Sequence[Event]) -> list[str]:
    if not events:
        return []
    lines = ["", "What happened:"]
    for event in events[-STEPS:]:
        at = datetime.fromtimestamp(event.at, UTC).isoformat(timespec="seconds")
        rung = event.figures.get("rung")
        lines.append(
            f"{at}  {event.bundle}  {event.reason}" + ("" if rung is None else f", rung {rung}")
        )
    return lines
