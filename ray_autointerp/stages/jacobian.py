"""jacobian: rows of the average Jacobian from a hook point to the final normed states.

Once per hook point, on the explain side, for every dictionary that writes there: the mean over
all windows and the first 16 windows singly. A task makes some output directions, a backward sweep
each over `micro_batch` windows at a time.

Of a lens that was fitted before the matrix is taken, which ends before the final norm, and put
through the norm's mean derivative on the run's own windows; it has no single windows.
"""

import pyarrow as pa
import torch
from torch import Tensor

from ray_autointerp.methods.jacobian import SINGLE_WINDOWS
from ray_autointerp.methods.vocab_proj import mean_norm_jacobian
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.jacobian_lens import load_lens
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write one shard of `jacobian`: a row per output direction."""
    assert task.hook_point is not None
    if context.run.config.evidence.has_lens:
        _write_lens(task, context)
        return
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
    sums, singles, counted = zip(*done, strict=True)
    counts_W = torch.cat(counted)
    mean_KD = (torch.stack(sums).sum(0) / counts_W.sum()).float()
    singles_KND = torch.cat(singles, 1)
    counts = counts_W[:SINGLE_WINDOWS].tolist()
    _write(task, context, mean_KD, len(windows_WT), singles_KND, counts)


def _write_lens(task: Task, context: WorkerContext) -> None:
    assert task.hook_point is not None
    subject, evidence = context.subject, context.run.config.evidence
    lens = load_lens(evidence.jacobian)
    matrix_DD = lens.matrix(subject.site(task.hook_point), subject.card)
    assert matrix_DD is not None, "preflight refuses a lens without the layer"
    windows_WT = change_windows(context.tables, "explain", min(evidence.jacobian_windows, 32))

    def batch(rows: slice) -> Tensor:
        h_WTD = subject.residual(windows_WT[rows], subject.card.num_layers)
        mask_WT = position_mask(subject, windows_WT[rows], h_WTD, subject.card.num_layers)
        return h_WTD[mask_WT]

    size = context.run.config.operations.micro_batch
    states_PD = torch.cat(subject.halving.run(len(windows_WT), size, batch))
    norm_DD = mean_norm_jacobian(states_PD, subject.final_norm)
    directions = context.run.axes.direction_shard(task.shard)
    mean_KD = norm_DD[directions.start : directions.stop] @ matrix_DD.to(norm_DD)
    singles_KND = mean_KD.new_zeros(len(directions), 0, mean_KD.shape[1])
    _write(task, context, mean_KD.cpu(), max(lens.num_prompts, 1), singles_KND.cpu(), [])


def _write(
    task: Task,
    context: WorkerContext,
    mean_KD: Tensor,
    num_windows: int,
    singles_KND: Tensor,
    counts: list[int],
) -> None:
    directions = context.run.axes.direction_shard(task.shard)
    table = pa.table(
        {
            "direction": list(directions),
            "num_windows": [num_windows] * len(directions),
            "mean": list(mean_KD.numpy()),
            "singles": [list(row_ND) for row_ND in singles_KND.numpy()],
            "single_counts": [counts] * len(directions),
        },
        schema=TABLES["jacobian"].schema,
    )
    context.write(task, "jacobian", table)
