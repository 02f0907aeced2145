"""The Jacobian from a hook point to the final normed states, by gradients (methods 9.6, 10).

One backward sweep per output direction over one kept forward pass. Windows do not mix, so a sweep
over many windows at once gives the row of every window's own Jacobian.
"""

# W windows, T positions, D d_model, K output directions asked

import torch
from torch import Tensor

from ray_autointerp.models.hook_point import Site
from ray_autointerp.models.subject import Subject


def window_jacobians(
    subject: Subject, h_WTD: Tensor, mask_WT: Tensor, site: Site, directions: range
) -> Tensor:
    """Rows `directions` of each window's Jacobian, float32 [K, W, D].

    Entry (k, w, j) is the derivative of the sum over window w's counted positions of the final
    normed state's coordinate `directions[k]` when coordinate j moves at every counted position
    of the residual stream at the site. Divide by the number of counted positions for means.
    """
    rows = []
    with torch.inference_mode(False), torch.enable_grad():
        leaf_WTD = h_WTD.clone().requires_grad_()
        normed_WTD = subject.resume_with_gradients(leaf_WTD, site)
        counted_WT1 = mask_WT[..., None].clone()
        total_D = (normed_WTD.float() * counted_WT1).sum((0, 1))
        for direction in directions:
            (gradient_WTD,) = torch.autograd.grad(total_D[direction], leaf_WTD, retain_graph=True)
            rows.append((gradient_WTD.float() * counted_WT1).sum(1))
    return torch.stack(rows)
