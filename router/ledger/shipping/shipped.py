"""A ledger's file whose rows go on to a database that other hosts share."""

from __future__ import annotations

from router.ledger.entry import Backlog
from router.ledger.shipping.shipper import Shipper
from router.ledger.sqlite import SqliteLedger


class ShippedLedger:
    """Books in the file, and nowhere else: requests never wait for the database."""

    def __init__(self, file: SqliteLedger, shipper: Shipper) -> None:
        self._file = file
        self._shipper = shipper
        self.append = file.append

    @property
    def backlog(self) -> Backlog:
        """What waits to be stored in the file."""
        return self._file.backlog

    @property
    def dropped(self) -> int:
        """Entries that the file lost."""
        return self._file.dropped

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until all that was appended so far is in the file."""
        return self._file.flush(timeout_s)

    def close(self) -> None:
        """Store what is left, ship what the database takes in a few seconds, and stop."""
        self._file.close()
        self._shipper.close()
