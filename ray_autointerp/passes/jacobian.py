"""The Jacobian of a hook point, read back from its table."""

from typing import Any

import pyarrow.compute as pc
import torch
from torch import Tensor

from ray_autointerp.methods.jacobian import Jacobian
from ray_autointerp.runs.tables import Tables


def jacobian_of(tables: Tables, sae: str, device: torch.device) -> Jacobian:
    """The whole Jacobian of the hook point that an SAE writes to."""
    rows = tables.read("jacobian", tables.run.axes.hook_points[sae])
    num_directions, first = len(rows), rows.slice(0, 1).to_pylist()[0]
    num_singles = len(first["single_counts"])

    def numbers(flat: Any, *shape: int) -> Tensor:
        return torch.tensor(flat.to_numpy()).reshape(shape).to(device)

    singles = pc.list_flatten(pc.list_flatten(rows["singles"]))
    mean_DD = numbers(pc.list_flatten(rows["mean"]), num_directions, -1)
    singles_DND = numbers(singles, num_directions, num_singles, mean_DD.shape[1])
    return Jacobian(
        mean_DD=mean_DD,
        singles_NDD=singles_DND.movedim(1, 0).contiguous(),
        counts_N=torch.tensor(first["single_counts"], device=device),
        num_windows=first["num_windows"],
    )
