"""What waits on a host for the database beside the ledger's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from psycopg import Connection

CARGO_S = 10.0
"""What takes the database longer is given up and tried again."""


class Cargo(Protocol):
    """Carried by the shipper of the ledger, over its connection."""

    name: str
    """For the log."""

    def waits(self) -> bool:
        """Tell whether there is something to carry."""
        ...

    def ship(self, connection: Connection) -> bool:
        """Store what comes next, once however often it is tried; True when there may be more."""
        ...
