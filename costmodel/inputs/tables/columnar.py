"""Rows of Parquet and Arrow files and of what `Dataset.save_to_disk` wrote: pyarrow's door."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from costmodel.errors import BadTable
from costmodel.inputs.tables.columns import no_column
from costmodel.inputs.tables.table import TablePart

Features = Mapping[str, Any]
"""What the `datasets` library knows of columns, by name; of records by the names within."""
Arrow = Any
"""A table, column or type of pyarrow, which has no types for mypy."""


def read_parquet(path: Path, names: Sequence[str]) -> TablePart:
    """Read the named columns of a Parquet file, and no other."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        require_columns(path, file.schema_arrow, names)
        table = file.read(columns=list(names))
    return TablePart(path, _columns(path, table, names, _hub_features(table.schema)))


def read_arrow(path: Path, names: Sequence[str]) -> TablePart:
    """Read the named columns of an Arrow file, stream or Feather file."""
    table = _arrow_table(path)
    require_columns(path, table.schema, names)
    return TablePart(path, _columns(path, table, names, _hub_features(table.schema)))


def read_saved(folder: Path, names: Sequence[str]) -> TablePart:
    """Read what `datasets` saved: Arrow streams listed by state.json, label names by info.

    Raises:
        BadTable: the folder holds several splits, or lacks one of the files.
    """
    import pyarrow as pa

    splits = folder / "dataset_dict.json"
    if splits.exists():
        known = json.loads(splits.read_text("utf-8"))["splits"]
        raise BadTable(
            f"{folder} holds the splits {', '.join(known)}; name one, e.g. {folder / known[0]}"
        )
    state = json.loads((folder / "state.json").read_text("utf-8"))
    info = json.loads((folder / "dataset_info.json").read_text("utf-8"))
    tables = [_arrow_table(folder / file["filename"]) for file in state["_data_files"]]
    for table in tables:
        require_columns(folder, table.schema, names)
    whole = pa.concat_tables(tables)
    if picked := state.get("_indices_data_files"):
        rows = pa.concat_tables(_arrow_table(folder / file["filename"]) for file in picked)
        whole = whole.take(rows["indices"])
    return TablePart(folder, _columns(folder, whole, names, info.get("features") or {}))


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote a folder."""
    return (folder / "state.json").exists() or (folder / "dataset_dict.json").exists()


def _arrow_table(path: Path) -> Arrow:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        try:
            return pa.ipc.open_file(source).read_all()
        except pa.ArrowInvalid:
            source.seek(0)
            return pa.ipc.open_stream(source).read_all()


def _hub_features(schema: Arrow) -> Features:
    """The Hub keeps names of classes in the schema, where a file has left its dataset folder."""
    written = (schema.metadata or {}).get(b"huggingface")
    found = json.loads(written) if written else {}
    features: Features = (found.get("info") or {}).get("features") or {}
    return features


def require_columns(path: Path, schema: Arrow, names: Sequence[str]) -> None:
    """Raise a BadTable unless each name stands for one column, `a.b` also for b within a."""
    for name in names:
        times = len(schema.get_all_field_indices(name))
        if times <= 1 and "." in name:
            times += _within(schema, name) is not None
        if times > 1:
            raise BadTable(
                f"{path} has {times} columns named {name!r}; one name must stand for one column"
            )
        if not times:
            raise no_column(path, name, _leaves(schema))


def _within(schema: Arrow, name: str) -> list[str] | None:
    """The steps to a cell within a record, or None."""
    import pyarrow as pa

    steps = name.split(".")
    fields = schema
    for i, step in enumerate(steps):
        at = fields.get_field_index(step)
        if at < 0:
            return None
        kind = fields.field(at).type
        if i < len(steps) - 1 and not pa.types.is_struct(kind):
            return None
        fields = kind
    return steps


def _leaves(fields: Arrow, prefix: str = "") -> Iterator[str]:
    import pyarrow as pa

    for field in fields:
        name = f"{prefix}{field.name}"
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{name}.")
        else:
            yield name


def _columns(
    path: Path, table: Arrow, names: Sequence[str], features: Features
) -> dict[str, list[object]]:
    import pyarrow as pa

    found: dict[str, list[object]] = {}
    for name in names:
        feature: Any = features.get(name)
        column = cells_within(table, name)
        if name not in table.column_names:
            first, *steps = name.split(".")
            feature = features.get(first)
            for step in steps:
                feature = feature.get(step) if isinstance(feature, dict) else None
        if pa.types.is_timestamp(column.type):
            # Python's times end at microseconds.
            column = column.cast(pa.timestamp("us", tz=column.type.tz), safe=False)
        found[name] = _named(path, name, column.to_pylist(), feature)
    return found


def cells_within(table: Arrow, name: str) -> Arrow:
    """Return a column of a table, `a.b` also being b within a."""
    import pyarrow.compute as pc

    if name in table.column_names:
        return table[name]
    first, *steps = name.split(".")
    return pc.struct_field(table[first], steps)


def _named(path: Path, name: str, cells: list[object], feature: Any) -> list[object]:
    """A ClassLabel column stores numbers; people mean the names. -1 is no label."""
    is_class = isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    labels = feature.get("names") if is_class else None
    if not labels:
        return cells
    for row, cell in enumerate(cells):
        if isinstance(cell, int) and cell >= len(labels):
            raise BadTable(
                f"{path} row {row + 1}: column {name!r} holds class {cell}, and its {len(labels)} "
                f"classes are 0 to {len(labels) - 1}"
            )
    return [labels[cell] if isinstance(cell, int) and cell >= 0 else None for cell in cells]
