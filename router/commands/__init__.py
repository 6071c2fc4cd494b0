"""Commands of the command line that serve a student: one module each, imported when called."""
