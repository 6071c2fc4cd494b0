"""Commands of the command line that make a student: one module each, imported when called."""
