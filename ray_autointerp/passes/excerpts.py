"""Excerpts of windows around a latent's peaks, as columns of the tables that hold them."""

# E excerpts, N their tokens, A activations that are not zero

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ray_autointerp.methods.offsets import offsets_of
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.token_texts import token_texts
from ray_autointerp.passes.token_windows import TokenWindows
from ray_autointerp.records.schemas import EXAMPLE


@dataclass(frozen=True)
class Peaks:
    """Where latents are active: a window, the peak's position in it, and all non-zeros there."""

    windows_E: npt.NDArray[np.int64]
    positions_E: npt.NDArray[np.integer[Any]]
    activations_E: npt.NDArray[np.float32]
    offsets_E1: npt.NDArray[np.int64]
    """The non-zeros of excerpt e lie between two offsets."""
    positions_A: npt.NDArray[np.integer[Any]]
    values_A: npt.NDArray[np.float32]


def silent_peaks(windows: Sequence[int], positions: Sequence[int]) -> Peaks:
    """Places at which a latent is silent, as it is in all of the window."""
    number = len(windows)
    return Peaks(
        np.asarray(windows, np.int64),
        np.asarray(positions, np.int64),
        np.zeros(number, np.float32),
        np.zeros(number + 1, np.int64),
        np.zeros(0, np.int16),
        np.zeros(0, np.float32),
    )


@dataclass(frozen=True)
class Excerpts:
    """Excerpts with their tokens between two offsets."""

    windows_E: npt.NDArray[np.int64]
    documents_E: npt.NDArray[np.int64]
    document_ids_E: "pa.Array[Any]"
    peaks_E: npt.NDArray[np.int64]
    """Counted from the excerpt's first token."""
    activations_E: npt.NDArray[np.float32]
    offsets_E1: npt.NDArray[np.int64]
    token_ids_N: npt.NDArray[np.int32]
    texts_N: "pa.Array[Any]"
    """As the tokens stand in their windows: an excerpt may begin within a character."""
    activations_N: npt.NDArray[np.float32]

    def peak_tokens_E(self) -> npt.NDArray[np.int32]:
        """The token at each peak."""
        tokens_E: npt.NDArray[np.int32] = self.token_ids_N[self.offsets_E1[:-1] + self.peaks_E]
        return tokens_E

    def next_tokens_E(self) -> npt.NDArray[np.int32]:
        """The token after each peak; -1 where the excerpt ends."""
        next_E = self.offsets_E1[:-1] + self.peaks_E + 1
        is_last_E = next_E == self.offsets_E1[1:]
        next_tokens_E: npt.NDArray[np.int32] = np.append(self.token_ids_N, np.int32(-1))[next_E]
        next_tokens_E[is_last_E] = -1
        return next_tokens_E

    def lists(self, offsets: npt.NDArray[np.int64]) -> "pa.Array[Any]":
        """A column of lists of `EXAMPLE`: list i has the excerpts between two offsets."""
        bounds = pa.array(self.offsets_E1, pa.int32())
        columns = [
            pa.array(self.windows_E),
            pa.array(self.documents_E),
            self.document_ids_E,
            pa.array(self.peaks_E, pa.int16()),
            pa.array(self.activations_E),
            pa.ListArray.from_arrays(bounds, pa.array(self.token_ids_N)),
            pa.ListArray.from_arrays(bounds, self.texts_N),
            pa.ListArray.from_arrays(bounds, pa.array(self.activations_N)),
        ]
        examples = pa.StructArray.from_arrays(columns, fields=list(EXAMPLE))
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), examples)


def excerpts(
    windows: TokenWindows, peaks: Peaks, length: int, tokenizer: SubjectTokenizer
) -> Excerpts:
    """At most `length` tokens around each peak; BOS is never shown."""
    row_E = windows.rows(peaks.windows_E)
    begin_E = windows.offsets_W1[row_E]
    size_E = windows.offsets_W1[row_E + 1] - begin_E
    first_E = windows.has_bos_W(tokenizer.begin_ids)[row_E].astype(np.int64)
    peak_E = peaks.positions_E.astype(np.int64)
    # Three quarters before the peak: what makes a latent fire mostly stands to its left.
    start_E = np.maximum(first_E, np.minimum(peak_E - (3 * length) // 4, size_E - length))
    stop_E = np.minimum(start_E + length, size_E)
    offsets_E1 = offsets_of(stop_E - start_E)
    source_N = np.arange(offsets_E1[-1])
    source_N += np.repeat(begin_E + start_E - offsets_E1[:-1], stop_E - start_E)
    excerpt_A = np.repeat(np.arange(len(row_E)), np.diff(peaks.offsets_E1))
    position_A = peaks.positions_A.astype(np.int64)
    is_inside_A = (start_E[excerpt_A] <= position_A) & (position_A < stop_E[excerpt_A])
    activations_N = np.zeros(offsets_E1[-1], np.float32)
    place_A = (offsets_E1[:-1] - start_E)[excerpt_A] + position_A
    activations_N[place_A[is_inside_A]] = peaks.values_A[is_inside_A]
    return Excerpts(
        peaks.windows_E,
        windows.documents_W[row_E],
        windows.document_ids_W.take(row_E),
        peak_E - start_E,
        peaks.activations_E,
        offsets_E1,
        windows.token_ids_N[source_N],
        token_texts(windows.token_ids_N, windows.offsets_W1, tokenizer, places=source_N).column(),
        activations_N,
    )
