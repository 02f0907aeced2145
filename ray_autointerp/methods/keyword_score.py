"""How well a few tokens foretell where a latent fires: a score for keywords without an LLM.

A position of held-out text counts as predicted where its token, in whatever spelling, is one of
the latent's keywords. Sums over counts of tokens, so that all latents of a large dictionary take
seconds. Knows spellings as numbers, not as text.
"""

# L latents, T tokens of the text, N firings, P keywords of all latents, S spellings, W windows

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

MIN_FIRINGS = 10
"""A latent with fewer firings in the held-out text is not scored."""


@dataclass(frozen=True)
class HeldOutText:
    """Windows of text, one after another."""

    spellings_T: npt.NDArray[np.int32]
    """What spelling each token has, counted from 0."""
    windows_T: npt.NDArray[np.int32]
    """In which window it stands, counted from 0."""
    num_spellings: int
    num_windows: int

    @cached_property
    def counts_SW(self) -> Any:
        """Tokens of each spelling in each window, sparse."""
        places = (self.spellings_T, self.windows_T)
        ones_T = np.ones(len(self.spellings_T), np.int64)
        return csr_array((ones_T, places), shape=(self.num_spellings, self.num_windows))


@dataclass(frozen=True)
class Firings:
    """Where some latents fire: latent l at the firings between two offsets."""

    offsets_L1: npt.NDArray[np.int64]
    tokens_N: npt.NDArray[np.int32]
    """Which token of the text."""
    values_N: npt.NDArray[np.float32]
    """Activations, all positive."""


@dataclass(frozen=True)
class Keywords:
    """Keywords of some latents: those of latent l lie between two offsets, no two alike."""

    offsets_L1: npt.NDArray[np.int64]
    spellings_P: npt.NDArray[np.int32]
    """Words that the text lacks are left out."""


@dataclass(frozen=True)
class KeywordScores:
    """Scores of some latents, [L] each, float64; NaN where a ratio has nothing below it."""

    num_predicted_L: npt.NDArray[np.int64]
    """Positions whose token is a keyword."""
    precision_L: npt.NDArray[np.float64]
    """Share of the predicted positions at which the latent fires."""
    recall_L: npt.NDArray[np.float64]
    """Share of its firings at predicted positions."""
    f1_L: npt.NDArray[np.float64]
    f1_weighted_L: npt.NDArray[np.float64]
    """F1 of precision and the share of its activation at predicted positions."""
    window_auroc_L: npt.NDArray[np.float64]
    """Chance that a window in which it fires holds more keywords than one in which it is silent;
    ties count 1/2."""


def keyword_scores(text: HeldOutText, firings: Firings, keywords: Keywords) -> KeywordScores:
    """Score each latent's keywords by where it fires."""
    num_firings_L = np.diff(firings.offsets_L1)
    shape = (len(num_firings_L), text.num_spellings)
    latent_P = np.repeat(np.arange(shape[0]), np.diff(keywords.offsets_L1))
    latent_N = np.repeat(np.arange(shape[0]), num_firings_L)
    fired_N = text.spellings_T[firings.tokens_N]
    ones_P, ones_N = (np.ones(len(latents), np.int64) for latents in (latent_P, latent_N))
    is_keyword_LS = csr_array((ones_P, (latent_P, keywords.spellings_P)), shape=shape)
    num_fired_LS = csr_array((ones_N, (latent_N, fired_N)), shape=shape)
    mass_LS = csr_array((firings.values_N.astype(np.float64), (latent_N, fired_N)), shape=shape)
    num_hits_L = is_keyword_LS.multiply(num_fired_LS).sum(1)
    num_keywords_LW = (is_keyword_LS @ text.counts_SW).toarray()
    num_predicted_L = num_keywords_LW.sum(1)
    is_active_LW = np.zeros(num_keywords_LW.shape, np.bool_)
    is_active_LW[latent_N, text.windows_T[firings.tokens_N]] = True
    precision_L = _ratio(num_hits_L, num_predicted_L)
    mass_recall_L = _ratio(is_keyword_LS.multiply(mass_LS).sum(1), mass_LS.sum(1))
    f1_L = _ratio(2 * num_hits_L, num_predicted_L + num_firings_L)
    f1_weighted_L = _ratio(2 * precision_L * mass_recall_L, precision_L + mass_recall_L)
    return KeywordScores(
        num_predicted_L,
        precision_L,
        _ratio(num_hits_L, num_firings_L),
        f1_L,
        np.where(num_hits_L > 0, f1_weighted_L, f1_L),
        _auroc(num_keywords_LW, is_active_LW),
    )


def _auroc(
    scores_LW: npt.NDArray[np.int64], is_positive_LW: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """Mann-Whitney by counting how many windows of each kind have each score."""
    num_latents, num_scores = len(scores_LW), int(scores_LW.max(initial=0)) + 1
    cell_LW = scores_LW + np.arange(num_latents)[:, None] * num_scores

    def counts(is_counted_LW: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        found = np.bincount(cell_LW[is_counted_LW], minlength=num_latents * num_scores)
        return found.reshape(num_latents, num_scores)

    positive, negative = counts(is_positive_LW), counts(~is_positive_LW)
    beaten = negative.cumsum(1) - negative / 2
    return _ratio((positive * beaten).sum(1), positive.sum(1) * negative.sum(1))


def _ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """NaN where there is nothing below."""
    ratio: npt.NDArray[np.float64] = np.full(len(below), np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio
