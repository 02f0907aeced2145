"""How well an SAE reconstructs what it reads: sums over tokens, added up batch by batch.

The share of variance that the reconstruction leaves unexplained is sum |x - x'|^2 over
sum |x - mean x|^2. An SAE read as another architecture, on another layer or model, or at another
scale than it was trained for leaves most of it unexplained.
"""

# N tokens, L latents, D width of what is reconstructed

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class SaeFit:
    """Over all tokens so far. Sums are float64, as a variance is a small difference of them."""

    sum_D: Tensor
    fired_L: Tensor
    """Whether each latent was active anywhere."""
    sum_squares: float = 0.0
    sum_errors: float = 0.0
    num_active: int = 0
    num_tokens: int = 0

    @classmethod
    def begin(cls, width: int, num_latents: int, device: torch.device) -> "SaeFit":
        """Of no tokens."""
        return cls(
            torch.zeros(width, dtype=torch.float64, device=device),
            torch.zeros(num_latents, dtype=torch.bool, device=device),
        )

    def add(self, x_ND: Tensor, reconstructed_ND: Tensor, acts_NL: Tensor) -> None:
        """Some tokens: what should be reconstructed, what was, and the activations between."""
        wide_ND = x_ND.double()
        self.sum_D += wide_ND.sum(0)
        self.sum_squares += float(wide_ND.square().sum())
        self.sum_errors += float((wide_ND - reconstructed_ND.double()).square().sum())
        is_active_NL = acts_NL != 0
        self.fired_L |= is_active_NL.any(0)
        self.num_active += int(is_active_NL.sum())
        self.num_tokens += len(x_ND)

    @property
    def unexplained(self) -> float | None:
        """Share of the variance; above 1 where the mean would do better. None without variance."""
        if not self.num_tokens:
            return None
        variance = self.sum_squares - float(self.sum_D.square().sum()) / self.num_tokens
        return self.sum_errors / variance if variance > 0 else None

    @property
    def l0(self) -> float | None:
        """Active latents of a token, on average."""
        return self.num_active / self.num_tokens if self.num_tokens else None

    @property
    def silent_share(self) -> float:
        """Share of latents that were active at none of the tokens."""
        return 1 - float(self.fired_L.double().mean())
