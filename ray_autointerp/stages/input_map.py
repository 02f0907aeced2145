"""input_map: the linear map from the embeddings to what latents read.

Once per read point, on the explain side, for every dictionary that reads there: an encoder column
sent back through it says which tokens fire the latent, those that no text held among them, without
a single firing.
"""

import pyarrow as pa
import torch
from torch import Tensor

from ray_autointerp.methods.input_map import Moments, fit_input_map, unit_embeddings
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.hook_point import Place
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext


def run(task: Task, context: WorkerContext) -> None:
    """Write `input_map`: a row per number in what is read."""
    assert task.hook_point is not None
    subject, place = context.subject, context.subject.place(task.hook_point)
    site = place if isinstance(place, int) else place.layer
    windows_WT = change_windows(
        context.tables, "explain", context.run.config.evidence.input_windows
    )
    embeddings_VD = unit_embeddings(subject.W_E_VD)
    lengths: list[Tensor] = []

    def half(windows_HT: Tensor) -> Moments:
        def batch(rows: slice) -> tuple[Moments, Tensor]:
            ids_RT = windows_HT[rows]
            seen = subject.residuals(ids_RT, [0, place, site])
            mask_RT = position_mask(subject, ids_RT, seen[site], site)
            of_states = [seen[one][mask_RT].float().norm(dim=-1).sum() for one in (0, place, site)]
            ids_P = ids_RT.to(embeddings_VD.device)[mask_RT]
            moments = Moments.of(embeddings_VD[ids_P], seen[place][mask_RT])
            return moments, torch.stack(of_states)

        size = context.run.config.operations.micro_batch
        parts, of_parts = zip(*subject.halving.run(len(windows_HT), size, batch), strict=True)
        lengths.extend(of_parts)
        whole: Moments = sum(parts[1:], parts[0])
        return whole

    halves = [half(windows_WT[::2]), half(windows_WT[1::2])]
    at_first, at_place, at_site = torch.stack(lengths).sum(0).tolist()
    count = halves[0].count + halves[1].count
    direct = at_first / count * at_place / at_site if count else 0.0
    found = fit_input_map(halves, direct if _is_residual(place) else 0.0)
    table = pa.table(
        {
            "direction": range(len(found.map_KD)),
            "num_windows": [len(windows_WT)] * len(found.map_KD),
            "ridge": [found.ridge] * len(found.map_KD),
            "unexplained": [found.unexplained] * len(found.map_KD),
            "row": list(found.map_KD.cpu().numpy()),
        },
        schema=TABLES["input_map"].schema,
    )
    context.write(task, "input_map", table)


def _is_residual(place: Place) -> bool:
    """Whether an embedding that no layer adds to is read there as it is, but for its length."""
    return isinstance(place, int) or place.where in ("mid", "normalized", "mlp_in")
