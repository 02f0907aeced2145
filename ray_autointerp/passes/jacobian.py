"""The Jacobians of the hook points that an SAE writes to, read back from their tables."""

# D d_model, N single windows, X inputs: the coordinates of every hook point, side by side

from dataclasses import replace
from typing import Any

import pyarrow.compute as pc
import torch
from torch import Tensor

from ray_autointerp.methods.jacobian import Jacobian
from ray_autointerp.runs.tables import Tables


def jacobian_of(tables: Tables, sae: str, device: torch.device) -> Jacobian:
    """The whole Jacobian of what an SAE writes, as it stands in its `written_LX`.

    Of several hook points, sums over a window stand for the positions counted at the first: which
    positions are attention sinks differs between layers.
    """
    points = tables.run.axes.write_points(sae)
    first, *later = (_at(tables, point, device) for point in points)
    if not later:
        return first
    singles = [first.singles_NDD]
    for one in later:
        share_N = first.counts_N / one.counts_N.clamp_min(1)
        singles.append(one.singles_NDD * share_N[:, None, None])
    means = [one.mean_DD for one in (first, *later)]
    return replace(first, mean_DD=torch.cat(means, 1), singles_NDD=torch.cat(singles, 2))


def _at(tables: Tables, hook_point: str, device: torch.device) -> Jacobian:
    rows = tables.read("jacobian", hook_point)
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
