"""Windows of the corpus, read by id: no more of the corpus than what holds them, part by part."""

# W windows, N tokens

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.passes.list_offsets import list_offsets
from ray_autointerp.records.keys import WINDOWS_PER_TOKEN_SHARD
from ray_autointerp.runs.tables import Tables


@dataclass(frozen=True)
class TokenWindows:
    """Some windows of the corpus. Window w has the tokens between two offsets."""

    ids_W: npt.NDArray[np.int64]
    """Rising."""
    documents_W: npt.NDArray[np.int64]
    document_ids_W: "pa.Array[Any]"
    offsets_W1: npt.NDArray[np.int64]
    token_ids_N: npt.NDArray[np.int32]

    def rows(self, ids: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Where windows stand, by id. KeyError if one is not here."""
        wanted = np.asarray(ids, np.int64)
        found = np.searchsorted(self.ids_W, wanted)
        if len(wanted) and (
            len(self.ids_W) == 0
            or not np.array_equal(self.ids_W[np.minimum(found, len(self.ids_W) - 1)], wanted)
        ):
            raise KeyError("a window that was not read")
        return found

    def has_bos_W(self, begin_ids: Collection[int]) -> npt.NDArray[np.bool_]:
        """Which windows begin with a token that is or stands for BOS."""
        return np.isin(self.token_ids_N[self.offsets_W1[:-1]], list(begin_ids))

    def token_ids(self, row: int) -> npt.NDArray[np.int32]:
        """The tokens of one window, by row."""
        return self.token_ids_N[self.offsets_W1[row] : self.offsets_W1[row + 1]]


def token_windows(tables: Tables, ids: npt.ArrayLike) -> TokenWindows:
    """The windows with these ids, each once."""
    wanted_W = np.unique(np.asarray(ids, np.int64))
    shard_W = wanted_W // WINDOWS_PER_TOKEN_SHARD
    parts = [
        tables.read("tokens", None, shards=[shard], having=("window", wanted_W[shard_W == shard]))
        for shard in np.unique(shard_W).tolist()
    ]
    rows = pa.concat_tables([tables.read("tokens", None, shards=[]), *parts]).combine_chunks()
    return TokenWindows(
        rows["window"].to_numpy(),
        rows["document"].to_numpy(),
        rows["document_id"].combine_chunks(),
        list_offsets(rows["token_ids"]),
        pc.list_flatten(rows["token_ids"]).to_numpy(),
    )
