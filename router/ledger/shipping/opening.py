"""All that a host has for the database."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from router.ledger.shipping.cargo import Cargo
from router.ledger.shipping.carrier import Carrier
from router.ledger.shipping.tables import TableSumsCargo
from router.ledger.shipping.texts import TextCargo
from router.ledger.shipping.verdicts import VerdictCargo
from students.task import Task
from students.texts.cipher import open_cipher
from students.texts.store import TEXTS_FILE


def open_carrier(
    path: Path, url: str, tasks: Iterable[Task] = (), *, keep_days: int | None = None
) -> Carrier:
    """Carry a ledger's rows, feedback and sums of tables, and the kept texts of its tasks.

    Raises:
        BadDatabase: the address is wrong; a database that is away is none.
        BadTask: a key of texts cannot be had.
    """
    texts = [
        TextCargo(
            task.work_dir / TEXTS_FILE,
            task.name,
            open_cipher(task.store_texts, task.work_dir),
            task.store_texts.keep_days,
        )
        for task in tasks
        if task.store_texts is not None
    ]
    cargo: list[Cargo] = [VerdictCargo(path), TableSumsCargo(path), *texts]
    return Carrier(path, url, keep_days=keep_days, cargo=cargo)
