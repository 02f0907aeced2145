"""The Jacobians of the hook points that an SAE writes to, read back from their tables."""

# D d_model, N single windows, X inputs: the coordinates of every hook point, side by side

from dataclasses import replace
from typing import Any

import pyarrow as pa
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


def mean_jacobian_of(tables: Tables, sae: str, device: torch.device) -> Tensor:
    """Its mean [D, X] alone: single windows are 16 times as much to read."""
    points = tables.run.axes.write_points(sae)
    return torch.cat(
        [_mean(tables.read("jacobian", p, columns=["mean"]), device) for p in points], 1
    )


def _at(tables: Tables, hook_point: str, device: torch.device) -> Jacobian:
    rows = tables.read("jacobian", hook_point)
    first, mean_DD = rows.slice(0, 1).to_pylist()[0], _mean(rows, device)
    singles = pc.list_flatten(pc.list_flatten(rows["singles"]))
    num_singles = len(first["single_counts"])
    singles_DND = _numbers(singles, (len(rows), num_singles, mean_DD.shape[1]), device)
    return Jacobian(
        mean_DD=mean_DD,
        singles_NDD=singles_DND.movedim(1, 0).contiguous(),
        counts_N=torch.tensor(first["single_counts"], device=device),
        num_windows=first["num_windows"],
    )


def _mean(rows: pa.Table, device: torch.device) -> Tensor:
    return _numbers(pc.list_flatten(rows["mean"]), (len(rows), -1), device)


def _numbers(flat: Any, shape: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(flat.to_numpy()).reshape(shape).to(device)
