"""Tables of rows as people have them: one reader for every command."""
