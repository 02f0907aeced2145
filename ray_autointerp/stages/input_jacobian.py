"""input_jacobian: rows of the average map from the embeddings to what latents read.

Once per read point, on the explain side, for every dictionary that reads there: an encoder column
sent back through it says which tokens' embeddings fire the latent, through all the layers between,
without a single firing. A task makes some directions of the place, a backward sweep each over
`micro_batch` windows at a time.
"""

import pyarrow as pa
import torch
from torch import Tensor

from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.jacobian import input_jacobian_sums
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one shard of `input_jacobian`: a row per direction of the place."""
    assert task.hook_point is not None
    subject, place = context.subject, context.subject.place(task.hook_point)
    site = place if isinstance(place, int) else place.layer
    directions = context.run.axes.direction_shard(task.shard, task.hook_point)
    windows_WT = change_windows(
        context.tables, "explain", context.run.config.evidence.input_windows
    )

    def batch(rows: slice) -> tuple[Tensor, int]:
        seen = subject.residuals(windows_WT[rows], [0, site])
        mask_WT = position_mask(subject, windows_WT[rows], seen[site], site)
        sums_KD = input_jacobian_sums(subject, seen[0], mask_WT, place, directions)
        return sums_KD.double().cpu(), int(mask_WT.sum())

    size = context.run.config.operations.micro_batch
    sums, counts = zip(*subject.halving.run(len(windows_WT), size, batch), strict=True)
    mean_KD = (torch.stack(sums).sum(0) / sum(counts)).float()
    table = pa.table(
        {
            "direction": list(directions),
            "num_windows": [len(windows_WT)] * len(directions),
            "mean": list(mean_KD.numpy()),
        },
        schema=TABLES["input_jacobian"].schema,
    )
    context.write(task, "input_jacobian", table)
