"""Columns out of a file: CSV, JSONL, Parquet or a Hugging Face dataset on disk."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from students.errors import BadInputs

Columns = dict[str, list[object]]


def read_columns(path: Path, names: Sequence[str], *, encoding: str = "utf-8") -> Columns:
    """Return the named columns, row by row as the file has them.

    The kind is told by the name: .csv, .tsv, .jsonl, .ndjson, .parquet, or a folder that
    `Dataset.save_to_disk` wrote. CSV fields are text; others keep their type.

    Raises:
        BadInputs: missing or unreadable file, unknown kind, missing column.
    """
    if not path.exists():
        raise BadInputs(f"{path} does not exist; set inputs.path to your file of real inputs")
    kind = "dataset" if path.is_dir() else path.suffix.lower()
    reader = _READERS.get(kind)
    if reader is None:
        raise BadInputs(
            f"{path} is of no known kind; inputs are .csv, .tsv, .jsonl, .ndjson, .parquet or a "
            "folder written by Dataset.save_to_disk"
        )
    try:
        return reader(path, list(dict.fromkeys(names)), encoding)
    except UnicodeDecodeError as error:
        raise BadInputs(
            f"{path} is not {encoding} (byte {error.start}); set inputs.encoding, e.g. utf-8-sig "
            "or latin-1"
        ) from None
    except LookupError as error:
        raise BadInputs(f"{path} cannot be read: {error}") from None
    except (OSError, ValueError, csv.Error) as error:
        raise BadInputs(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def _read_csv(path: Path, names: list[str], encoding: str) -> Columns:
    csv.field_size_limit(sys.maxsize)
    with path.open(encoding=encoding, newline="") as stream:
        rows = csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        _require(path, names, rows.fieldnames or ())
        return _collect(rows, names)


def _read_jsonl(path: Path, names: list[str], encoding: str) -> Columns:
    with path.open(encoding=encoding) as stream:
        return _collect(_objects(path, stream, names), names)


def _objects(path: Path, lines: Iterator[str], names: list[str]) -> Iterator[Mapping[str, Any]]:
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise BadInputs(f"{path} line {number} is not JSON: {error.msg}") from None
        if not isinstance(row, dict):
            raise BadInputs(f"{path} line {number} is {type(row).__name__}; an object is needed")
        seen.update(row)
        yield row
    _require(path, names, seen)


def _read_parquet(path: Path, names: list[str], encoding: str) -> Columns:
    import pyarrow.parquet as pq

    _require(path, names, pq.read_schema(path).names)
    return {k: list(v) for k, v in pq.read_table(path, columns=names).to_pydict().items()}


def _read_dataset(path: Path, names: list[str], encoding: str) -> Columns:
    """Read what `datasets` saved: Arrow streams listed by state.json, label names by info."""
    import pyarrow as pa

    if (path / "dataset_dict.json").exists():
        splits = json.loads((path / "dataset_dict.json").read_text())["splits"]
        raise BadInputs(
            f"{path} holds the splits {', '.join(splits)}; name one, e.g. {path / splits[0]}"
        )
    if not (path / "state.json").exists():
        raise BadInputs(f"{path} is a folder without state.json; was it written by save_to_disk?")
    state = json.loads((path / "state.json").read_text())
    if state.get("_indices_data_files"):
        raise BadInputs(f"{path} was saved with an index; call flatten_indices() and save it again")
    features = json.loads((path / "dataset_info.json").read_text()).get("features") or {}
    columns: Columns = {name: [] for name in names}
    for file in state["_data_files"]:
        with pa.memory_map(str(path / file["filename"])) as source:
            table = pa.ipc.open_stream(source).read_all()
            _require(path, names, table.column_names)
            for name in names:
                columns[name].extend(_named(table[name].to_pylist(), features.get(name) or {}))
    return columns


def _named(values: list[object], feature: Mapping[str, Any]) -> list[object]:
    """A ClassLabel column stores numbers; people mean the names."""
    labels = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    if not labels:
        return values
    return [labels[v] if isinstance(v, int) and v >= 0 else None for v in values]


def _collect(rows: Iterator[Mapping[str, Any]] | csv.DictReader[str], names: list[str]) -> Columns:
    columns: Columns = {name: [] for name in names}
    for row in rows:
        for name in names:
            columns[name].append(row.get(name))
    return columns


def _require(path: Path, names: Sequence[str], found: Sequence[str] | set[str]) -> None:
    for name in names:
        if name not in found:
            has = ", ".join(repr(f) for f in list(found)[:20]) or "none"
            raise BadInputs(f"{path} has no column {name!r}; it has {has}")


_READERS: Mapping[str, Callable[[Path, list[str], str], Columns]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
    "dataset": _read_dataset,
}
