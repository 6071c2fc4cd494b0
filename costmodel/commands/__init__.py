"""Commands of the command line about money: one module each, imported when called."""
