"""Which store a router has: the database that it is told of, else a file in the work_dir."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from router.shared.postgres_store import PostgresStore  # psycopg is an extra
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from router.shared.store import Store
from students.task import Task


def open_store(work_dir: Path, url: str | None) -> Store:
    """Return the store; it is not connected before its first use.

    Raises:
        BadDatabase: the address is wrong or the library is missing.
    """
    if url is None:
        return SqliteStore(work_dir / STORE_FILE)

    return PostgresStore(url)


def stores_of(tasks: Sequence[Task], url: str | None) -> dict[str, Store]:
    """Return the store of each task, by its name: tasks that share one have the same.

    Raises:
        BadDatabase: the address is wrong or the library is missing.
    """
    if url is not None:
        return dict.fromkeys((task.name for task in tasks), PostgresStore(url))
    of_folder = {
        folder: open_store(folder, None) for folder in dict.fromkeys(t.work_dir for t in tasks)
    }
    return {task.name: of_folder[task.work_dir] for task in tasks}
