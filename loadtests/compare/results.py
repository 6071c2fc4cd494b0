"""Results on disk: the JSON report of one load test, a folder of them, or a history."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from loadtests.errors import BadLoadSpec
from loadtests.verdict.conclusion import Conclusion, history_line


class HistoryLine(BaseModel):
    """One load test of a history, as `--history` appends it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: str
    scenario: str
    verdict: str
    rate: float
    goodput_rps: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    escalation_rate: float | None = None
    commit: str | None = None


def read_results(path: Path) -> list[Conclusion]:
    """Read the report that `--json` wrote, or all in a folder, the oldest first.

    Raises:
        BadLoadSpec: there is none, or a file that was named is none.
    """
    if path.is_dir():
        found = [each for file in sorted(path.rglob("*.json")) if (each := _read(file)) is not None]
        if not found:
            raise BadLoadSpec(
                f"{path} holds no report of a load test; write some with raisehand loadtest --json"
            )
        return sorted(found, key=lambda each: each.at)
    one = _read(path)
    if one is None:
        raise BadLoadSpec(
            f"{path} is no report of a load test; name a file that raisehand loadtest --json "
            "wrote, or a folder of them"
        )
    return [one]


def read_history(paths: Iterable[Path]) -> list[HistoryLine]:
    """Read histories (.jsonl), reports and folders of either, the oldest test first.

    Raises:
        BadLoadSpec: a file is neither, or a line is none.
    """
    lines: list[HistoryLine] = []
    for path in paths:
        files = [path] if path.suffix == ".jsonl" else sorted(path.glob("*.jsonl"))
        for file in files:
            lines += _lines(file)
        if path.suffix != ".jsonl" and (not files or any(path.rglob("*.json"))):
            lines += [HistoryLine.model_validate_json(history_line(c)) for c in read_results(path)]
    return sorted(lines, key=lambda line: line.at)


def _lines(file: Path) -> list[HistoryLine]:
    try:
        written = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadLoadSpec(f"{file} cannot be read: {error}") from None
    found = []
    for number, line in enumerate(written, 1):
        try:
            content = json.loads(line)
            # Older lines have no verdict, and no `valid` where the run counted.
            old = "INVALID" if not content.get("valid", True) else None
            passed = "PASS" if content.get("passed") else "FAIL"
            found.append(HistoryLine.model_validate({"verdict": old or passed, **content}))
        except (ValueError, AttributeError):
            raise BadLoadSpec(
                f"{file}, line {number}, is no line of a load test's history; take it out"
            ) from None
    return found


def _read(file: Path) -> Conclusion | None:
    try:
        return Conclusion.model_validate_json(file.read_bytes())
    except ValidationError:
        return None
    except OSError as error:
        raise BadLoadSpec(f"{file} cannot be read: {error.strerror}") from None
