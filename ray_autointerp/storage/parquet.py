"""Tables on a store: schema and order checked on writing, page checksums checked on reading.

The same table and metadata give the same bytes, so a repeated task changes nothing. A table
becomes bytes in memory, as no Parquet writer can make a conditional put.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ray_autointerp.errors import StoreError
from ray_autointerp.storage.store import Store

_ARROW_SCHEMA = b"ARROW:schema"
_READERS = 8
_READ_WHOLE = 2**20
"""Objects up to this size are read by one request: a request costs more than their bytes."""


def write_table(
    store: Store,
    name: str,
    table: pa.Table,
    schema: pa.Schema,
    metadata: Mapping[str, str],
    *,
    key: Sequence[str] = (),
    row_groups: Sequence[int] | None = None,
) -> bool:
    """Publish a table unless the object exists. True exactly if this call wrote it.

    `key`: the columns by which the rows are sorted already, no two rows with one key, none null.
    `row_groups`: the number of rows of each row group, zero allowed; one group for all if None.
    ValueError if schema, order or row groups do not fit: that is the writer's mistake.
    """
    _check_schema(name, table, schema)
    _check_key(name, table, key)
    return store.put_if_absent(name, _parquet_bytes(name, table, schema, metadata, row_groups))


def rises(table: pa.Table, key: Sequence[str]) -> bool:
    """Whether the rows are sorted by these columns, no two alike, none null."""
    return _all(_is_rising(table, key))


def read_table(
    store: Store,
    name: str,
    columns: Sequence[str] | None = None,
    row_group: int | None = None,
    having: tuple[str, npt.NDArray[np.integer[Any]]] | None = None,
    schema: pa.Schema | None = None,
) -> pa.Table:
    """The rows, or one row group, with all or the named columns.

    A column may be a path into nested values, such as `examples.list.element.peak`; lists of texts
    asked for so are dictionaries, as few of their texts differ.
    `having`: a column of integers and rising values; only rows with one of them are returned, and
    row groups that can hold none are not read.
    `schema`: that of the table as it is written today. Columns of it that the object lacks, since
    an older version wrote it, are null; columns that it has no more are left out.
    The file's metadata is left out (see `read_metadata`). MissingObject if the object is not
    there, StoreError if it is corrupt or lacks a column. A large object is read by ranges.
    """
    is_whole = columns is None and row_group is None and having is None
    source = _source(store, name, is_whole)
    file = _opened(store, name, source)
    is_older = schema is not None and not file.schema_arrow.equals(schema)
    file = _with_dictionaries(source, file, columns)
    names = file.schema_arrow.names
    absent = [column for column in columns or () if column.split(".")[0] not in names]
    if absent and not is_older:
        raise StoreError(f"{name} in {store.uri} has no column {', '.join(absent)}.")
    if row_group is not None and not 0 <= row_group < file.num_row_groups:
        raise StoreError(f"{name} in {store.uri} has no row group {row_group}.")
    wanted = None if columns is None else list(columns)
    rows = [row_group] if row_group is not None else list(range(file.num_row_groups))
    if having is not None:
        rows = [group for group in rows if _may_hold(file.metadata.row_group(group), *having)]
    try:
        # One by one: Arrow cannot read dictionaries inside lists across row groups.
        # Without Arrow's own threads: a process that used them may be aborted when it ends, after
        # all its work (Arrow #34314); objects are read side by side anyway.
        read = partial(file.read_row_groups, columns=wanted, use_threads=False)
        table = pa.concat_tables([read([group]) for group in rows] or [read([])])
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(store, name, error) from error
    if having is not None:
        column, values = having
        is_wanted = pc.is_in(table[column], pa.array(values, table[column].type))
        # To copy lists takes as long as to read them.
        table = table if pc.all(is_wanted, min_count=0).as_py() else table.filter(is_wanted)
    if schema is not None and is_older:
        table = _as_written_today(table, empty_table(schema, columns).schema)
    return table.replace_schema_metadata(None)


def read_tables(
    store: Store,
    names: Sequence[str],
    columns: Sequence[str] | None = None,
    row_group: int | None = None,
    having: tuple[str, npt.NDArray[np.integer[Any]]] | None = None,
    schema: pa.Schema | None = None,
) -> pa.Table:
    """As `read_table`, of at least one object; the rows follow in the order of the names."""
    assert names, "no names, no schema"

    def read(name: str) -> pa.Table:
        return read_table(store, name, columns, row_group, having, schema)

    if len(names) == 1:
        return read(names[0])
    with ThreadPoolExecutor(_READERS) as pool:
        tables = list(pool.map(read, names))
    for name, table in zip(names, tables, strict=True):
        if table.schema != tables[0].schema:
            raise StoreError(f"{name} and {names[0]} in {store.uri} have different columns.")
    return pa.concat_tables(tables)


def empty_table(schema: pa.Schema, columns: Sequence[str] | None = None) -> pa.Table:
    """No rows, with the columns and types that `read_table` gives of a table of this schema."""
    source = pa.BufferReader(_parquet_bytes("none", schema.empty_table(), schema, {}, None))
    file = _with_dictionaries(source, pq.ParquetFile(source), columns)
    table = file.read(columns=None if columns is None else list(columns))
    return table.replace_schema_metadata(None)


def read_metadata(store: Store, name: str) -> dict[str, str]:
    """What `write_table` was given as metadata."""
    raw = _opened(store, name, _source(store, name, False)).metadata.metadata or {}
    return {key.decode(): value.decode() for key, value in raw.items() if key != _ARROW_SCHEMA}


class _StoredFile(io.RawIOBase):
    """An object as a file that is read by ranges."""

    def __init__(self, store: Store, name: str) -> None:
        self._store, self._name = store, name
        self.num_bytes, self._position = store.size(name), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.num_bytes}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self.num_bytes - self._position)
        wanted = left if size is None or size < 0 else min(size, left)
        data = self._store.get_range(self._name, self._position, wanted)
        self._position += wanted
        return data


def _as_written_today(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The same rows with the columns of a schema; fields inside nested values likewise."""
    held = set(table.column_names)
    columns = [
        table[field.name].cast(field.type)
        if field.name in held
        else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _may_hold(
    group: pq.RowGroupMetaData, column: str, values: npt.NDArray[np.integer[Any]]
) -> bool:
    """Whether a row group's least and largest value leave room for one of the rising values."""
    paths = [group.column(i).path_in_schema for i in range(group.num_columns)]
    statistics = group.column(paths.index(column)).statistics
    if statistics is None or not statistics.has_min_max:
        return group.num_rows > 0
    least, largest = np.array([statistics.min, statistics.max], np.int64)
    return bool(np.searchsorted(values, least) < np.searchsorted(values, largest, "right"))


def _source(store: Store, name: str, is_whole: bool) -> Any:
    """The object's bytes, or a file that is read by ranges."""
    if not is_whole:
        file = _StoredFile(store, name)
        if file.num_bytes > _READ_WHOLE:
            return pa.PythonFile(file, mode="r")
    return pa.BufferReader(store.get(name))


def _with_dictionaries(
    source: Any, file: pq.ParquetFile, columns: Sequence[str] | None
) -> pq.ParquetFile:
    """The same file, with those lists of texts as dictionaries that are asked for by path."""
    texts = [path for column in columns or () for path in _texts_inside(file, column)]
    if not texts:
        return file
    return pq.ParquetFile(
        source, metadata=file.metadata, read_dictionary=texts, page_checksum_verification=True
    )


def _texts_inside(file: pq.ParquetFile, column: str) -> list[str]:
    """The Parquet path of a list of texts that is asked for by its path in nested values."""
    path = f"{column}.list.element"
    leaves = [file.schema.column(i) for i in range(len(file.schema.names))]
    return [
        path
        for leaf in leaves
        if "." in column and leaf.path == path and leaf.physical_type == "BYTE_ARRAY"
    ]


def _opened(store: Store, name: str, source: Any) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(source, page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        raise _corrupt(store, name, error) from error


def _corrupt(store: Store, name: str, error: Exception) -> StoreError:
    return StoreError(f"{name} in {store.uri} is corrupt: {str(error).splitlines()[0]}")


def _check_schema(name: str, table: pa.Table, schema: pa.Schema) -> None:
    if not table.schema.equals(schema, check_metadata=False):
        raise ValueError(
            f"{name} has the wrong schema.\nIt should be:\n{_shown(schema)}\n"
            f"It is:\n{_shown(table.schema)}"
        )
    for field, column in zip(schema, table.columns, strict=True):
        if not field.nullable and column.null_count:
            raise ValueError(f"{name} has nulls in column {field.name}")


def _shown(schema: pa.Schema) -> str:
    return schema.to_string(truncate_metadata=False, show_schema_metadata=False)


def _check_key(name: str, table: pa.Table, key: Sequence[str]) -> None:
    is_rising = _is_rising(table, key)
    if not _all(is_rising):
        row = pc.index(is_rising, False).as_py() + 1
        shown = {column: table[column][row].as_py() for column in key}
        raise ValueError(f"{name} is not sorted by {', '.join(key)}, or has a key twice: {shown}")


def _all(flags: "pa.Array[Any]") -> bool:
    """None of them, too, is all of them; a null is not true."""
    return bool(pc.all(flags, skip_nulls=False, min_count=0).as_py())


def _is_rising(table: pa.Table, key: Sequence[str]) -> "pa.Array[Any]":
    """Row by row, from the second: some key column rises where all before it stay equal."""
    if not key or table.num_rows < 2:
        return pa.array([], pa.bool_())
    is_tied = pa.array([True] * (table.num_rows - 1))
    is_rising = pa.array([False] * (table.num_rows - 1))
    for column in key:
        above, below = table[column].slice(0, table.num_rows - 1), table[column].slice(1)
        is_rising = pc.or_(is_rising, pc.and_(is_tied, pc.less(above, below)))
        is_tied = pc.and_(is_tied, pc.equal(above, below))
    return is_rising


def _parquet_bytes(
    name: str,
    table: pa.Table,
    schema: pa.Schema,
    metadata: Mapping[str, str],
    row_groups: Sequence[int] | None,
) -> bytes:
    groups = [table.num_rows] if row_groups is None else list(row_groups)
    if sum(groups) != table.num_rows or min(groups, default=0) < 0:
        raise ValueError(f"{name} has {table.num_rows} rows; its row groups have {groups}")
    described = schema.with_metadata(dict(sorted(metadata.items())))
    # One chunk, or the pages would end where the writer's batches happened to end.
    table = table.replace_schema_metadata(described.metadata).combine_chunks()
    sink = io.BytesIO()
    few_values = [path for field in schema for path in _repeating(field.name, field.type)]
    with pq.ParquetWriter(
        sink,
        described,
        compression="zstd",
        version="2.6",
        use_dictionary=few_values,  # type: ignore[arg-type]  # names are allowed too
        write_page_checksum=True,
    ) as writer:
        for start, size in zip(accumulate(groups, initial=0), groups, strict=False):
            writer.write_table(table.slice(start, size), row_group_size=max(1, size))
    return sink.getvalue()


def _repeating(path: str, kind: pa.DataType) -> Iterator[str]:
    """The columns of a field of which a dictionary makes sense: all but floats, hardly two of
    which are alike; to find that out takes the writer several times as long as to write them.
    """
    if pa.types.is_list(kind):
        yield from _repeating(f"{path}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _repeating(f"{path}.{field.name}", field.type)
    elif not pa.types.is_floating(kind):
        yield path
