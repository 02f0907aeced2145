"""overlap: what of the score side's text is also on the explain side, counted.

No document is on both sides: that is asserted. Copies inside documents (quotations, boilerplate)
remain: windows of one side that share a run of 13 tokens with the other. Every report prints it.
A section of a long document counts as a document. A split that later steps cannot be served from is
refused here, before any pass of the subject. The corpus is read shard by shard, twice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from ray_autointerp.errors import CorpusError, TaskError
from ray_autointerp.methods.shingle import window_shingles
from ray_autointerp.methods.window_length import LEAST_EXPLAIN, LEAST_SCORE
from ray_autointerp.passes.change_windows import change_window_length, length_counts
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext

_Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
_MOST_HASHES = 4_000_000
"""Shingles of one side held at once; above, the first by hash stand for all."""


@dataclass(frozen=True)
class _Shingles:
    """Those of one token shard and side."""

    hashes_S: _Hashes
    window_S: npt.NDArray[np.int64]
    num_windows: int


def run(task: Task, context: WorkerContext) -> None:
    """Write `overlap`: a row per side. Raises CorpusError: a side has too little text."""
    _check_windows(context)
    documents = _documents(context)
    known = {side: _known(side, context) for side in SPLITS}
    counted = []
    for side, other in zip(SPLITS, reversed(SPLITS), strict=True):
        num_windows, num_copied = 0, 0
        for shingles in _shingles(side, context):
            num_windows += shingles.num_windows
            num_copied += _num_copied(shingles, known[other])
        counted.append(
            {
                "split": side,
                "num_documents": len(documents[side]),
                "num_windows": num_windows,
                "num_overlapping": num_copied,
                "share": num_copied / num_windows if num_windows else None,
            }
        )
    context.write(task, "overlap", counted)


def _documents(context: WorkerContext) -> dict[str, set[str]]:
    """The documents of each side. Raises TaskError if one is on both."""
    documents: dict[str, set[str]] = {side: set() for side in SPLITS}
    for shard in range(context.run.axes.num_token_shards):
        part = context.tables.read("tokens", None, shards=[shard], columns=["split", "document_id"])
        for side in SPLITS:
            ids = part.filter(pc.field("split") == side)["document_id"]
            documents[side].update(map(str, ids.unique().to_pylist()))
    if both := documents["explain"] & documents["score"]:
        raise TaskError(f"document {min(both)} is on both sides of the split: give ids that differ")
    return documents


def _check_windows(context: WorkerContext) -> None:
    """Raise CorpusError unless both sides have windows for TokenChange and agreement."""
    if change_window_length(context.tables) is None:
        explain, score = (sum(counts.values()) for counts in length_counts(context.tables).values())
        raise CorpusError(
            f"The corpus has {explain} windows of text to explain from and {score} of other text "
            f"to score on; at least {LEAST_EXPLAIN} and {LEAST_SCORE} are needed: start a new run "
            "with more documents, longer ones, or ones that are not copies of each other."
        )


def _known(side: str, context: WorkerContext) -> _Hashes:
    """The shingles of a side, rising: all, or the first by hash."""
    known: _Hashes = np.zeros(0, np.uint64)
    for shingles in _shingles(side, context):
        hashes = shingles.hashes_S
        if len(known) == _MOST_HASHES:
            hashes = hashes[hashes < known[-1]]
        known = np.unique(np.concatenate([known, hashes]))[:_MOST_HASHES]
    return known


def _num_copied(shingles: _Shingles, known: _Hashes) -> int:
    """Windows that hold a known shingle."""
    place_S = np.searchsorted(known, shingles.hashes_S)
    is_known_S = np.append(known, np.uint64(0))[place_S] == shingles.hashes_S
    is_known_S &= place_S < len(known)
    return len(np.unique(shingles.window_S[is_known_S]))


def _shingles(side: str, context: WorkerContext) -> Iterator[_Shingles]:
    """Shard by shard; each window's first token, which may be BOS, is left out."""
    for shard in range(context.run.axes.num_token_shards):
        part = context.tables.read("tokens", None, shards=[shard], columns=["split", "token_ids"])
        token_ids = pc.list_slice(part.filter(pc.field("split") == side)["token_ids"], 1)
        counts = pc.list_value_length(token_ids).to_numpy()
        offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        flat_N = pc.list_flatten(token_ids).to_numpy()
        yield _Shingles(*window_shingles(flat_N, offsets), int((counts > 0).sum()))
