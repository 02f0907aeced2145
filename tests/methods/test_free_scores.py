"""S_in, S_out and single tokens against sorts, sets and loops."""

from collections import Counter

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.free_scores import common_token, s_in, s_out


@given(seed=st.integers(0, 10_000), size=st.integers(3, 40), levels=st.integers(2, 30))
def test_s_out_by_a_full_sort(seed: int, size: int, levels: int) -> None:
    """Few levels, so that many logits tie."""
    draws = np.random.default_rng(seed)
    logits_BV = draws.integers(0, levels, (4, size)).astype(np.float32)
    lens_BK = np.stack([draws.permutation(size)[:3] for _ in range(4)])
    found = s_out(torch.tensor(logits_BV), torch.tensor(lens_BK))
    for row in range(4):
        order = sorted(range(size), key=lambda token: (-logits_BV[row, token], token))
        rank = min(order.index(token) for token in lens_BK[row])
        p = np.exp(logits_BV[row].astype(float))
        p /= p.sum()
        probability = max(p[token] for token in lens_BK[row])
        assert int(found.best_rank_B[row]) == rank
        assert abs(float(found.probability_B[row]) - probability) < 1e-5
        assert abs(float(found.s_out_B[row]) - (1 - rank / size) * probability) < 1e-5


@given(st.lists(st.integers(0, 6), max_size=30), st.sets(st.integers(0, 6), max_size=4))
def test_s_in_is_the_share_of_peaks_among_the_lens_tokens(peaks: list[int], lens: set[int]) -> None:
    found = s_in(peaks, sorted(lens))
    if len(peaks) < 10:
        assert found is None
    else:
        assert found == sum(1 for peak in peaks if peak in lens) / len(peaks)


@given(st.lists(st.integers(0, 4), max_size=12))
def test_common_token_is_the_commonest_and_of_equals_the_smallest(peaks: list[int]) -> None:
    found = common_token(peaks)
    if not peaks:
        assert found is None
        return
    assert found is not None
    counts = Counter(peaks)
    best = max(counts.values())
    assert found.token == min(token for token, count in counts.items() if count == best)
    assert found.share == best / len(peaks)


def test_shuffled_lens_lists_bring_s_in_to_its_floor() -> None:
    """Latents that fire on their own lens tokens: 1 with their own list, 0 with another's."""
    lens = [list(range(20 * latent, 20 * latent + 20)) for latent in range(40)]
    peaks = [[lens[latent][i % 20] for i in range(30)] for latent in range(40)]
    assert all(s_in(peaks[i], lens[i]) == 1 for i in range(40))
    assert all(s_in(peaks[i], lens[(i + 7) % 40]) == 0 for i in range(40))
