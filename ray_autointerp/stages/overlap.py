"""overlap: what of the score side's text is also on the explain side, counted.

No document is on both sides: that is asserted. Copies inside documents (quotations, boilerplate)
remain: windows of one side that share a run of 13 tokens with the other. Every report prints it.
A section of a long document counts as a document. A split that later steps cannot be served from is
refused here, before any pass of the subject.
"""

import numpy as np
import pyarrow.compute as pc

from ray_autointerp.errors import CorpusError, TaskError
from ray_autointerp.methods.shingle import shingle_hashes
from ray_autointerp.methods.window_length import LEAST_EXPLAIN, LEAST_SCORE, window_length
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.records.task import Task
from ray_autointerp.runs.tables import Row, Tables

_Hashes = np.ndarray[tuple[int], np.dtype[np.uint64]]
_NONE: _Hashes = np.zeros(0, np.uint64)
_MOST_HASHES = 20_000_000
"""Shingles of one side held at once; above, the first by hash stand for all."""


def run(task: Task, context: Tables) -> None:
    """Write `overlap`: a row per side. Raises CorpusError: a side has too little text."""
    tokens = context.read("tokens", None)
    sides = {side: tokens.filter(pc.field("split") == side).to_pylist() for side in SPLITS}
    documents = {side: {row["document_id"] for row in rows} for side, rows in sides.items()}
    both = documents["explain"] & documents["score"]
    if both:
        raise TaskError(f"document {min(both)} is on both sides of the split: give ids that differ")
    _check_windows(sides, context)
    hashes = {side: _hashes([r["token_ids"] for r in rows]) for side, rows in sides.items()}
    counted = []
    for side, other in zip(SPLITS, reversed(SPLITS), strict=True):
        copied = _num_copied(hashes[side], np.unique(np.concatenate([_NONE, *hashes[other]])))
        counted.append(
            {
                "split": side,
                "num_documents": len(documents[side]),
                "num_windows": len(hashes[side]),
                "num_overlapping": copied,
                "share": copied / len(hashes[side]) if hashes[side] else None,
            }
        )
    context.write(task, "overlap", counted)


def _check_windows(sides: dict[str, list[Row]], context: Tables) -> None:
    """Raise CorpusError unless both sides have windows for TokenChange and agreement."""
    evidence = context.run.config.evidence
    lengths = {s: np.array([len(r["token_ids"]) for r in rows], int) for s, rows in sides.items()}
    explain, score = lengths["explain"], lengths["score"]
    most, number = evidence.change_window_tokens, evidence.change_windows
    if window_length(explain, score, most, number) is None:
        raise CorpusError(
            f"The corpus has {len(explain)} windows of text to explain from and {len(score)} of "
            f"other text to score on; at least {LEAST_EXPLAIN} and {LEAST_SCORE} are needed: start "
            "a new run with more documents, longer ones, or ones that are not copies of each "
            "other."
        )


def _num_copied(windows: list[_Hashes], known: _Hashes) -> int:
    """Windows that hold a known shingle."""
    known = known[:_MOST_HASHES]
    hashes_N = np.concatenate([_NONE, *windows])
    window_N = np.repeat(np.arange(len(windows)), [len(own) for own in windows])
    if len(known) == _MOST_HASHES:
        known_range_N = hashes_N <= known[-1]
        hashes_N, window_N = hashes_N[known_range_N], window_N[known_range_N]
    return len(np.unique(window_N[np.isin(hashes_N, known)]))


def _hashes(windows: list[list[int]]) -> list[_Hashes]:
    """Of each window; the first token, which may be BOS, is left out."""
    return [shingle_hashes(token_ids[1:]) for token_ids in windows if len(token_ids) > 1]
