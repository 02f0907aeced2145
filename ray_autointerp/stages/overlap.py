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
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.errors import CorpusError, TaskError
from ray_autointerp.methods.shingle import window_shingles
from ray_autointerp.methods.window_length import LEAST_EXPLAIN, LEAST_SCORE
from ray_autointerp.passes.change_windows import change_window_length, length_counts
from ray_autointerp.passes.list_offsets import list_offsets
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
    known = _known(context)
    num_windows, num_copied = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for shingles in _shingles(context):
        for side, other in zip(SPLITS, reversed(SPLITS), strict=True):
            num_windows[side] += shingles[side].num_windows
            num_copied[side] += _num_copied(shingles[side], known[other])
    context.write(
        task,
        "overlap",
        [
            {
                "split": side,
                "num_documents": len(documents[side]),
                "num_windows": num_windows[side],
                "num_overlapping": num_copied[side],
                "share": num_copied[side] / num_windows[side] if num_windows[side] else None,
            }
            for side in SPLITS
        ],
    )


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


def _known(context: WorkerContext) -> dict[str, _Hashes]:
    """The shingles of each side, rising: all, or the first by hash."""
    known: dict[str, _Hashes] = {side: np.zeros(0, np.uint64) for side in SPLITS}
    for shingles in _shingles(context):
        for side in SPLITS:
            before, hashes = known[side], shingles[side].hashes_S
            if len(before) == _MOST_HASHES:
                hashes = hashes[hashes < before[-1]]
            known[side] = np.unique(np.concatenate([before, hashes]))[:_MOST_HASHES]
    return known


def _num_copied(shingles: _Shingles, known: _Hashes) -> int:
    """Windows that hold a known shingle."""
    place_S = np.searchsorted(known, shingles.hashes_S)
    is_known_S = np.append(known, np.uint64(0))[place_S] == shingles.hashes_S
    is_known_S &= place_S < len(known)
    return len(np.unique(shingles.window_S[is_known_S]))


def _shingles(context: WorkerContext) -> Iterator[dict[str, _Shingles]]:
    """Of both sides, shard by shard; each window's first token, which may be BOS, is left out."""
    for shard in range(context.run.axes.num_token_shards):
        part = context.tables.read("tokens", None, shards=[shard], columns=["split", "token_ids"])
        yield {side: _shingles_of(part.filter(pc.field("split") == side)) for side in SPLITS}


def _shingles_of(windows: pa.Table) -> _Shingles:
    token_ids = pc.list_slice(windows["token_ids"], 1)
    offsets = list_offsets(token_ids)
    hashes_S, window_S = window_shingles(pc.list_flatten(token_ids).to_numpy(), offsets)
    return _Shingles(hashes_S, window_S, int((np.diff(offsets) > 0).sum()))
