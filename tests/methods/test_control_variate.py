"""The control variate on windows drawn at random: unbiased, and as sure as it says it is."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ray_autointerp.methods.control_variate import (
    FEWEST_WINDOWS,
    VarianceModel,
    control_variate,
    logit_power,
    standard_errors,
    unembedding_gram,
    window_variance,
    windows_needed,
)

ONES = torch.ones(400, dtype=torch.long)


@pytest.fixture
def population() -> tuple[Tensor, Tensor]:
    """Per-window exact and linear changes of one latent, [1, 400, 3]: alike, and biased apart."""
    draws = torch.Generator().manual_seed(3)
    linear_BND = torch.randn(1, 400, 3, generator=draws) + 2
    exact_BND = linear_BND + 0.2 * torch.randn(1, 400, 3, generator=draws) + 0.7
    return exact_BND, linear_BND


def test_corrected_mean_is_unbiased_and_surer_than_the_plain_one(
    population: tuple[Tensor, Tensor],
) -> None:
    """Over many draws of four windows: the Jacobian's bias of 0.7 is gone, its noise too."""
    exact_BND, linear_BND = population
    truth_D = exact_BND[0].double().mean(0)
    linear_mean_BD = linear_BND.mean(1)
    plain, corrected = [], []
    for draw in range(400):
        four = torch.randperm(400, generator=torch.Generator().manual_seed(draw))[:4]
        exact, linear = exact_BND[:, four], linear_BND[:, four]
        found_BD = control_variate(exact, linear, ONES[:4], linear_mean_BD)
        corrected.append((found_BD[0] - truth_D).numpy())
        plain.append((exact[0].mean(0) - truth_D).numpy())
    assert np.abs(np.mean(corrected, 0)).max() < 0.03
    assert np.std(corrected) < 0.3 * np.std(plain)


def test_windows_of_unequal_length_are_weighed_by_their_positions() -> None:
    exact, linear = torch.tensor([[[6.0], [1.0]]]), torch.tensor([[[3.0], [0.5]]])
    found = control_variate(exact, linear, torch.tensor([3, 1]), torch.tensor([[10.0]]))
    assert found.item() == pytest.approx((6 + 1 - 3 - 0.5) / 4 + 10)


def test_squared_logits_by_the_gram_matrix_equal_those_written_out() -> None:
    draws = torch.Generator().manual_seed(0)
    W_U_DV, sums_BND = torch.randn(5, 40, generator=draws), torch.randn(2, 6, 5, generator=draws)
    counts_N = torch.tensor([1, 2, 3, 4, 5, 6])
    logits_BNV = (sums_BND / counts_N[:, None]).double() @ W_U_DV.double()
    power_BN = logit_power(sums_BND / counts_N[:, None], W_U_DV)
    torch.testing.assert_close(power_BN.double(), logits_BNV.pow(2).mean(-1), rtol=1e-4, atol=1e-5)
    expected_B = logits_BNV.var(1).mean(-1)
    found_B = window_variance(sums_BND, counts_N, unembedding_gram(W_U_DV))
    torch.testing.assert_close(found_B.double(), expected_B, rtol=1e-4, atol=1e-5)


@given(a=st.floats(-5, 5), b=st.floats(0.5, 3), c=st.floats(0.2, 1.5), e=st.floats(0.5, 1.5))
def test_variance_model_finds_the_law_it_was_fed(a: float, b: float, c: float, e: float) -> None:
    draws = torch.Generator().manual_seed(0)
    norm, first, linear = (torch.rand(30, generator=draws) + 0.1 for _ in range(3))
    residual = torch.exp(a + b * norm.log() + c * first.log())
    model = VarianceModel.fit(norm, first, linear, residual, 2 * linear**e)
    assert model is not None
    torch.testing.assert_close(
        model.residual_variance(norm, first), residual.double(), rtol=0.01, atol=1e-9
    )
    torch.testing.assert_close(
        model.exact_variance(linear), 2 * linear.double() ** e, rtol=0.01, atol=1e-9
    )


def test_too_small_a_sample_fits_nothing() -> None:
    few = torch.rand(5) + 0.1
    assert VarianceModel.fit(few, few, few, few, few) is None


@given(
    residual=st.floats(1e-4, 10),
    exact=st.floats(1e-4, 10),
    linear=st.floats(1e-4, 10),
    num_exact=st.integers(2, 64),
    num_jacobian=st.integers(2, 256),
)
def test_windows_needed_are_the_fewest_that_are_as_sure(
    residual: float, exact: float, linear: float, num_exact: int, num_jacobian: int
) -> None:
    (found,) = windows_needed(
        *(torch.tensor([x], dtype=torch.float64) for x in (residual, exact, linear)),
        num_exact,
        num_jacobian,
    )

    def is_enough(n: int) -> bool:
        return residual / n + linear / num_jacobian <= exact / num_exact

    fewest = next((n for n in range(1, num_exact) if is_enough(n)), None)
    assert found == (None if fewest is None else max(fewest, FEWEST_WINDOWS))


def test_no_number_of_windows_is_enough_where_the_residual_overflowed() -> None:
    ones = torch.ones(2, dtype=torch.float64)
    residual_B = torch.tensor([torch.nan, torch.inf], dtype=torch.float64)
    assert windows_needed(residual_B, 100 * ones, ones, 8, 64) == [None, None]


@pytest.mark.parametrize("num_windows", [2, 4, 8, 32])
def test_standard_errors_cover_the_truth_about_as_often_as_they_should(num_windows: int) -> None:
    """Listed tokens with like scatter; two standard errors hold the mean of 19 in 20, about."""
    draws = torch.Generator().manual_seed(num_windows)
    scattered_BNK = torch.randn(4000, num_windows, 20, generator=draws)
    error_BK = standard_errors(scattered_BNK, None, 0)
    covered = (scattered_BNK.mean(1).abs() <= 2 * error_BK).float().mean()
    assert 0.92 < covered < 0.97


def test_the_jacobians_own_windows_are_part_of_the_error() -> None:
    draws = torch.Generator().manual_seed(0)
    nothing, linear_BNK = torch.zeros(2, 3, 5), torch.randn(2, 16, 5, generator=draws)
    found = standard_errors(nothing, linear_BNK, 64)
    torch.testing.assert_close(found, (linear_BNK.var(1) / 64).sqrt())
