"""Answers that somebody should look at: a sure student, and a teacher that says another thing."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TextIO

from students.texts.store import KeptText

COLUMNS = ("id", "at", "text", "student", "confidence", "teacher", "teacher_share", "gold")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def suspects(kept: Iterable[KeptText], names: tuple[str, ...]) -> list[KeptText]:
    """Return audited answers on which student and teacher differ, the surest student first."""
    found = [
        one
        for one in kept
        if one.kind == "audit"
        and one.said.teacher_label is not None
        and one.said.student_label in names
        and one.said.student_label != one.said.teacher_label
    ]
    return sorted(found, key=lambda one: -(one.said.confidence or 0.0))


def write_suspects(file: TextIO, rows: Iterable[KeptText], names: tuple[str, ...]) -> int:
    """Write them as CSV with an empty column for the gold label; return how many."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    n = 0
    for one in rows:
        n += 1
        said = one.said
        share = ""
        if said.probabilities is not None and said.teacher_label in names:
            share = f"{said.probabilities[names.index(said.teacher_label)]:.4f}"
        writer.writerow(
            [
                one.request_id,
                datetime.fromtimestamp(one.at, UTC).isoformat(timespec="seconds"),
                _harmless(said.text),
                said.student_label,
                f"{said.confidence or 0.0:.4f}",
                said.teacher_label,
                share,
                "",
            ]
        )
    return n


def read_gold(file: TextIO) -> list[tuple[str, str]]:
    """Return (request id, gold) of the rows that somebody filled in."""
    return [
        (row["id"], row["gold"].strip())
        for row in csv.DictReader(file)
        if row.get("id") and (row.get("gold") or "").strip()
    ]


def _harmless(text: str) -> str:
    """Keep a spreadsheet from running a text that begins like a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
