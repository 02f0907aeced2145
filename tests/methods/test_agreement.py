"""Overlap, rank correlation and error against numpy, sorts and loops."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.agreement import TOP_TOKENS, agreement, reference


def slow(estimate: np.ndarray, truth: np.ndarray) -> tuple[float, float, float]:
    top = min(TOP_TOKENS, len(truth))
    shared = set(np.argsort(-estimate)[:top]) & set(np.argsort(-truth)[:top])
    ranks = [np.argsort(np.argsort(values)).astype(float) for values in (estimate, truth)]
    spearman = np.corrcoef(ranks[0], ranks[1])[0, 1]
    return len(shared) / top, spearman, ((estimate - truth) ** 2).sum() / (truth**2).sum()


@given(seed=st.integers(0, 10_000), noise=st.floats(0.01, 5), size=st.integers(5, 80))
def test_all_three_measures_equal_the_slow_ones(seed: int, noise: float, size: int) -> None:
    draws = np.random.default_rng(seed)
    truth_BV = draws.normal(size=(3, size)).astype(np.float32)
    estimate_BV = (truth_BV + noise * draws.normal(size=(3, size))).astype(np.float32)
    found = agreement(torch.tensor(estimate_BV), reference(torch.tensor(truth_BV)))
    for row in range(3):
        overlap, spearman, error = slow(estimate_BV[row], truth_BV[row])
        assert abs(float(found.overlap_B[row]) - overlap) < 1e-6
        assert abs(float(found.spearman_B[row]) - spearman) < 1e-5
        assert abs(float(found.relative_error_B[row]) - error) < 1e-3 * max(error, 1)


def test_an_estimate_agrees_with_itself_and_its_opposite_does_not() -> None:
    values_BV = torch.randn(2, 100, generator=torch.Generator().manual_seed(0))
    same = agreement(values_BV, reference(values_BV))
    assert same.overlap_B.tolist() == [1, 1] and same.relative_error_B.tolist() == [0, 0]
    torch.testing.assert_close(same.spearman_B, torch.ones(2))
    opposite = agreement(-values_BV, reference(values_BV))
    assert opposite.overlap_B.tolist() == [0, 0]
    torch.testing.assert_close(opposite.spearman_B, -torch.ones(2))
