"""One JSON line per request, as far as the disk takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from loadtests.generator.tallies import RequestOutcome


class SampleFile:
    """A file of samples; once it cannot be written it takes no more and says why.

    `trouble` is empty while all is well. A request must not be lost because its sample is.
    """

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self._file = path.open("wb")

    def write(self, outcome: RequestOutcome) -> None:
        """Add one request of the measured window."""
        if not self.trouble:
            self._try(lambda: self._file.write(msgspec.json.encode(outcome.sample()) + b"\n"))

    def flush(self) -> None:
        """Bring what was added to the disk, so that a death loses little of it."""
        if not self.trouble:
            self._try(self._file.flush)

    def close(self) -> None:
        """Bring the rest to the disk."""
        self._try(self._file.close)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError as error:
            self.trouble = f"samples could not be written ({error.strerror}); the file is not whole"
