"""overlap: what of the score side's text is also on the explain side, counted.

No document is on both sides: that is asserted. Copies inside documents (quotations, boilerplate)
remain: windows of one side that share a run of 13 tokens with the other. Every report prints it.
A section of a long document counts as a document. A split that later steps cannot be served from is
refused here, before any pass of the subject. The corpus is read shard by shard, twice.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow.compute as pc

from ray_autointerp.errors import CorpusError, TaskError
from ray_autointerp.methods.shingle import shingle_hashes
from ray_autointerp.methods.window_length import LEAST_EXPLAIN, LEAST_SCORE
from ray_autointerp.passes.change_windows import change_window_length, length_counts
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.records.task import Task
from ray_autointerp.runs.tables import Tables

_Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
_NONE: _Hashes = np.zeros(0, np.uint64)
_MOST_HASHES = 4_000_000
"""Shingles of one side held at once; above, the first by hash stand for all."""


def run(task: Task, context: Tables) -> None:
    """Write `overlap`: a row per side. Raises CorpusError: a side has too little text."""
    _check_windows(context)
    documents = _documents(context)
    known = {side: _known(side, context) for side in SPLITS}
    counted = []
    for side, other in zip(SPLITS, reversed(SPLITS), strict=True):
        num_windows, num_copied = 0, 0
        for hashes in _hashes(side, context):
            num_windows += len(hashes)
            num_copied += _num_copied(hashes, known[other])
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


def _documents(context: Tables) -> dict[str, set[str]]:
    """The documents of each side. Raises TaskError if one is on both."""
    documents: dict[str, set[str]] = {side: set() for side in SPLITS}
    for shard in range(context.run.axes.num_token_shards):
        part = context.read("tokens", None, shards=[shard], columns=["split", "document_id"])
        for side in SPLITS:
            ids = part.filter(pc.field("split") == side)["document_id"]
            documents[side].update(map(str, ids.unique().to_pylist()))
    if both := documents["explain"] & documents["score"]:
        raise TaskError(f"document {min(both)} is on both sides of the split: give ids that differ")
    return documents


def _check_windows(context: Tables) -> None:
    """Raise CorpusError unless both sides have windows for TokenChange and agreement."""
    if change_window_length(context) is None:
        explain, score = (sum(counts.values()) for counts in length_counts(context).values())
        raise CorpusError(
            f"The corpus has {explain} windows of text to explain from and {score} of other text "
            f"to score on; at least {LEAST_EXPLAIN} and {LEAST_SCORE} are needed: start a new run "
            "with more documents, longer ones, or ones that are not copies of each other."
        )


def _known(side: str, context: Tables) -> _Hashes:
    """The shingles of a side, rising: all, or the first by hash."""
    known = _NONE
    for hashes in _hashes(side, context):
        known = np.unique(np.concatenate([known, *hashes]))[:_MOST_HASHES]
    return known


def _num_copied(windows: list[_Hashes], known: _Hashes) -> int:
    """Windows that hold a known shingle."""
    hashes_N = np.concatenate([_NONE, *windows])
    window_N = np.repeat(np.arange(len(windows)), [len(own) for own in windows])
    if len(known) == _MOST_HASHES:
        is_in_range_N = hashes_N <= known[-1]
        hashes_N, window_N = hashes_N[is_in_range_N], window_N[is_in_range_N]
    return len(np.unique(window_N[np.isin(hashes_N, known)]))


def _hashes(side: str, context: Tables) -> Iterator[list[_Hashes]]:
    """Of each window, shard by shard; the first token, which may be BOS, is left out."""
    for shard in range(context.run.axes.num_token_shards):
        part = context.read("tokens", None, shards=[shard], columns=["split", "token_ids"])
        token_ids = part.filter(pc.field("split") == side)["token_ids"]
        ends = np.cumsum(pc.list_value_length(token_ids).to_numpy())
        windows = np.split(pc.list_flatten(token_ids).to_numpy(), ends[:-1])
        yield [shingle_hashes(own[1:]) for own in windows if len(own) > 1]
