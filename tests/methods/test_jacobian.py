"""JacobianProj: on a linear tail it is exact at every clamp; means are ratios of sums."""

import torch

from ray_autointerp.methods.jacobian import (
    Jacobian,
    jacobian_proj,
    linear_change,
    linear_window_sums,
)


def test_on_a_linear_model_the_prediction_is_exact_at_every_clamp() -> None:
    """A tail that is linear within each window, another map in each (methods 17, anchor 7)."""
    draws = torch.Generator().manual_seed(0)
    maps_NDD = torch.randn(3, 6, 6, generator=draws)
    counts_N = torch.tensor([4, 2, 5])
    jacobian = Jacobian(
        (maps_NDD * counts_N[:, None, None]).sum(0) / counts_N.sum(),
        maps_NDD * counts_N[:, None, None],
        counts_N,
        3,
    )
    decoder_LD, W_U_DV = torch.randn(5, 6, generator=draws), torch.randn(6, 30, generator=draws)
    for clamp in (0.1, 3.0, -40.0):
        change_LD = linear_change(clamp * decoder_LD, jacobian.mean_DD)
        for latent in range(5):
            moved = [
                counts_N[n] * maps_NDD[n].double() @ (clamp * decoder_LD[latent]).double()
                for n in range(3)
            ]
            expected_D = sum(moved) / counts_N.sum()
            torch.testing.assert_close(change_LD[latent].double(), expected_D, rtol=1e-4, atol=1e-4)
            sums_ND = linear_window_sums(clamp * decoder_LD, jacobian.singles_NDD)[latent]
            torch.testing.assert_close(
                sums_ND.double(), torch.stack(moved), rtol=1e-4, atol=1e-3 * abs(clamp)
            )
        lists = jacobian_proj(change_LD, W_U_DV, 4)
        logits_LV = change_LD.double() @ W_U_DV.double()
        for latent in range(5):
            order = sorted(range(30), key=lambda token: -float(logits_LV[latent, token]))
            assert lists.promoted.ids_BK[latent].tolist() == order[:4]
            assert lists.suppressed.ids_BK[latent].tolist() == order[:-5:-1]


def test_mean_of_some_windows_weighs_positions_not_windows() -> None:
    draws = torch.Generator().manual_seed(1)
    sums_NDD, counts_N = torch.randn(4, 2, 2, generator=draws), torch.tensor([3, 1, 8, 2])
    jacobian = Jacobian(sums_NDD.sum(0) / 14, sums_NDD, counts_N, 4)
    torch.testing.assert_close(jacobian.mean_of(2), (sums_NDD[0] + sums_NDD[1]) / 4)
    torch.testing.assert_close(jacobian.mean_of(4), jacobian.mean_DD)
    assert jacobian.mean_of(9) is jacobian.mean_DD
