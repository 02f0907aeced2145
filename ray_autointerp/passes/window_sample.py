"""The sampled windows of one side: whose every non-zero is known, so that silence is known too."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.example_rank import window_hashes
from ray_autointerp.methods.near_miss import TokenPlaces, near_misses
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

Active = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Positions and activations of a latent in one window."""


class WindowSample:
    """Silent windows for some latents that fire elsewhere."""

    def __init__(self, context: WorkerContext, sae: str, split: str, latents: range) -> None:
        self._context = context
        sample = context.read("window_sample", sae, columns=["window", "split", "latents"])
        sample = sample.filter(pc.field("split") == split)
        tokens = context.read("tokens", None)
        tokens = tokens.filter(pc.is_in(tokens["window"], value_set=sample["window"]))
        self._windows = {row["window"]: row for row in tokens.to_pylist()}
        self._fires_in = _fires_in(sample, latents)
        self._places = TokenPlaces({w: row["token_ids"] for w, row in self._windows.items()})
        ids = np.array(list(self._windows), np.int64)
        hashes = window_hashes(ids, context.run.config.run.seed).tolist()
        self._rank = dict(zip(ids.tolist(), hashes, strict=True))

    def near_misses(self, latent: int, examples: list[Row]) -> list[Row]:
        """Excerpts around the tokens of the latent's peaks, from windows in which it is silent."""
        found = near_misses(
            [(e["token_ids"][e["peak"]], e["activation"]) for e in examples],
            self._fires_in.get(latent, set()),
            self._places,
            self._rank,
            self._context.run.config.evidence.num_near_misses,
        )
        silence = (np.zeros(0, np.int64), np.zeros(0, np.float32))
        return [
            excerpt(self._windows[miss.window], miss.position, 0.0, silence, self._context)
            for miss in found
        ]


def _fires_in(sample: pa.Table, latents: range) -> dict[int, set[int]]:
    """Of each latent, the sampled windows in which it is not silent."""
    fired = sample["latents"].combine_chunks()
    latents_N = pc.list_flatten(fired).to_numpy(zero_copy_only=False)
    windows_N = sample["window"].to_numpy()[pc.list_parent_indices(fired).to_numpy()]
    is_ours_N = (latents_N >= latents.start) & (latents_N < latents.stop)
    found: dict[int, set[int]] = {}
    for latent, window in zip(
        latents_N[is_ours_N].tolist(), windows_N[is_ours_N].tolist(), strict=True
    ):
        found.setdefault(latent, set()).add(window)
    return found


def excerpt(
    window: Row, peak: int, activation: float, active: Active, context: WorkerContext
) -> Row:
    """At most `excerpt_tokens` tokens around a position; BOS is never shown."""
    length = context.run.config.evidence.excerpt_tokens
    token_ids: list[int] = window["token_ids"]
    first = 1 if token_ids[:1] == [context.tokenizer.bos_id] else 0
    # Three quarters before the peak: what makes a latent fire mostly stands to its left.
    start = max(first, min(peak - (3 * length) // 4, len(token_ids) - length))
    stop = min(start + length, len(token_ids))
    activations = np.zeros(len(token_ids), np.float32)
    activations[active[0]] = active[1]
    return {
        "window": window["window"],
        "document": window["document"],
        "document_id": window["document_id"],
        "peak": peak - start,
        "activation": activation,
        "token_ids": token_ids[start:stop],
        "texts": context.tokenizer.texts(token_ids[start:stop]),
        "activations": activations[start:stop].tolist(),
    }
