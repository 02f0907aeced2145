"""The clamp's algebra: h + (v - a) d where allowed, untouched elsewhere."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_autointerp.methods.clamp import activation_change, clamp


def clamped(h_WTD, acts_BWT, values_B, added, mask_WT):
    """States in which row b's latent has the value `values_B[b]`."""
    return clamp(h_WTD, activation_change(acts_BWT, values_B, mask_WT), added)


def along(directions_BD):
    """What changes [B, W, T] of activations add: so much of each row's direction."""
    return lambda change_BWT: change_BWT[..., None] * directions_BD[:, None, None, :]


def example(seed, dtype=torch.float32):
    draws = torch.Generator().manual_seed(seed)
    h_WTD = torch.randn(2, 3, 4, generator=draws).to(dtype)
    acts_BWT = torch.randn(5, 2, 3, generator=draws).relu()
    values_B = 10 * torch.randn(5, generator=draws)
    directions_BD = torch.randn(5, 4, generator=draws)
    mask_WT = torch.rand(2, 3, generator=draws) < 0.6
    return h_WTD, acts_BWT, values_B, directions_BD, mask_WT


def test_clamp_equals_splicing_a_reconstruction_with_its_error_term():
    """Encode, overwrite one activation, decode, add what the SAE had left out."""
    draws = torch.Generator().manual_seed(0)
    h_WTD = torch.randn(2, 3, 4, generator=draws).double()
    W_dec_LD, b_dec_D = torch.randn(6, 4, generator=draws).double(), torch.randn(4).double()
    acts_WTL = torch.randn(2, 3, 6, generator=draws).double().relu()
    error_WTD = h_WTD - (acts_WTL @ W_dec_LD + b_dec_D)
    values = {1: 3.0, 4: -2.0}
    mask_WT = torch.ones(2, 3, dtype=torch.bool)
    clamped_BWTD = clamped(
        h_WTD,
        acts_WTL[..., [1, 4]].permute(2, 0, 1),
        torch.tensor(list(values.values())).double(),
        along(W_dec_LD[[1, 4]]),
        mask_WT,
    )
    for row, (latent, value) in enumerate(values.items()):
        changed_WTL = acts_WTL.clone()
        changed_WTL[..., latent] = value
        spliced_WTD = changed_WTL @ W_dec_LD + b_dec_D + error_WTD
        torch.testing.assert_close(clamped_BWTD[row], spliced_WTD, rtol=1e-12, atol=1e-12)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_clamp_masked_positions_come_back_bit_for_bit(seed):
    h_WTD, acts_BWT, values_B, directions_BD, mask_WT = example(seed, torch.bfloat16)
    h_WTD[0, 0, 0] = -0.0
    values_B = values_B.abs() + 50  # far enough that no move is lost to rounding
    clamped_BWTD = clamped(h_WTD, acts_BWT, values_B, along(directions_BD), mask_WT)
    untouched = clamped_BWTD[:, ~mask_WT].view(torch.int16)
    assert (untouched == h_WTD[~mask_WT].view(torch.int16)).all()
    assert (clamped_BWTD[:, mask_WT] != h_WTD[mask_WT]).any(-1).all()


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6))
def test_clamp_to_the_current_activation_changes_nothing(seed):
    h_WTD, acts_BWT, values_B, directions_BD, _ = example(seed)
    acts_BWT = values_B[:, None, None].expand_as(acts_BWT)
    everywhere = torch.ones(2, 3, dtype=torch.bool)
    clamped_BWTD = clamped(h_WTD, acts_BWT, values_B, along(directions_BD), everywhere)
    assert torch.equal(clamped_BWTD, h_WTD.expand_as(clamped_BWTD))


def test_clamp_mask_of_each_row_moves_only_where_that_latent_is_active():
    h_WTD, acts_BWT, values_B, directions_BD, _ = example(7)
    clamped_BWTD = clamped(h_WTD, acts_BWT, values_B, along(directions_BD), acts_BWT > 0)
    moved_BWT = (clamped_BWTD != h_WTD).any(-1)
    assert torch.equal(moved_BWT, acts_BWT > 0)


def test_clamp_states_that_differ_per_row_are_each_moved_from_their_own():
    h_WTD, acts_BWT, values_B, directions_BD, mask_WT = example(9)
    h_BWTD = h_WTD + torch.arange(5.0)[:, None, None, None]
    together = clamped(h_BWTD, acts_BWT, values_B, along(directions_BD), mask_WT)
    for row in range(5):
        part = slice(row, row + 1)
        alone = clamped(
            h_BWTD[row], acts_BWT[part], values_B[part], along(directions_BD[part]), mask_WT
        )
        assert torch.equal(together[row], alone[0])


def test_clamp_infinite_garbage_at_a_masked_position_does_not_spread():
    h_WTD, acts_BWT, values_B, directions_BD, _ = example(3)
    mask_WT = torch.ones(2, 3, dtype=torch.bool)
    mask_WT[0, 0] = False
    acts_BWT[:, 0, 0] = torch.inf
    clamped_BWTD = clamped(h_WTD, acts_BWT, values_B, along(directions_BD), mask_WT)
    assert clamped_BWTD.isfinite().all()
