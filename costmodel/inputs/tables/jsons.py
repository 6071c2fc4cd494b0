"""Rows of JSON: an object a line, or an array of objects."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from costmodel.errors import BadTable
from costmodel.inputs.tables.columns import MISSING, inside, leaves, no_column, stands_twice
from costmodel.inputs.tables.table import TablePart

_LOOKED_AT = 100
"""Rows whose keys an error about a missing column lists."""
_BLANKS = re.compile(r"\s*")


def read_json(path: Path, stream: TextIO, names: Sequence[str]) -> TablePart:
    """Read the named cells of each object; a key that a row lacks is an empty cell.

    Raises:
        BadTable: something is no JSON or no object, a key stands twice in one object, a name
            for two cells, or no row has a key.
    """
    cells: list[list[object]] = [[] for _ in names]
    starts = array("q")
    found: set[str] = set()
    keys: dict[str, None] = {}
    for line, row in values_of(path, stream, names):
        if not isinstance(row, dict):
            raise BadTable(
                f"{path} line {line} holds a {type(row).__name__}; a JSON object is needed, e.g. "
                f'{{"{names[0]}": "…"}}'
            )
        if len(starts) < _LOOKED_AT:
            keys |= dict.fromkeys(leaves(row))
        starts.append(line)
        for name, column in zip(names, cells, strict=True):
            cell = inside(row, name)
            if cell is not MISSING:
                found.add(name)
            column.append(None if cell is MISSING else cell)
    for name in names:
        if starts and name not in found:
            raise no_column(path, name, keys)
    return TablePart(path, dict(zip(names, cells, strict=True)), starts)


class _Doubled(ValueError):
    """A key that stands twice in one object, though a column is named after it."""


def values_of(path: Path, stream: TextIO, names: Sequence[str]) -> Iterator[tuple[int, object]]:
    """Return each value with its line; the first character tells an array from lines."""
    values = _values(path, stream, names)
    dotted = [name for name in names if "." in name]
    return _unambiguous(path, values, dotted) if dotted else values


def _unambiguous(
    path: Path, values: Iterator[tuple[int, object]], names: Sequence[str]
) -> Iterator[tuple[int, object]]:
    for line, value in values:
        twice = (name for name in names if isinstance(value, dict) and stands_twice(value, name))
        name = next(twice, None)
        if name is not None:
            raise BadTable(
                f"{path} line {line}: {name!r} is a key and a field within a record; one name must "
                "stand for one cell"
            )
        yield line, value


def _values(path: Path, stream: TextIO, names: Sequence[str]) -> Iterator[tuple[int, object]]:
    steps = {step for name in names for step in (name, *name.split("."))}

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(pairs)
        if len(record) < len(pairs):
            keys = [key for key, _ in pairs]
            doubled = next((key for key in keys if key in steps and keys.count(key) > 1), None)
            if doubled is not None:
                raise _Doubled(f"the key {doubled!r} stands twice in one object")
        return record

    decoder = json.JSONDecoder(object_pairs_hook=unique)
    lines = enumerate(stream, 1)
    head = next((line for line in lines if line[1].strip()), (1, ""))
    if head[1].lstrip().startswith("["):
        yield from _elements(path, head[0], head[1] + stream.read(), decoder)
        return
    for number, line in chain([head], lines):
        if line.strip():
            value, end = _decoded(path, number, line, _after_blanks(line, 0), decoder)
            if line[end:].strip():
                raise _no_json(path, number, "something stands behind its object")
            yield number, value


def _elements(
    path: Path, number: int, text: str, decoder: json.JSONDecoder
) -> Iterator[tuple[int, object]]:
    """Yield the elements of an array one by one, so that only what is needed of each stays."""
    at = text.index("[") + 1
    counted = at
    while True:
        at = _after_blanks(text, at)
        number, counted = number + text.count("\n", counted, at), at
        if text.startswith("]", at):
            if text[at + 1 :].strip():
                raise _no_json(path, number, "something stands behind the array")
            return
        value, at = _decoded(path, number, text, at, decoder)
        yield number, value
        at = _after_blanks(text, at)
        if text.startswith(",", at):
            at += 1
        elif not text.startswith("]", at):
            raise _no_json(path, number, "no comma and no end of the array stands behind it")


def _decoded(
    path: Path, number: int, text: str, at: int, decoder: json.JSONDecoder
) -> tuple[object, int]:
    try:
        return decoder.raw_decode(text, at)
    except _Doubled as error:
        raise BadTable(f"{path} line {number}: {error}") from None
    except json.JSONDecodeError as error:
        raise _no_json(path, number, error.msg) from None
    except (ValueError, RecursionError) as error:
        raise _no_json(path, number, str(error)) from None


def _no_json(path: Path, number: int, why: str) -> BadTable:
    return BadTable(
        f"{path} line {number} is not JSON: {why}; an object a line, or one array of objects, is "
        "needed"
    )


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    return blanks.end() if blanks else at
