"""Parquet: columns pass through untouched, answers are columns beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from costmodel.errors import BadTable
from costmodel.inputs.tables.columnar import cells_within, require_columns
from router.batch.tables.chunk import USUAL, AnswerColumns, Arrow, RowsRead, Spelling

SUFFIXES = (".parquet",)
_SCALE = 12
"""Digits of a cost behind the point: pico-dollars, as in the ledger."""


def read_rows(path: Path, column: str, at_once: int, _: Spelling = USUAL) -> Iterator[RowsRead]:
    """Yield the rows of a file, so many at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False) as file:
        require_columns(path, file.schema_arrow, [column])
        for batch in file.iter_batches(batch_size=at_once):
            table = pa.Table.from_batches([batch])
            yield RowsRead(_strings(path, column, cells_within(table, column)), table)


def layout_of(path: Path, column: str, _: Spelling) -> dict[str, str]:
    """Return a file's columns with their types.

    Raises:
        BadTable: there is no such column, or it holds no text.
    """
    import pyarrow.parquet as pq

    schema = pq.read_schema(path)
    require_columns(path, schema, [column])
    _strings(path, column, cells_within(schema.empty_table(), column))
    return {field.name: str(field.type) for field in schema}


def rows_in(path: Path) -> int | None:
    """Count the rows of a file, without reading them."""
    import pyarrow.parquet as pq

    return int(pq.read_metadata(path).num_rows)


def write_part(
    rows: RowsRead, answers: AnswerColumns, names: Sequence[str], path: Path, headed: bool
) -> None:
    """Write rows and their answers, in columns of these names, as a file of its own."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = len(rows)
    money = pa.decimal128(38, _SCALE)
    columns = (
        _named(answers.labels, answers.label_names),
        pa.array(answers.confidences, from_pandas=True),  # NaN becomes null
        _named(answers.routes, answers.route_names),
        _named(answers.reasons, answers.reason_names),
        pa.array([round(usd, _SCALE) for usd in answers.amounts], money).take(
            pa.array(answers.costs)
        ),
    )
    table = rows.body
    for name, values in zip(names, columns, strict=True):
        table = table.append_column(name, values)
    pq.write_table(table, path, row_group_size=max(n, 1))


def merge_parts(parts: Sequence[Path], out: Path) -> None:
    """Write all parts into one file, a row group each."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(out, pq.read_schema(parts[0])) as writer:
        for part in parts:
            table = pq.read_table(part, partitioning=None)
            writer.write_table(table, row_group_size=max(len(table), 1))


def _named(codes: np.ndarray, names: Sequence[str]) -> Arrow:
    """A column of few different words, as Arrow and Parquet keep one."""
    import pyarrow as pa

    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(list(names), pa.string()))


def _strings(path: Path, name: str, column: Arrow) -> Arrow:
    """The one array of strings that a column is, without copying where it is one already."""
    import pyarrow as pa

    types = pa.types
    kind = column.type
    if types.is_dictionary(kind):
        kind = kind.value_type
    if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind):
        wide = pa.large_string() if not types.is_string(kind) else pa.string()
        found = column.cast(wide)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    raise BadTable(f"{path}: column {name!r} holds {kind}; text is needed")
