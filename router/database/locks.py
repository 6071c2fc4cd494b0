"""Numbers of the database's advisory locks, in one place: none is there twice.

All are held by a transaction and none by a session, which a pooler would lend to somebody else.
"""

from enum import IntEnum, unique


@unique
class DatabaseLock(IntEnum):
    """Who waits for whom; any numbers that others in the same database do not use."""

    MIGRATION = 7_215_300_401
    EVENTS = 7_215_300_402
    """Of whoever appends an event."""
    LEDGER_DAYS = 7_215_300_403
    """Of whoever makes partitions."""
