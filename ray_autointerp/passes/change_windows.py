"""The windows on which latents are clamped: seeded, BOS first, one per document before any second.

The explain side's serve TokenChange and the Jacobian, whose single windows are the first of them;
the score side's, of other documents, are those on which estimates are judged. Where the corpus has
too few windows of `change_window_tokens`, all are shorter (methods/window_length.py).

The corpus is read one token shard at a time, and once by each worker.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from heapq import nsmallest
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ray_autointerp.methods.window_length import LengthCounts, window_length
from ray_autointerp.passes.token_windows import token_windows
from ray_autointerp.records.keys import SPLITS, derive_seed
from ray_autointerp.runs.tables import Tables

Side = Literal["explain", "score"]


def change_windows(tables: Tables, side: Side, num_windows: int) -> Tensor:
    """Token ids [W, T]: the first T tokens of so many corpus windows of one side.

    A longer list begins with the shorter one. Fewer come back where the corpus has no more.
    T is `change_window_tokens`, or less where the corpus asks for it; the same in every call.
    """

    def read() -> Tensor:
        length = change_window_length(tables)
        assert length is not None, "the overlap step refuses a corpus without such windows"
        # A document lies in one token shard, so turns are counted shard by shard.
        chosen: list[tuple[int, int, int]] = []
        for shard in range(tables.run.axes.num_token_shards):
            chosen = nsmallest(num_windows, [*chosen, *_ranked(tables, shard, side, length)])
        ids = [window for _, _, window in chosen]
        windows = token_windows(tables, ids)
        rows = windows.rows(ids).tolist()
        return torch.tensor(np.stack([windows.token_ids(row)[:length] for row in rows])).long()

    return tables.kept(("change_windows", side, num_windows), read)


def change_window_length(tables: Tables) -> int | None:
    """Tokens of the windows on which latents are clamped; None if the corpus has too few."""
    evidence = tables.run.config.evidence
    counts = length_counts(tables)
    return window_length(
        counts["explain"], counts["score"], evidence.change_window_tokens, evidence.change_windows
    )


def length_counts(tables: Tables) -> Mapping[str, LengthCounts]:
    """By side, how many corpus windows have each length."""

    def read() -> dict[str, Counter[int]]:
        counts: dict[str, Counter[int]] = {side: Counter() for side in SPLITS}
        for shard in range(tables.run.axes.num_token_shards):
            part = tables.read("tokens", None, shards=[shard], columns=["split", "token_ids"])
            for side in SPLITS:
                token_ids = part.filter(pc.field("split") == side)["token_ids"]
                counts[side].update(pc.list_value_length(token_ids).to_numpy().tolist())
        return counts

    return tables.kept("length_counts", read)


def _ranked(tables: Tables, shard: int, side: Side, length: int) -> Iterator[tuple[int, int, int]]:
    """The turn within its document, the hash and the id of each window that is long enough."""
    columns = ["window", "document", "split", "token_ids"]
    part = tables.read("tokens", None, shards=[shard], columns=columns)
    is_long = pc.greater_equal(pc.list_value_length(part["token_ids"]), pa.scalar(length))
    part = part.filter(is_long).filter(pc.field("split") == side)
    seed = tables.run.config.run.seed
    hashed = sorted(
        (derive_seed(seed, "change_windows", window), window, document)
        for window, document in zip(
            part["window"].to_numpy().tolist(), part["document"].to_numpy().tolist(), strict=True
        )
    )
    turns: Counter[int] = Counter()
    for place, window, document in hashed:
        yield turns[document], place, window
        turns[document] += 1
