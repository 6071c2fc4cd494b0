"""What can go wrong before, during and after a load test.

LoadTestsError
├── BadLoadSpec      a setting, scenario or SLO that cannot be run; names the field
├── BadRows          an inputs file that cannot be read or has no texts
├── DeadTarget       nothing usable answers at the URL
├── CannotWrite      a report that cannot be put where it was asked for
└── GeneratorFailed  the load generator itself broke: the run does not count

Of a run that had begun, `loadtests.workers.cut_short` says what was measured.
"""

from __future__ import annotations


class LoadTestsError(Exception):
    """Base of every error this package raises on purpose; the message says what to do."""

    exit_code = 2


class BadLoadSpec(LoadTestsError):
    """A setting that cannot be run."""


class BadRows(LoadTestsError):
    """Inputs that cannot be sent."""


class DeadTarget(LoadTestsError):
    """No server at the URL answers the surface that was asked for."""


class CannotWrite(LoadTestsError):
    """A file that was asked for cannot be written."""


class GeneratorFailed(LoadTestsError):
    """A worker of the load generator died or could not start."""

    exit_code = 1
