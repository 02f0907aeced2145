"""jacobian: rows of the average Jacobian from a hook point to the final normed states.

Once per hook point, on the explain side, for every dictionary that writes there: the mean over
all windows and the first 16 windows singly. A task makes some output directions, a backward sweep
each over `micro_batch` windows at a time.
"""

import pyarrow as pa
import torch
from torch import Tensor

from ray_autointerp.methods.jacobian import SINGLE_WINDOWS
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one shard of `jacobian`: a row per output direction."""
    assert task.hook_point is not None
    subject, site = context.subject, context.subject.site(task.hook_point)
    directions = context.run.axes.direction_shard(task.shard)
    windows_WT = change_windows(
        context.tables, "explain", context.run.config.evidence.jacobian_windows
    )

    def batch(rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        h_WTD = subject.residual(windows_WT[rows], site)
        mask_WT = position_mask(subject, windows_WT[rows], h_WTD, site)
        rows_KWD = window_jacobians(subject, h_WTD, mask_WT, site, directions).cpu()
        # Single windows are the first ones: what comes after is only ever used in the mean.
        singles_KND = rows_KWD[:, : max(SINGLE_WINDOWS - rows.start, 0)]
        return rows_KWD.sum(1, dtype=torch.float64), singles_KND, mask_WT.sum(1).cpu()

    size = context.run.config.operations.micro_batch
    done = subject.halving.run(len(windows_WT), size, batch)
    sums, singles, counts = zip(*done, strict=True)
    counts_W = torch.cat(counts)
    mean_KD = (torch.stack(sums).sum(0) / counts_W.sum()).float()
    singles_KND = torch.cat(singles, 1)
    table = pa.table(
        {
            "direction": list(directions),
            "num_windows": [len(windows_WT)] * len(directions),
            "mean": list(mean_KD.numpy()),
            "singles": [list(row_ND) for row_ND in singles_KND.numpy()],
            "single_counts": [counts_W[:SINGLE_WINDOWS].tolist()] * len(directions),
        },
        schema=TABLES["jacobian"].schema,
    )
    context.write(task, "jacobian", table)
