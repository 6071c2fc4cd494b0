"""Is the teacher still the one that labelled: its answers on record are asked for again."""
