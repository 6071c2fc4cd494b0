"""The load-test commands of `raisehand`."""

from loadtests.commands.loadtest import loadtest

__all__ = ["loadtest"]
