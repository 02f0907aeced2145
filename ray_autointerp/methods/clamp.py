"""Clamping: setting one latent's activation to a value, with the SAE's error term kept.

For a linear decoder, h + (v - a) d with d = W_dec[i] is the spliced-in reconstruction plus the
error term, so no decode is needed (methods 9). The inputs are states, activations, and what a
change of activation adds to the residual stream.
"""

# B clamped rows (one latent and value each), W windows, T positions, D d_model

from collections.abc import Callable

from torch import Tensor


def activation_change(acts_BWT: Tensor, values_B: Tensor, mask_WT: Tensor) -> Tensor:
    """What takes row b's activations to the value `values_B[b]`: [B, W, T], 0 where the mask is
    false (BOS, pads, sinks). It may be [W, T] or [B, W, T] (for instance only where the latent is
    active).
    """
    return (values_B[:, None, None] - acts_BWT).masked_fill(~mask_WT, 0)


def clamp(h_WTD: Tensor, change_BWT: Tensor, added: Callable[[Tensor], Tensor]) -> Tensor:
    """States [B, W, T, D] in which row b's activations change by `change_BWT`.

    `added` gives what such changes add to the states. Positions without a change come back bit for
    bit. `h_WTD` may have a leading B of its own.
    """
    moved_BWTD = h_WTD + added(change_BWT).to(h_WTD.dtype)
    return moved_BWTD.where((change_BWT != 0)[..., None], h_WTD)
