"""All calls of some logs, whatever wrote them, and what was passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from costmodel.units import DAY_S
from students.assess.call import LoggedCall, Passed
from students.assess.formats import READERS, batch_pair, spans
from students.assess.rows import read_rows
from students.errors import BadInputs

BATCH = "OpenAI batch"


@dataclass(eq=False)
class Log:
    """What was read.

    Attributes:
        calls: questions of one turn with their answers.
        passed: rows that were passed over, by reason.
        kinds: rows by what wrote them.
    """

    calls: list[LoggedCall] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)

    @property
    def days(self) -> float | None:
        """From the first call to the last, at least an hour; None where nothing has a time."""
        times = [call.at for call in self.calls if call.at is not None]
        return max(max(times) - min(times), 3600.0) / DAY_S if times else None

    def add(self, found: LoggedCall | Passed) -> None:
        """Count one row."""
        if isinstance(found, Passed):
            self.passed[found.why] += 1
        else:
            self.calls.append(found)


EVER = datetime(1970, 1, 1, tzinfo=UTC)


def read_log(
    sources: Sequence[str | Path],
    progress: Callable[[int], None] = lambda rows: None,
    since: datetime = EVER,
) -> Log:
    """Read every row of some files and folders, and what databases and APIs have from `since` on.

    Raises:
        BadInputs: a file cannot be read, or no row is of a kind that is known.
    """
    log = Log()
    asked: dict[str, dict[str, Any]] = {}
    answered: dict[str, dict[str, Any]] = {}
    rows = 0
    for envelope in read_rows(sources, since):
        for row in spans(envelope):
            rows += 1
            progress(rows)
            if "custom_id" in row:
                half = answered if "response" in row or "error" in row else asked
                half[str(row["custom_id"])] = dict(row)
                log.kinds[BATCH] += 1
                continue
            for kind, read in READERS.items():
                found = read(row)
                if found is not None:
                    log.kinds[kind] += 1
                    log.add(found)
                    break
            else:
                log.passed["rows of no known kind"] += 1
    for custom_id, answer in answered.items():
        if custom_id in asked:
            log.add(batch_pair(asked[custom_id], answer))
        else:
            log.passed["batch answers whose questions are in another file"] += 1
    if not log.kinds:
        raise BadInputs(
            f"none of {rows:,} rows is of a known kind; known are {', '.join(READERS)} and {BATCH} "
            "files: see docs/assess.md for their fields"
        )
    return log
