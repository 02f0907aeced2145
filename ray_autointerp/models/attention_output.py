"""From the heads' outputs to the residual stream: the projection W_O, and the norm after it that
Gemma 2 and 3 have. What a latent writes to attn.hook_z goes this way.
"""

# X any leading dimensions, Z heads x width of a head, D d_model, L latents

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from ray_autointerp.models.families import Parts, eps_of


@dataclass(frozen=True)
class AttentionOutput:
    """What a block's attention makes of its heads' outputs."""

    projection: nn.Module
    norm: nn.Module | None
    has_unit_offset: bool
    """Whether the norm multiplies by 1 + weight."""

    @classmethod
    def of(cls, parts: Parts, layer: int) -> "AttentionOutput":
        """That of one block."""
        name = parts.family.attention_post_norm
        norm = None if name is None else getattr(parts.layers[layer], name)
        return cls(parts.attention_output(layer), norm, parts.family.unit_offset)

    def __call__(self, z_XZ: Tensor) -> Tensor:
        """What is added to the residual stream, [X, D]."""
        # Not called as modules: that would run the hooks by which a pass is read and changed.
        out_XD = self.projection.forward(z_XZ)
        return cast(Tensor, out_XD if self.norm is None else self.norm.forward(out_XD))

    @property
    def is_linear(self) -> bool:
        """Whether what a change adds does not depend on what it is added to."""
        return self.norm is None

    def change(self, z_XZ: Tensor, delta_XZ: Tensor) -> Tensor:
        """How what is added changes, [X, D], when the heads' outputs change by `delta_XZ`."""
        if self.norm is None:
            return delta_XZ @ self.W_O_ZD.to(delta_XZ.dtype)
        dtype = next(self.projection.parameters()).dtype
        moved_XD = self((z_XZ + delta_XZ).to(dtype)) - self(z_XZ.to(dtype))
        return moved_XD.to(delta_XZ.dtype)

    @property
    def W_O_ZD(self) -> Tensor:
        """The projection's weights, heads x d_model."""
        weight: Any = self.projection.weight
        return cast(Tensor, weight.T if isinstance(self.projection, nn.Linear) else weight)

    @torch.inference_mode()
    def directions(self, rows_LZ: Tensor, z_NZ: Tensor) -> Tensor:
        """What is added [L, D] by a small change along each row, per unit of it: its mean over some
        tokens' outputs `z_NZ`.
        """
        moved_LD = rows_LZ @ self.W_O_ZD.to(rows_LZ.dtype)
        return moved_LD if self.norm is None else moved_LD @ self._norm_slope(z_NZ).to(moved_LD)

    def _norm_slope(self, z_NZ: Tensor) -> Tensor:
        """The mean derivative of the norm, D x D: of x gain / r(x) along m it is
        (m - x (x . m) / (D r^2)) gain / r.
        """
        assert self.norm is not None
        x_ND = self.projection.forward(z_NZ).double()
        r_N1 = (x_ND.pow(2).mean(-1, keepdim=True) + eps_of(self.norm)).sqrt()
        x_ND = x_ND / r_N1
        identity_DD = torch.eye(x_ND.shape[1], dtype=x_ND.dtype, device=x_ND.device)
        slope_DD = identity_DD * (1 / r_N1).mean() - (x_ND / r_N1).T @ x_ND / x_ND.numel()
        gain_D = cast(Tensor, self.norm.weight).double()
        return cast(Tensor, slope_DD * (1 + gain_D if self.has_unit_offset else gain_D))
