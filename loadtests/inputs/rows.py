"""Real inputs: the rows of a file that have a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costmodel.errors import BadTable
from costmodel.inputs.tables.read import read_table
from costmodel.inputs.tables.table import Table
from costmodel.inputs.tables.times import seconds_of
from costmodel.inputs.tables.words import KnownWords
from loadtests.errors import BadRows

if TYPE_CHECKING:
    from loadtests.inputs.spec import LoadSpec


@dataclass(frozen=True, slots=True)
class Row:
    """One input: its 0-based position among the file's data rows, and its text."""

    index: int
    text: str
    at_s: float = 0.0
    """When it came, where the file is a log; seconds from any moment."""


def rows_of(spec: LoadSpec) -> list[Row]:
    """Read the inputs of a load test; rows whose text is blank are left out.

    Raises:
        BadRows: the file cannot be read as every command reads it, or has no text at all.
    """
    try:
        columns = [spec.text] if spec.time is None else [spec.text, spec.time]
        table = read_table(spec.inputs, columns, encoding=spec.encoding, delimiter=spec.delimiter)
        texts = table.texts(spec.text)
        moments = [0.0] * len(texts) if spec.time is None else _moments(table, spec.time)
    except BadTable as error:
        raise BadRows(str(error)) from None
    rows = [
        Row(index, text, at_s)
        for index, (text, at_s) in enumerate(zip(texts, moments, strict=True))
        if text
    ]
    if not rows:
        raise BadRows(
            f"{spec.inputs} holds no text in column {spec.text!r}; at least one row is needed"
        )
    return rows


def _moments(table: Table, column: str) -> list[float]:
    """Return when each row came, in seconds.

    Raises:
        BadRows: a word is no moment.
    """
    found = []
    for row, word in enumerate(table.words(column)):
        try:
            found.append(seconds_of(word))
        except ValueError:
            raise BadRows(
                f"{table.place(row)} has the time {word!r}; seconds or a date and time are needed, "
                "e.g. 12.5 or 2026-11-29T08:00:00"
            ) from None
    return found


@dataclass(frozen=True, slots=True)
class AnswersFile:
    """A table of texts and of the answers to them."""

    path: Path
    text: str
    answer: str
    encoding: str = "utf-8"
    delimiter: str | None = None


def read_answers(file: AnswersFile, names: Sequence[str], words: Sequence[str]) -> dict[str, str]:
    """Return the word that each text is answered with; a text that occurs twice, by its last.

    The file says `names` where `words` at the same places are meant. Rows without an answer are
    left out.

    Raises:
        BadRows: the file cannot be read, or an answer is none of `names`.
    """
    known = KnownWords(names)
    answers: dict[str, str] = {}
    try:
        table = read_table(
            file.path, [file.text, file.answer], encoding=file.encoding, delimiter=file.delimiter
        )
        columns = zip(table.texts(file.text), table.words(file.answer), strict=True)
        for row, (asked, word) in enumerate(columns):
            if not word:
                continue
            at = known.find(word)
            if at is None:
                raise BadRows(
                    f"{table.place(row)} has the answer {word!r}; it must be one of "
                    f"{', '.join(names[:10])}"
                )
            answers[asked] = words[at]
    except BadTable as error:
        raise BadRows(str(error)) from None
    return answers
