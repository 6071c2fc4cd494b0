"""Which store a router has: the database that it is told of, else a file in the work_dir."""

from __future__ import annotations

from pathlib import Path

from router.shared.postgres_store import PostgresStore  # psycopg is an extra
from router.shared.sqlite_store import STORE_FILE, SqliteStore
from router.shared.store import Store


def open_store(work_dir: Path, url: str | None) -> Store:
    """Return the store; it is not connected before its first use.

    Raises:
        BadDatabase: the address is wrong or the library is missing.
    """
    if url is None:
        return SqliteStore(work_dir / STORE_FILE)

    return PostgresStore(url)
