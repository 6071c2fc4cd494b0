"""Which columns were asked for, and where they are in a header or a record."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from costmodel.errors import BadTable

MISSING = object()
_SHOWN = 20


def no_column(path: Path, name: str, found: Iterable[str]) -> BadTable:
    """Return the error for a column that is not there, with the names of those that are."""
    has = list(dict.fromkeys(found))
    shown = ", ".join(map(repr, has[:_SHOWN])) or "none"
    more = f" and {len(has) - _SHOWN} more" if len(has) > _SHOWN else ""
    return BadTable(f"{path} has no column {name!r}; it has {shown}{more}")


def places_in(path: Path, header: Sequence[str], names: Sequence[str]) -> list[int]:
    """Return the position of each name in a header.

    Raises:
        BadTable: a name is not there, or stands for two columns.
    """
    for name in names:
        if name not in header:
            raise no_column(path, name, header)
        if header.count(name) > 1:
            raise BadTable(
                f"{path} has {header.count(name)} columns named {name!r}; one name must stand for "
                "one column"
            )
    return [header.index(name) for name in names]


def inside(record: Mapping[str, object], name: str) -> object:
    """Return the cell of a record that `name` names, `a.b` also being b within a; or MISSING."""
    if name in record or "." not in name:
        return record.get(name, MISSING)
    return _within(record, name)


def stands_twice(record: Mapping[str, object], name: str) -> bool:
    """Whether `a.b` is a key of a record, and b within its a is there too."""
    return "." in name and name in record and _within(record, name) is not MISSING


def _within(record: Mapping[str, object], name: str) -> object:
    cell: object = record
    for step in name.split("."):
        if cell is None:
            return None
        if not isinstance(cell, Mapping) or step not in cell:
            return MISSING
        cell = cell[step]
    return cell


def leaves(record: Mapping[str, object], prefix: str = "") -> list[str]:
    """Return the dotted names of everything in a record."""
    names: list[str] = []
    for key, cell in record.items():
        name = f"{prefix}{key}"
        inner = isinstance(cell, Mapping) and cell
        names += leaves(cell, f"{name}.") if inner else [name]  # type: ignore[arg-type]
    return names
