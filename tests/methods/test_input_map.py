"""The regression of states on embeddings, against known maps and against numpy's."""

import numpy as np
import pytest
import torch

from ray_autointerp.methods.input_map import Moments, fit_input_map, unit_embeddings


def drawn(count, noise, seed=0):
    """Embeddings with a mean, and states that are a known map of them plus a constant and noise."""
    generator = torch.Generator().manual_seed(seed)
    true_KD = torch.randn(5, 7, generator=torch.Generator().manual_seed(9))
    x_PD = torch.randn(count, 7, generator=generator) + 3
    y_PK = x_PD @ true_KD.T + 11 + noise * torch.randn(count, 5, generator=generator)
    return true_KD, x_PD, y_PK


def halves(x_PD, y_PK):
    return [Moments.of(x_PD[::2], y_PK[::2]), Moments.of(x_PD[1::2], y_PK[1::2])]


def test_map_is_ridge_regression_with_an_intercept():
    _, x_PD, y_PK = drawn(60, 1.0)
    found = fit_input_map(halves(x_PD, y_PK))
    x, y = (part.double().numpy() - part.double().numpy().mean(0) for part in (x_PD, y_PK))
    gram = x.T @ x
    penalty = found.ridge * gram.diagonal().mean() * np.eye(7)
    expected_KD = np.linalg.solve(gram + penalty, x.T @ y).T
    np.testing.assert_allclose(found.map_KD.numpy(), expected_KD, rtol=1e-4, atol=1e-5)


def test_states_that_embeddings_decide_get_the_true_map_and_others_a_heavy_penalty():
    true_KD, x_PD, y_PK = drawn(4000, 0.0)
    found = fit_input_map(halves(x_PD, y_PK))
    assert found.ridge == 0.03 and found.unexplained < 0.01
    torch.testing.assert_close(found.map_KD, true_KD, rtol=0.1, atol=0.1)
    noisy = fit_input_map(halves(*drawn(30, 30.0)[1:]))
    assert noisy.ridge == 10 and noisy.unexplained > 0.9


def test_error_is_that_of_the_half_that_was_not_fitted():
    _, x_PD, y_PK = drawn(200, 3.0)
    found = fit_input_map(halves(x_PD, y_PK))
    parts = [(x_PD[i::2].double(), y_PK[i::2].double()) for i in (0, 1)]
    centred = [(x - x.mean(0), y - y.mean(0)) for x, y in parts]
    errors = []
    for (x, y), (other_x, other_y) in (centred, centred[::-1]):
        gram = x.T @ x
        penalty = found.ridge * gram.diagonal().mean() * torch.eye(7)
        left = other_y - other_x @ torch.linalg.solve(gram + penalty, x.T @ y)
        errors.append(float(left.pow(2).sum() / other_y.pow(2).sum()))
    assert found.unexplained == pytest.approx(np.mean(errors), rel=1e-6)


def test_moments_of_parts_add_up():
    _, x_PD, y_PK = drawn(40, 1.0)
    whole, parts = Moments.of(x_PD, y_PK), Moments.of(x_PD[:9], y_PK[:9])
    parts += Moments.of(x_PD[9:], y_PK[9:])
    for name in ("count", "x_D", "y_K", "xx_DD", "xy_DK", "yy"):
        torch.testing.assert_close(getattr(parts, name), getattr(whole, name))


def test_no_text_at_all_gives_a_map_of_zeros():
    nothing = Moments.of(torch.zeros(0, 7), torch.zeros(0, 5))
    found = fit_input_map([nothing, nothing])
    assert found.map_KD.tolist() == torch.zeros(5, 7).tolist() and found.unexplained == 1


def test_unit_embeddings_have_length_one_and_zeros_stay():
    rows = unit_embeddings(torch.tensor([[3.0, 4.0], [0.0, 0.0]]).bfloat16())
    assert rows.dtype == torch.float32
    torch.testing.assert_close(rows, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))


def test_what_no_text_held_is_read_as_the_encoder_reads_it():
    """The last coordinate never moves: along it the map is the direct one."""
    _, x_PD, y_PK = drawn(60, 1.0)
    x_PD, y_PK = torch.cat([x_PD, torch.ones(60, 1)], 1), torch.cat([y_PK, y_PK[:, :3]], 1)
    found = fit_input_map(halves(x_PD, y_PK), direct=2.5)
    expected_K = torch.zeros(8)
    expected_K[7] = 2.5
    torch.testing.assert_close(found.map_KD[:, 7], expected_K)
