"""What operators want, as rows: written by the worker that was told, read by all of them."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from costmodel.units import DAY_S
from router.shared.records import Event, Wish
from router.shared.store import Execute, Store

FORGET_S = 7 * DAY_S
"""What was wanted of one router alone is forgotten after so long: it has ended by then."""
_COLUMNS = "task, name, version, value, bases"


def read_wishes(execute: Execute) -> dict[tuple[str, str], Wish]:
    """Return what is wanted, by task and name, in a transaction of the caller's."""
    rows = execute(f"select {_COLUMNS} from wishes", ())
    return {(row[0], row[1]): _wish(row) for row in rows}


def want(
    store: Store, wish: Wish, *, base: str, after: int | None = None, event: Event | None = None
) -> Wish | None:
    """Write what is wanted from now on; the same again changes nothing.

    Args:
        store: of all workers.
        wish: what is wanted; version and bases are the store's.
        base: what the writer was started with.
        after: the version that the writer has seen; None: whichever there is.
        event: appended with it; None: somebody else tells of it.

    Returns:
        The wish in force; None when another one was written meanwhile.

    Raises:
        StoreAway: nothing was written.
    """
    key, now = (wish.task, wish.name), time.time()
    with store.transaction(write=True) as execute:
        execute("delete from wishes where task like '@%%' and at < %s", (now - FORGET_S,))
        execute(
            f"insert into wishes ({_COLUMNS}, at) values (%s, %s, 0, '', '[]', 0) "
            "on conflict do nothing",
            key,
        )
        found = execute(
            f"select {_COLUMNS} from wishes where task = %s and name = %s" + store.for_update, key
        )
        before = _wish(found[0])
        if after is not None and before.version != after:
            return None
        if before.value == wish.value:
            return before
        new = Wish(*key, before.version + 1, wish.value, (base,))
        execute(
            "update wishes set version = %s, value = %s, bases = %s, at = %s "
            "where task = %s and name = %s",
            (new.version, new.value, _bases(new.bases), now, *key),
        )
        if event is not None:
            store.tell(execute, event)
    return new


def join(store: Store, key: tuple[str, str], base: str) -> None:
    """Write down that who is started with `base` follows the row, too.

    Raises:
        StoreAway: nothing was written.
    """
    with store.transaction(write=True) as execute:
        rows = execute(
            f"select {_COLUMNS} from wishes where task = %s and name = %s" + store.for_update, key
        )
        for now in map(_wish, rows):
            if base not in now.bases:
                execute(
                    "update wishes set bases = %s where task = %s and name = %s",
                    (_bases((*now.bases, base)), *key),
                )


def _wish(row: tuple[Any, ...]) -> Wish:
    task, name, version, value, bases = row
    return Wish(task, name, version, value, tuple(msgspec.json.decode(bases, type=list[str])))


def _bases(bases: tuple[str, ...]) -> str:
    return msgspec.json.encode(bases).decode()
