"""Progress where people look for it: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import Progress, ProgressColumn, TaskID

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
