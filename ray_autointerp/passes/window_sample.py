"""The sampled windows: every non-zero in them is known, and so where a latent is silent."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.example_rank import window_hashes
from ray_autointerp.methods.near_miss import NearMiss, TokenPlaces, near_misses
from ray_autointerp.passes.list_offsets import list_offsets
from ray_autointerp.passes.token_windows import TokenWindows, token_windows
from ray_autointerp.records.keys import SPLITS
from ray_autointerp.runs.tables import Tables


@dataclass(frozen=True)
class _Texts:
    """What is the same for all latents of an SAE."""

    windows: TokenWindows
    ids: Mapping[str, Sequence[int]]
    """Window ids by side."""
    places: dict[str, TokenPlaces]
    """By side."""
    rank: dict[int, int]


class WindowSample:
    """Silent windows for some latents that fire elsewhere."""

    def __init__(self, tables: Tables, sae: str, latents: Sequence[int]) -> None:
        sample = tables.read("window_sample", sae, columns=["window", "split", "latents"])
        self._texts = tables.kept(("window_sample", sae), lambda: _texts(sample, tables))
        self._fires_in = _fires_in(sample, latents)

    @property
    def windows(self) -> TokenWindows:
        """All sampled windows, of both sides."""
        return self._texts.windows

    def silent(self, latent: int, side: str) -> list[int]:
        """The windows of one side in which the latent is silent."""
        fires_in = self._fires_in[latent]
        return [window for window in self._texts.ids[side] if window not in fires_in]

    def near_misses(
        self, latent: int, side: str, peaks: Iterable[tuple[int, float]], num_kept: int
    ) -> list[NearMiss]:
        """Windows of one side in which the latent is silent, with the tokens that it peaks on.

        `peaks` are the token and the activation of each peak.
        """
        texts = self._texts
        fires_in = self._fires_in[latent]
        return near_misses(peaks, fires_in, texts.places[side], texts.rank, num_kept)


def firing_tokens(sample: pa.Table) -> npt.NDArray[np.int64]:
    """The token of each non-zero of some sampled windows, counted through all their tokens."""
    starts_W1 = list_offsets(sample["token_ids"])
    num_firings_W = np.diff(list_offsets(sample["latents"]))
    window_N = np.repeat(np.arange(sample.num_rows), num_firings_W)
    found_N: npt.NDArray[np.int64] = (
        starts_W1[window_N] + pc.list_flatten(sample["positions"]).to_numpy()
    )
    return found_N


def _texts(sample: pa.Table, tables: Tables) -> _Texts:
    windows = token_windows(tables, sample["window"].to_numpy())
    ids, places = {}, {}
    for side in SPLITS:
        ids_W = sample.filter(pc.field("split") == side)["window"].to_numpy()
        ids[side] = ids_W.tolist()
        rows = zip(ids[side], windows.rows(ids_W).tolist(), strict=True)
        places[side] = TokenPlaces({i: windows.token_ids(row).tolist() for i, row in rows})
    hashes = window_hashes(windows.ids_W, tables.run.config.run.seed).tolist()
    return _Texts(windows, ids, places, dict(zip(windows.ids_W.tolist(), hashes, strict=True)))


def _fires_in(sample: pa.Table, latents: Sequence[int]) -> dict[int, set[int]]:
    """Of each latent, the sampled windows in which it is not silent."""
    fired = sample["latents"].combine_chunks()
    latents_N: npt.NDArray[Any] = pc.list_flatten(fired).to_numpy(zero_copy_only=False)
    place_N = np.flatnonzero(np.isin(latents_N, np.asarray(latents, latents_N.dtype)))
    windows_N = sample["window"].to_numpy()[pc.list_parent_indices(fired).to_numpy()[place_N]]
    latents_N = latents_N[place_N]
    order = np.argsort(latents_N, kind="stable")
    starts = np.searchsorted(latents_N[order], latents)
    ends = np.searchsorted(latents_N[order], latents, side="right")
    return {
        latent: set(np.unique(windows_N[order[start:stop]]).tolist())
        for latent, start, stop in zip(latents, starts, ends, strict=True)
    }
