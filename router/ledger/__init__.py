"""Every decision and every dollar: entries, the SQLite file, daily roll-ups, reading."""
