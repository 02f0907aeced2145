"""Offsets of a column of lists, whatever Arrow's chunks and slices are."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.offsets import offsets_of


def list_offsets(lists: "pa.Array[Any] | pa.ChunkedArray[Any]") -> npt.NDArray[np.int64]:
    """Where each list begins in `pc.list_flatten(lists)`, and its length; a null has no values."""
    return offsets_of(pc.fill_null(pc.list_value_length(lists), 0).to_numpy())
