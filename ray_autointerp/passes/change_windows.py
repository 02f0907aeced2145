"""The windows on which latents are clamped: seeded, BOS first, one per document before any second.

The explain side's serve TokenChange and the Jacobian, whose single windows are the first of them;
the score side's, of other documents, are those on which estimates are judged. Where the corpus has
too few windows of `change_window_tokens`, all are shorter (methods/window_length.py).
"""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from ray_autointerp.methods.window_length import window_length
from ray_autointerp.records.keys import SPLITS, hash_order
from ray_autointerp.runs.tables import Tables

Side = Literal["explain", "score"]


def change_windows(tables: Tables, side: Side, num_windows: int) -> Tensor:
    """Token ids [W, T]: the first T tokens of so many corpus windows of one side.

    A longer list begins with the shorter one. Fewer come back where the corpus has no more.
    T is `change_window_tokens`, or less where the corpus asks for it; the same in every call.
    """
    evidence = tables.run.config.evidence
    tokens = tables.read("tokens", None)
    explain, score = (
        pc.list_value_length(tokens.filter(pc.field("split") == name)["token_ids"]).to_numpy()
        for name in SPLITS
    )
    length = window_length(explain, score, evidence.change_window_tokens, evidence.change_windows)
    assert length is not None, "the overlap step refuses a corpus without such windows"
    tokens = tokens.filter(pc.field("split") == side)
    is_long = pc.greater_equal(pc.list_value_length(tokens["token_ids"]), pa.scalar(length))
    tokens = tokens.filter(is_long)
    chosen = _order(tokens, tables.run.config.run.seed)[:num_windows]
    rows = tokens.take(pa.array(chosen)).to_pylist()
    return torch.tensor([row["token_ids"][:length] for row in rows])


def _order(tokens: pa.Table, seed: int) -> list[int]:
    """Row numbers, by hash; each document's first window comes before any document's second."""
    windows, documents = (tokens[name].to_numpy().tolist() for name in ("window", "document"))
    row_of = {window: row for row, window in enumerate(windows)}
    seen: dict[int, int] = {}
    ranked = []
    for place, window in enumerate(hash_order(row_of, seed, "change_windows")):
        row = row_of[window]
        turn = seen[documents[row]] = seen.get(documents[row], -1) + 1
        ranked.append((turn, place, row))
    return [row for _, _, row in sorted(ranked)]
