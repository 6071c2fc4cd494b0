"""From files to soft labels."""
