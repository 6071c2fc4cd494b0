"""What `raisehand serve` was told, and what it tells its workers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from router.database.url import password_of
from router.errors import BadSettings

if TYPE_CHECKING:
    from router.process.board.maker import PageFiles
    from router.settings import Settings
    from router.student.connections import ServeAddress
    from router.worker_share import Share
    from students.task import Task


@dataclass(frozen=True)
class ServeOptions:
    """What was given on the command line."""

    task_paths: tuple[Path, ...]
    bundles: tuple[str, ...]
    host: str
    port: int
    uds: Path | None
    ledger_path: Path | None
    keys_path: Path | None
    allow_anonymous: bool
    admin_port: int | None
    admin_host: str
    workers: int
    worker: str | None
    trace: bool
    device: str
    engine: str
    strict_teacher: bool

    @property
    def share(self) -> Share | None:
        """Which worker this process is; None when it is alone."""
        from router.settings import WORKER_FOLDER
        from router.worker_share import Share

        if self.worker is None:
            return None
        index, count = self.worker.split("/")
        return Share(int(index), int(count), Path(os.environ[WORKER_FOLDER]))

    def students_at(self) -> Path | ServeAddress | None:
        """Return where students are asked that are not in this process.

        Raises:
            BadSettings: there is no such engine.
        """
        from router.student.connections import serve_address

        if self.engine in ("own", "shared"):
            share = self.share if self.engine == "shared" else None
            return None if share is None else share.engine
        address = serve_address(self.engine)
        if self.device != "cpu":
            raise BadSettings("--device is of students here; leave it out with --engine ray://")
        return address

    def page_files(self, settings: Settings, tasks: Sequence[Task]) -> PageFiles:
        """Return what the operators' page shows: of all hosts where there is a database."""
        from router.ledger.schema import LEDGER_FILE
        from router.process.board.maker import PageFiles

        if settings.database_url is not None:
            url = settings.database_url.get_secret_value()
            return PageFiles(tasks, url, url)
        return PageFiles(tasks, self.ledger_path or tasks[0].work_dir / LEDGER_FILE, None)

    def of_worker(self, bundles: Sequence[str]) -> list[str]:
        """Return the command line of a worker, without its port and number."""
        line = ["--host", self.host, "--device", self.device, "--engine", self.engine]
        for flag, value in (
            *(("--task", path) for path in self.task_paths),
            *(("--bundle", bundle) for bundle in bundles),
            ("--ledger", self.ledger_path),
            ("--keys", self.keys_path),
            ("--admin-port", self.admin_port),
            ("--admin-host", self.admin_host),
        ):
            line += [] if value is None else [flag, str(value)]
        line += ["--allow-anonymous"] * self.allow_anonymous
        return line + ["--trace"] * self.trace + ["--strict-teacher"] * self.strict_teacher


def secrets_of(settings: Settings, tasks: Sequence[Task]) -> list[str]:
    """Return what must never be written: keys, tokens, passwords."""
    names = [task.teacher.api_key_env for task in tasks]
    hooks = [hook for task in tasks for hook in task.webhooks]
    names += [task.store_texts.key_env for task in tasks if task.store_texts]
    names += [name for hook in hooks for name in (hook.url_env, hook.secret_env)]
    found = [os.environ.get(name, "") for name in names if name]
    if settings.admin_token is not None:
        found.append(settings.admin_token.get_secret_value())
    if settings.database_url is not None:
        found.append(password_of(settings.database_url.get_secret_value()))
    return found
