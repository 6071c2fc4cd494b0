"""Progress where people look for it: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

if TYPE_CHECKING:
    from students.teachers.deferred.client import BatchState

LINE_EVERY_S = 20.0


class Bars(Progress):
    """rich's Progress on stderr that a CI job's or nohup's log shows too, as lines of text."""

    def __init__(
        self,
        *columns: ProgressColumn,
        console: Console | None = None,
        transient: bool = False,
        line_every_s: float = LINE_EVERY_S,
    ) -> None:
        super().__init__(*columns, console=console or Console(stderr=True), transient=transient)
        self._line_every_s = line_every_s
        self._line_at = time.monotonic() + line_every_s

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Change a task as `Progress.update` does."""
        super().update(task_id, **changes)
        if not self.console.is_terminal and (now := time.monotonic()) >= self._line_at:
            self._line_at = now + self._line_every_s
            self.console.print(self)


def tell_of_batches() -> Callable[[BatchState], None]:
    """Return what says a line whenever a batch is in another state."""
    last: dict[str, str] = {}

    def tell(state: BatchState) -> None:
        if last.get(state.batch) != state.status:
            last[state.batch] = state.status
            counts = f", {state.done:,} of {state.total:,} answered" if state.total else ""
            failed = f", {state.failed:,} failed" if state.failed else ""
            click.echo(f"Batch {state.batch}: {state.status}{counts}{failed}.", err=True)

    return tell
