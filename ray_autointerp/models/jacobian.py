"""Jacobians by gradients: from a hook point to the final normed states (methods 9.6, 10), and from
the embeddings to what latents read.

One backward sweep per output direction over one kept forward pass. Windows do not mix, so a sweep
over many windows at once gives the row of every window's own Jacobian.
"""

# W windows, T positions, D d_model, K output directions asked

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from ray_autointerp.models.hook_point import Place, Site
from ray_autointerp.models.subject import Subject


def window_jacobians(
    subject: Subject, h_WTD: Tensor, mask_WT: Tensor, site: Site, directions: range
) -> Tensor:
    """Rows `directions` of each window's Jacobian, float32 [K, W, D].

    Entry (k, w, j) is the derivative of the sum over window w's counted positions of the final
    normed state's coordinate `directions[k]` when coordinate j moves at every counted position
    of the residual stream at the site. Divide by the number of counted positions for means.
    """
    run = partial(subject.resume_with_gradients, site=site)
    return _swept(run, h_WTD, mask_WT, directions, over=(1,))


def input_jacobian_sums(
    subject: Subject, h_WTD: Tensor, mask_WT: Tensor, place: Place, directions: range
) -> Tensor:
    """Rows `directions` of the map from the embeddings to a place, summed over windows: [K, D].

    Entry (k, j) is the derivative of the sum over counted positions of coordinate `directions[k]`
    of what is read when coordinate j moves at every counted position of the states below the first
    layer. So a token counts where it stands and wherever attention carries it.
    """
    run = partial(subject.read_with_gradients, place=place)
    return _swept(run, h_WTD, mask_WT, directions, over=(0, 1))


def _swept(
    run: Callable[[Tensor], Tensor],
    h_WTD: Tensor,
    mask_WT: Tensor,
    directions: range,
    over: tuple[int, ...],
) -> Tensor:
    """A backward sweep for each direction of what `run` makes of the states, summed over counted
    positions; its gradients there, summed over those dimensions.
    """
    rows = []
    with torch.inference_mode(False), torch.enable_grad():
        leaf_WTD = h_WTD.clone().requires_grad_()
        made_WTK = run(leaf_WTD)
        counted_WT1 = mask_WT[..., None].clone()
        total_K = (made_WTK.float() * counted_WT1).sum((0, 1))
        for direction in directions:
            (gradient_WTD,) = torch.autograd.grad(total_K[direction], leaf_WTD, retain_graph=True)
            rows.append((gradient_WTD.float() * counted_WT1).sum(over))
    return torch.stack(rows)
