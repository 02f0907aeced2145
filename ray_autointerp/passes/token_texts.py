"""The texts of many windows' tokens, each different one made once."""

# N tokens, W windows

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ray_autointerp.models.tokenizer import SubjectTokenizer


@dataclass(frozen=True)
class TokenTexts:
    """A text for each token: one of the different ones."""

    different: list[str]
    codes_N: npt.NDArray[np.int64]

    def column(self) -> "pa.Array[Any]":
        """The texts as a column."""
        texts = pa.array(self.different, pa.string())
        return pa.DictionaryArray.from_arrays(
            pa.array(self.codes_N, pa.int64()), texts
        ).dictionary_decode()


def token_texts(
    token_ids_N: npt.NDArray[np.integer[Any]],
    offsets_W1: npt.NDArray[np.integer[Any]],
    tokenizer: SubjectTokenizer,
    *,
    places: npt.NDArray[np.integer[Any]] | None = None,
    name: Callable[[Sequence[str]], Sequence[str]] = tuple,
) -> TokenTexts:
    """The texts of tokens in their windows, which lie between two offsets, as
    `SubjectTokenizer.row_texts` has them; of all tokens, or of those at some places. `name` may
    change those of a character's pieces.
    """
    shown_N = token_ids_N if places is None else token_ids_N[places]
    is_there_V = np.zeros(int(token_ids_N.max(initial=-1)) + 1, bool)
    is_there_V[token_ids_N] = True
    different = np.flatnonzero(is_there_V).tolist()
    texts = tokenizer.texts(different)
    code_V = np.cumsum(is_there_V) - 1
    is_part_V = np.zeros_like(is_there_V)
    is_part_V[different] = [tokenizer.has_part(token) for token in different]
    if not is_part_V[shown_N].any():
        return TokenTexts(texts, code_V[shown_N])
    codes_N = code_V[token_ids_N]
    is_shown_N = np.zeros(len(token_ids_N), bool)
    is_shown_N[slice(None) if places is None else places] = True
    code_of: dict[str, int] = {}
    for start, stop in _runs(is_part_V[token_ids_N], offsets_W1):
        if is_shown_N[start:stop].any():
            own = name(tokenizer.row_texts(token_ids_N[start:stop].tolist()))
            codes_N[start:stop] = [
                len(texts) + code_of.setdefault(text, len(code_of)) for text in own
            ]
    return TokenTexts([*texts, *code_of], codes_N if places is None else codes_N[places])


def _runs(
    is_part_N: npt.NDArray[np.bool_], offsets_W1: npt.NDArray[np.integer[Any]]
) -> list[tuple[int, int]]:
    """Where tokens with parts of characters follow each other within a window."""
    is_first_N = is_part_N.copy()
    is_first_N[1:] &= ~is_part_N[:-1]
    starts = offsets_W1[:-1][np.diff(offsets_W1) > 0]
    is_first_N[starts] = is_part_N[starts]
    run_N = np.cumsum(is_first_N)[is_part_N]
    places = np.flatnonzero(is_part_N)
    begins = np.flatnonzero(np.diff(run_N, prepend=0))
    ends = np.append(begins[1:], len(places)) - 1
    return list(zip(places[begins].tolist(), (places[ends] + 1).tolist(), strict=True))
