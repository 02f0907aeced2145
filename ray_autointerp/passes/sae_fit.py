"""How well an SAE fits the subject as loaded, measured on the corpus's first tokens.

Shared by the step of that name and by `plan --fit`.
"""

import numpy as np
import pyarrow.compute as pc
import torch

from ray_autointerp.methods.sae_fit import SaeFit
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.passes.padded_windows import padded_windows
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_MOST_DENSE = 2**24
"""Activations over the width that are held at once."""


def measured_fit(sae_id: str, context: WorkerContext) -> Row:
    """The row of `sae_fit`, from the first token shard of `tokens`."""
    section, subject, sae = context.run.config.sae_fit, context.subject, context.sae(sae_id)
    site, read = subject.site(sae.hook_point), subject.place(sae.read_point)
    write = subject.place(sae.hook_point)
    windows = _first_windows(context, section.num_tokens)
    width = subject.card.width(write)
    fit = SaeFit.begin(width, sae.d_sae, subject.device)
    num_sinks = num_positions = 0

    def look(rows: slice) -> list[tuple[torch.Tensor, torch.Tensor, int, int]]:
        tokens_WT, is_token_WT = padded_windows(windows[rows], context)
        seen = subject.residuals(tokens_WT, [site, read, write])
        h_WTD = seen[site]
        is_token_WT = is_token_WT.to(h_WTD.device)
        mask_WT = position_mask(subject, tokens_WT, h_WTD, site) & is_token_WT
        is_sink_WT = subject.is_sink(h_WTD, site)
        counts = int((is_sink_WT & is_token_WT).sum()), int(is_token_WT.sum())
        return [(seen[read][mask_WT], seen[write][mask_WT], *counts)]

    size = context.run.config.operations.micro_batch
    for batch in subject.halving.run(len(windows), size, look):
        for read_NZ, target_NZ, sinks, positions in batch:
            num_sinks, num_positions = num_sinks + sinks, num_positions + positions
            together = max(1, _MOST_DENSE // sae.d_sae)
            for part_NZ, wanted_NZ in zip(
                torch.split(read_NZ, together), torch.split(target_NZ, together), strict=True
            ):
                acts_NL, reconstructed_NZ = sae.reconstruct(part_NZ)
                fit.add(sae.target(wanted_NZ), reconstructed_NZ, acts_NL)
    unexplained = fit.unexplained if sae.reconstructs else None
    return {
        "sae": sae_id,
        "status": "ok" if unexplained is not None else "no_evidence",
        **sae.facts(),
        "num_tokens": fit.num_tokens,
        "l0": fit.l0,
        "expected_l0": sae.expected_l0,
        "unexplained": unexplained,
        "silent_share": fit.silent_share,
        "sink_share": num_sinks / num_positions if num_positions else None,
    }


def _first_windows(context: WorkerContext, num_tokens: int) -> list[Row]:
    """Windows of the first token shard, until they hold so many tokens; longest first."""
    shard = context.tables.read("tokens", None, shards=[0])
    totals = np.cumsum(pc.list_value_length(shard["token_ids"]).to_numpy())
    count = int(np.searchsorted(totals, num_tokens)) + 1
    windows = shard.slice(0, count).to_pylist()
    return sorted(windows, key=lambda row: (-len(row["token_ids"]), row["window"]))
