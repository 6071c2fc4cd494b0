"""What ends a run before its time, with the report of what was measured until then."""

from __future__ import annotations

from loadtests.errors import GeneratorFailed
from loadtests.figures.load_report import LoadReport


class GeneratorDied(GeneratorFailed):
    """A worker of the load generator died within the measured window."""

    def __init__(self, message: str, report: LoadReport) -> None:
        super().__init__(message)
        self.report = report


class RunInterrupted(KeyboardInterrupt):
    """The user ended a run that had something to report."""

    def __init__(self, report: LoadReport) -> None:
        super().__init__()
        self.report = report
