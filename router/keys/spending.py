"""What each key has spent, counted where it is booked."""

from __future__ import annotations

from router.keys.ring import KeyRing
from router.ledger.entry import Backlog, Entry, Ledger
from router.policy import Reason, Route


class SpendingLedger:
    """A ledger that also counts each entry against the key it was asked with."""

    def __init__(self, ledger: Ledger, ring: KeyRing) -> None:
        self._ledger = ledger
        self._ring = ring

    @property
    def dropped(self) -> int:
        """Entries lost by the ledger behind."""
        return self._ledger.dropped

    @property
    def backlog(self) -> Backlog:
        """What the ledger behind has not stored yet."""
        return self._ledger.backlog

    def append(self, entry: Entry) -> None:
        """Take an entry and count its cost; an audit in shadow is the operator's, not the key's."""
        if entry.client:
            self._ring.spend(entry.client, entry.student_usd)
            if entry.route is not Route.STUDENT:
                self._ring.spend(entry.client, entry.teacher_usd)
                if entry.reason is not Reason.KEY_ESCALATIONS:
                    self._ring.was_told(entry.client, entry.teacher_usd if entry.attempts else None)
        self._ledger.append(entry)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Store what was appended so far."""
        return self._ledger.flush(timeout_s)

    def close(self) -> None:
        """Store what is left and stop."""
        self._ledger.close()
