"""Numbers that are not finite never reach a table, wherever they arose.

A row of a table with a status becomes `failed`, its values null: one latent's overflow must not
stop the run for the others, and reports count the row as a miss. In tables without a status (the
Jacobian, hub statistics, activations) each number is part of what all latents are computed from:
the task fails, and a retry would give the same.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.errors import TaskError

_STATUS = "status"

_Mask = npt.NDArray[np.bool_]


def fail_rows_not_finite(table: pa.Table, key: Sequence[str], name: str) -> tuple[pa.Table, int]:
    """The table with its rows that hold NaN or infinity failed, and how many they were.

    Scalars, lists and structs are searched; nulls are fine. Raises TaskError where there is no
    status to set or the number is in the key, naming the table, the column and the first key.
    """
    suspects = [column for column in table.column_names if not _all_finite(table[column])]
    if not suspects:
        return table, 0
    bad = {column: _rows_not_finite(table[column]) for column in suspects}
    if _STATUS not in table.column_names or not set(key).isdisjoint(bad):
        column = next((column for column in suspects if column in key), suspects[0])
        row = table.slice(int(bad[column].argmax()), 1).select(list(key)).to_pylist()[0]
        where = ", ".join(f"{part} {value}" for part, value in row.items())
        raise TaskError(
            f"`{name}` would hold a number that is NaN or infinite, in column `{column}` at {where}"
            ": the subject or the SAE overflows; if subject.dtype is `float16`, set it to "
            "`bfloat16` or `float32` under another run.name, else take another SAE"
        )
    is_bad = np.any(list(bad.values()), axis=0)
    kept_or_null = pa.array(np.arange(len(is_bad)), mask=is_bad)
    for index, field in enumerate(table.schema):
        if field.name == _STATUS:
            status = pc.if_else(pa.array(is_bad), "failed", table[_STATUS])
            table = table.set_column(index, field, status)
        elif field.name not in key:
            table = table.set_column(index, field, table[field.name].take(kept_or_null))
    return table, int(is_bad.sum())


def _all_finite(column: Any) -> bool:
    """Whether no float in the column, or in what it nests, is NaN or infinite."""
    if pa.types.is_list(column.type):
        return not _holds_floats(column.type) or _all_finite(pc.list_flatten(column))
    if pa.types.is_struct(column.type):
        names = [field.name for field in column.type if _holds_floats(field.type)]
        return all(_all_finite(pc.struct_field(column, name)) for name in names)
    if not pa.types.is_floating(column.type):
        return True
    return bool(pc.all(pc.is_finite(column), min_count=0).as_py())


def _holds_floats(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind):
        return _holds_floats(kind.value_type)
    if pa.types.is_struct(kind):
        return any(_holds_floats(field.type) for field in kind)
    return pa.types.is_floating(kind)


def _rows_not_finite(array: Any) -> _Mask:
    """Of each row of an array, whether it holds NaN or infinity anywhere."""
    is_bad = np.zeros(len(array), np.bool_)
    if pa.types.is_list(array.type):
        inside = _rows_not_finite(pc.list_flatten(array))
        is_bad[pc.list_parent_indices(array).to_numpy()[inside]] = True
    elif pa.types.is_struct(array.type):
        for field in array.type:
            is_bad |= _rows_not_finite(pc.struct_field(array, field.name))
    elif pa.types.is_floating(array.type):
        is_finite = pc.fill_null(pc.is_finite(array), True)
        is_bad = ~is_finite.to_numpy(zero_copy_only=False)
    return is_bad
