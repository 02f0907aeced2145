"""InputMap: the linear map from a token's embedding to what latents read where the token stands.

Ridge regression of the states at a read point on the token embeddings at unit length, over some
text: a forward pass and no gradient. An encoder column sent back through it ranks the whole
vocabulary, tokens that never occurred among them. On held-out text it names three times as many of
the tokens that latents fire on as the Jacobian from the embeddings, and thirty times as many as
the encoder against the embeddings themselves (methods 10). The inputs are embeddings and states.
"""

# P positions, D d_model, K numbers in what is read, V vocabulary

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

RIDGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
"""Penalties tried, in mean variances of the embeddings' coordinates."""

TOLERANCE = 0.05
"""The heaviest penalty is taken whose held-out error is within this share of the least: lists of
tokens gain from a heavier one than the states themselves."""


@dataclass(frozen=True)
class Moments:
    """Sums over positions that a regression of states on embeddings follows from, float64."""

    count: int
    x_D: Tensor
    y_K: Tensor
    xx_DD: Tensor
    xy_DK: Tensor
    yy: Tensor
    """The states' squared lengths, one number."""

    @classmethod
    def of(cls, x_PD: Tensor, y_PK: Tensor) -> "Moments":
        """Of embeddings and the states where they stand."""
        x_PD, y_PK = x_PD.double(), y_PK.double()
        return cls(
            len(x_PD), x_PD.sum(0), y_PK.sum(0), x_PD.T @ x_PD, x_PD.T @ y_PK, y_PK.pow(2).sum()
        )

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            self.count + other.count,
            self.x_D + other.x_D,
            self.y_K + other.y_K,
            self.xx_DD + other.xx_DD,
            self.xy_DK + other.xy_DK,
            self.yy + other.yy,
        )

    def centred(self) -> "Moments":
        """Of deviations from the means."""
        count = max(self.count, 1)
        x_D, y_K = self.x_D / count, self.y_K / count
        return Moments(
            self.count,
            torch.zeros_like(x_D),
            torch.zeros_like(y_K),
            self.xx_DD - count * torch.outer(x_D, x_D),
            self.xy_DK - count * torch.outer(x_D, y_K),
            self.yy - count * y_K.pow(2).sum(),
        )


@dataclass(frozen=True)
class InputMap:
    """What a regression found."""

    map_KD: Tensor
    ridge: float
    unexplained: float
    """Share of the states' variance that it leaves in the half of the text it was not fitted on."""


def unit_embeddings(W_E_VD: Tensor) -> Tensor:
    """Embeddings at unit length, float32 or wider: the first norm leaves no other.

    Rows of zeros, which some vocabularies have, stay zeros.
    """
    wide_VD = W_E_VD.to(torch.promote_types(W_E_VD.dtype, torch.float32))
    return torch.nn.functional.normalize(wide_VD, dim=1)


def fit_input_map(halves: Sequence[Moments], direct: float = 0.0) -> InputMap:
    """The regression over both halves of the text, its penalty chosen by fitting each half and
    judging on the other.

    Coefficients are drawn towards `direct` times the identity, the map of layers that add nothing
    to an embedding of that length: what no text held is then read as the encoder alone reads it.
    """
    first, second = (half.centred() for half in halves)
    errors = {
        ridge: (_error(first, second, ridge, direct) + _error(second, first, ridge, direct)) / 2
        for ridge in RIDGES
    }
    most = (1 + TOLERANCE) * min(errors.values())
    ridge = max(ridge for ridge in RIDGES if errors[ridge] <= most)
    whole = (halves[0] + halves[1]).centred()
    return InputMap(_solved(whole, ridge, direct).T.float(), ridge, errors[ridge])


def _solved(centred: Moments, ridge: float, direct: float) -> Tensor:
    """Coefficients [D, K]."""
    xx_DD = centred.xx_DD
    penalty = (ridge * xx_DD.diagonal().mean()).clamp_min(torch.finfo(xx_DD.dtype).tiny)
    identity_DD = torch.eye(len(xx_DD), dtype=xx_DD.dtype, device=xx_DD.device)
    drawn_DK = centred.xy_DK + penalty * direct * identity_DD if direct else centred.xy_DK
    found_DK: Tensor = torch.linalg.solve(xx_DD + penalty * identity_DD, drawn_DK)
    return found_DK


def _error(fitted: Moments, judged: Moments, ridge: float, direct: float) -> float:
    """Share of the variance of one half that coefficients of the other leave."""
    map_DK = _solved(fitted, ridge, direct)
    left = judged.yy - 2 * (map_DK * judged.xy_DK).sum() + (map_DK * (judged.xx_DD @ map_DK)).sum()
    return float(left / judged.yy) if judged.yy > 0 else 1.0
