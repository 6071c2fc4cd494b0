"""What can go wrong before, during and after a load test.

LoadTestsError
├── BadLoadSpec      a setting, scenario or SLO that cannot be run; names the field
├── BadRows          an inputs file that cannot be read or has no texts
├── DeadTarget       nothing usable answers at the URL
├── CannotWrite      a report that cannot be put where it was asked for
└── GeneratorFailed  the load generator itself broke: the run does not count

RunInterrupted, a KeyboardInterrupt: the user ended a run that had something to report.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtests.report.figures_of_run import LoadReport


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
    """A worker of the load generator died or could not start.

    `report` is of what was measured until then; None where nothing was.
    """

    exit_code = 1
    report: LoadReport | None = None


class RunInterrupted(KeyboardInterrupt):
    """The user ended a run; `report` is of what was measured until then."""

    def __init__(self, report: LoadReport) -> None:
        super().__init__()
        self.report = report
