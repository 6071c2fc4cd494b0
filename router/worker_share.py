"""One worker's share of what the whole router may do: n workers together keep the task's limits."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from router.errors import BadSettings
from router.keys.ring import KeySpec
from students.task import Task


@dataclass(frozen=True)
class Share:
    """Worker `index` of `count`; `folder` holds the sockets over which workers read each other.

    Raises:
        ValueError: there is no such worker.
    """

    index: int
    count: int
    folder: Path

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"there is no worker {self.index} of {self.count}")

    def of_task(self, task: Task) -> Task:
        """Return the task with this worker's part of the teacher's limits; dollars are leased.

        Raises:
            BadSettings: there are fewer teacher calls at once than workers.
        """
        teacher = task.teacher
        limits = {
            "max_concurrency": self._calls(task, "max_concurrency", teacher.max_concurrency),
            "max_passthrough": teacher.max_passthrough
            and self._calls(task, "max_passthrough", teacher.max_passthrough),
            "max_requests_per_second": _part(teacher.max_requests_per_second, self.count),
        }
        return task.model_copy(update={"teacher": teacher.model_copy(update=limits)})

    def _calls(self, task: Task, name: str, limit: int) -> int:
        calls, rest = divmod(limit, self.count)
        if calls == 0:
            raise BadSettings(
                f"task {task.name} allows {limit} teacher calls at once, too few for {self.count} "
                f"workers; raise teacher.{name} or start fewer workers"
            )
        return calls + (self.index < rest)

    def of_keys(self, keys: Sequence[KeySpec]) -> list[KeySpec]:
        """Return the keys with this worker's part of their rates; dollars are leased."""
        names = ("requests_per_second", "teacher_calls_per_second")
        return [
            key.model_copy(update={name: _part(getattr(key, name), self.count) for name in names})
            for key in keys
        ]

    @property
    def engine(self) -> Path:
        """Where the engine listens, if the workers share one."""
        return self.folder / "engine.sock"

    @property
    def admin(self) -> Path:
        """Where this worker listens for operators, through the one port that they all share."""
        return self.folder / f"admin-{self.index}.sock"

    def listen_for_operators(self) -> socket.socket:
        """Open the socket at `admin`, instead of that of a worker that was here before."""
        self.admin.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.admin))
        listener.setblocking(False)
        return listener

    def socket(self, index: int | None = None) -> Path:
        """Where a worker (this one by default) shows its metrics to the others."""
        return self.folder / f"{self.index if index is None else index}.sock"


def _part(limit: float | None, count: int) -> float | None:
    return None if limit is None else limit / count
