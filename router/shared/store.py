"""What a store can do; its SQL is the same wherever it lives.

A transaction that folds holds the bundle's row from its first statement to its commit, so audits of
all workers are one stream, in commit order. A batch is told again after a fault: rows that are
there already are known by the number that their worker gave them, and are not counted twice.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import msgspec

from router.shared.leases import Claim, Lease, give_back, lease
from router.shared.records import Audit, AuditVerdict, Event, Judge, Reopen, Ruling

Rows = list[tuple[Any, ...]]
Execute = Callable[[str, Sequence[object]], Rows]
"""Runs one statement, with `%s` for each value, and returns its rows."""
FORGOTTEN = 1_000
"""Audits of one look at what is too old."""
CHUNK = 50
"""Rows of one statement."""
_AUDIT = Audit.__struct_fields__
_EVENT = ("at", "task", "bundle", "kind", "reason", "actor", "figures")


class Store(ABC):
    """Audits, rulings and events, for all workers that open the same one.

    Every method blocks and may be called from any thread.

    Raises:
        StoreAway: from every method, when the store cannot be used now.
    """

    for_update = ""
    """What keeps a row that was read until the commit."""
    in_order: str | None = None
    """What keeps events of others out until the commit, so that ids appear in their order; None
    where one transaction writes at a time anyway."""

    @abstractmethod
    def transaction(self, *, write: bool = False) -> AbstractContextManager[Execute]:
        """Commit at the end, or leave nothing."""

    def _now(self, execute: Execute) -> float:
        """Return the Unix time by the one clock that all who share the store go by."""
        return time.time()

    @abstractmethod
    def close(self) -> None:
        """Let go of the store."""

    def fold(
        self, instance: str, task: str, bundle: str, audits: Sequence[tuple[int, Audit]], to: Reopen
    ) -> Ruling:
        """Append what a worker saw, under its own ascending numbers, and judge the bundle anew."""
        return self.amend(instance, task, bundle, to, audits=audits)

    def amend(
        self,
        instance: str,
        task: str,
        bundle: str,
        to: Reopen,
        change: Callable[[Judge], None] | None = None,
        audits: Sequence[tuple[int, Audit]] = (),
    ) -> Ruling:
        """Change the evidence of a bundle under its lock; without any change, begin it."""
        key = (task, bundle)
        with self.transaction(write=True) as execute:
            execute(
                "insert into evidence (task, bundle, version, verdict) values (%s, %s, 0, '{}') "
                "on conflict do nothing",
                key,
            )
            version, evidence, known = execute(
                "select version, evidence, verdict from evidence where task = %s and bundle = %s"
                + self.for_update,
                key,
            )[0]
            judge = to(evidence)
            for audit in self._append(execute, instance, key, audits):
                judge.observe(audit)
            if change is not None:
                change(judge)
            before, verdict = msgspec.json.decode(known, type=AuditVerdict), judge.verdict
            if version == 0 or verdict.orders != before.orders:
                version += 1
                if verdict.orders != before.orders:
                    self.tell(execute, _event(task, bundle, verdict, instance))
            execute(
                "update evidence set version = %s, evidence = %s, verdict = %s "
                "where task = %s and bundle = %s",
                (version, judge.evidence, msgspec.json.encode(verdict).decode(), *key),
            )
        return Ruling(task, bundle, version, verdict)

    def rulings(self) -> list[Ruling]:
        """Return the ruling on every bundle that was ever watched."""
        with self.transaction() as execute:
            return read_rulings(execute)

    def evidence(self, task: str) -> dict[str, str]:
        """Return all that is remembered of a task's bundles, as JSON."""
        with self.transaction() as execute:
            rows = execute(
                "select bundle, evidence from evidence where task = %s and evidence is not null "
                "order by bundle",
                (task,),
            )
        return dict(rows)

    def audits(
        self, task: str, bundle: str | None = None, after: int = 0, limit: int = 1_000
    ) -> list[tuple[int, Audit]]:
        """Return audits and their ids, in the order in which they count, after an id."""
        which, values = ("", ()) if bundle is None else (" and bundle = %s", (bundle,))
        with self.transaction() as execute:
            rows = execute(
                f"select id, {', '.join(_AUDIT)} from audits where task = %s{which} and id > %s "
                "order by id limit %s",
                (task, *values, after, limit),
            )
        return [(row[0], _audit(row[1:])) for row in rows]

    def lease_budgets(self, seat: str, claims: Sequence[Claim]) -> dict[str, Lease]:
        """Renew what a seat holds of budgets; by their names."""
        with self.transaction(write=True) as execute:
            return lease(execute, seat, claims, self._now(execute), self.for_update)

    def give_back(self, seat: str, spent: Callable[[str], int | None]) -> None:
        """End a seat: what it held of each budget and, as `spent` knows, did not spend is there."""
        with self.transaction(write=True) as execute:
            give_back(execute, seat, spent, self.for_update)

    def forget(self, before: float) -> int:
        """Delete up to `FORGOTTEN` of the oldest audits from before a moment; return how many.

        What they showed stays in the evidence.
        """
        with self.transaction() as execute:  # mostly there is nothing, and nobody is kept waiting
            oldest = execute("select at from audits order by id limit 1", ())
        if not oldest or oldest[0][0] >= before:
            return 0
        with self.transaction(write=True) as execute:
            gone = execute(
                "delete from audits where id in (select id from (select id, at from audits "
                "order by id limit %s) as oldest where at < %s) returning id",
                (FORGOTTEN, before),
            )
        return len(gone)

    def record(self, event: Event) -> None:
        """Append an event."""
        with self.transaction(write=True) as execute:
            self.tell(execute, event)

    def events(self, after: int = 0, limit: int = 1_000) -> list[Event]:
        """Return the events after an id, in their order."""
        with self.transaction() as execute:
            rows = execute(
                f"select id, {', '.join(_EVENT)} from events where id > %s order by id limit %s",
                (after, limit),
            )
        return [
            Event(id=row[0], **dict(zip(_EVENT[:-1], row[1:-1], strict=True)),
                  figures=msgspec.json.decode(row[-1]))
            for row in rows
        ]  # fmt: skip

    def lease(self, name: str, holder: str, now: float, seconds: float) -> int | None:
        """Take or renew the lease on telling a receiver, for so long from `now` (Unix seconds).

        Returns the id of the last event it took, at first that of the last there is; None where
        somebody else holds the lease.
        """
        of_name = "select taken, holder, until from deliveries where name = %s"
        with self.transaction() as execute:
            rows = execute(of_name, (name,))
        if rows and rows[0][1] not in ("", holder) and rows[0][2] > now:
            return None
        with self.transaction(write=True) as execute:
            execute(
                "insert into deliveries (name, taken, holder, until) "
                "select %s, coalesce(max(id), 0), '', 0 from events where true "
                "on conflict do nothing",
                (name,),
            )
            taken, held_by, until = execute(of_name + self.for_update, (name,))[0]
            if held_by not in ("", holder) and until > now:
                return None
            execute(
                "update deliveries set holder = %s, until = %s where name = %s",
                (holder, now + seconds, name),
            )
        return int(taken)

    def advance(self, name: str, holder: str, event_id: int) -> None:
        """Write down that a receiver has taken an event, as long as the lease is held."""
        with self.transaction(write=True) as execute:
            execute(
                "update deliveries set taken = %s where name = %s and holder = %s and taken < %s",
                (event_id, name, holder, event_id),
            )

    def release(self, name: str, holder: str) -> None:
        """Give a lease back."""
        with self.transaction(write=True) as execute:
            execute(
                "update deliveries set holder = '' where name = %s and holder = %s", (name, holder)
            )

    def _append(
        self,
        execute: Execute,
        instance: str,
        key: tuple[str, str],
        audits: Sequence[tuple[int, Audit]],
    ) -> list[Audit]:
        """Insert the audits that are not there yet, and return those."""
        if not audits:
            return []
        [(last,)] = execute(
            "select coalesce(max(number), -1) from audits "
            "where instance = %s and task = %s and bundle = %s",
            (instance, *key),
        )
        new = [(number, audit) for number, audit in audits if number > last]
        row = f"({', '.join(['%s'] * (2 + len(_AUDIT)))})"
        for start in range(0, len(new), CHUNK):
            part = new[start : start + CHUNK]
            execute(
                f"insert into audits (instance, number, {', '.join(_AUDIT)}) "
                f"values {', '.join([row] * len(part))}",
                [value for n, a in part for value in (instance, n, *msgspec.structs.astuple(a))],
            )
        return [audit for _, audit in new]

    def tell(self, execute: Execute, event: Event) -> None:
        """Append an event in the caller's transaction."""
        if self.in_order is not None:
            execute(self.in_order, ())
        figures = msgspec.json.encode(event.figures).decode()
        execute(
            f"insert into events ({', '.join(_EVENT)}) values (%s, %s, %s, %s, %s, %s, %s)",
            [getattr(event, name) for name in _EVENT[:-1]] + [figures],
        )


def read_rulings(execute: Execute) -> list[Ruling]:
    """Return the ruling on every bundle, in a transaction of the caller's."""
    rows = execute("select task, bundle, version, verdict from evidence order by 1, 2", ())
    return [Ruling(t, b, v, msgspec.json.decode(text, type=AuditVerdict)) for t, b, v, text in rows]


def _event(task: str, bundle: str, verdict: AuditVerdict, instance: str) -> Event:
    return Event(
        at=time.time(),
        task=task,
        bundle=bundle,
        kind="verdict",
        reason=verdict.reason or "watching",
        actor=instance,
        figures=verdict.figures,
    )


def _audit(row: Sequence[Any]) -> Audit:
    fields = dict(zip(_AUDIT, row, strict=True))
    fields |= {name: bool(fields[name]) for name in ("escalated", "disagreed")}
    return Audit(**fields)
