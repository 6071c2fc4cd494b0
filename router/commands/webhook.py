"""`raisehand webhook test`: is everybody reached who must know?"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from router.errors import BadSettings

if TYPE_CHECKING:
    from router.notify.webhook import Webhook


@click.group(epilog="Example: raisehand webhook test --task task.yaml")
def webhook() -> None:
    """Whoever is told of alarms and changes: `webhooks` in the task file."""


@webhook.command()
@click.option(
    "--task", "task_path", type=click.Path(path_type=Path), default="task.yaml", show_default=True
)
def test(task_path: Path) -> None:
    """Send each receiver one event of kind `test`; exit code 1 when one did not take it."""
    from router.notify.webhook import Webhook
    from students.task import load_task

    task = load_task(task_path)
    if not task.webhooks:
        raise BadSettings(
            f"{task_path} names no webhooks; add e.g. webhooks: [{{url: 'https://example.com/hook'}}]"
        )
    hooks = [Webhook(task, section) for section in task.webhooks]
    faults = asyncio.run(_send(hooks))
    for hook, fault in zip(hooks, faults, strict=True):
        click.echo(f"{hook.host} ({hook.kind}): {fault or 'taken'}")
    if any(faults):
        sys.exit(1)


async def _send(hooks: list[Webhook]) -> list[str | None]:
    import aiohttp

    from router.shared.records import Event

    async with aiohttp.ClientSession() as session:
        return [
            await hook.deliver(
                session,
                Event(
                    at=time.time(),
                    task=hook.task,
                    bundle="none",
                    kind="test",
                    reason="asked_for",
                    actor="raisehand webhook test",
                    figures={"audits": 0},
                ),
            )
            for hook in hooks
        ]
