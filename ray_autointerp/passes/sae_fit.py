"""How well an SAE fits the subject as loaded, measured on the corpus's first tokens.

Shared by the step of that name and by `plan --fit`. An SAE of the residual stream is also tried on
the layer below and above: one that is read a layer off explains its own better.
"""

# W windows, T positions, N positions of text, L latents, Z width of what is reconstructed

import itertools
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import torch

from ray_autointerp.methods.sae_fit import SaeFit
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.sae import Sae
from ray_autointerp.passes.padded_windows import padded_windows
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_MOST_DENSE = 2**24
"""Activations over the width that are held at once."""


@dataclass(frozen=True)
class MeasuredFit:
    """What was found of one SAE."""

    row: Row
    """Of the table `sae_fit`."""
    elsewhere: dict[str, float]
    """By hook point next to its own, the share of variance that it leaves unexplained there."""


def measured_fit(sae_id: str, context: WorkerContext) -> MeasuredFit:
    """From the first token shard of `tokens`."""
    section, subject, sae = context.run.config.sae_fit, context.subject, context.sae(sae_id)
    site, read = subject.site(sae.hook_point), subject.place(sae.read_point)
    write = subject.place(sae.hook_point)
    windows = _first_windows(context, section.num_tokens)
    near_sites = _next_to(sae, context)
    pairs = [(read, write), *((near, near) for near in near_sites)]
    fits = [SaeFit.begin(subject.card.width(w), sae.d_sae, subject.device) for _, w in pairs]
    num_sinks = num_positions = 0

    def look(rows: slice) -> list[tuple[list[tuple[torch.Tensor, torch.Tensor]], int, int]]:
        tokens_WT, is_token_WT = padded_windows(windows[rows], context)
        seen = subject.residuals(tokens_WT, [site, *itertools.chain(*pairs)])
        h_WTD = seen[site]
        is_token_WT = is_token_WT.to(h_WTD.device)
        mask_WT = position_mask(subject, tokens_WT, h_WTD, site) & is_token_WT
        is_sink_WT = subject.is_sink(h_WTD, site)
        counts = int((is_sink_WT & is_token_WT).sum()), int(is_token_WT.sum())
        kept = {place: h_WTZ[mask_WT] for place, h_WTZ in seen.items()}
        return [([(kept[r], kept[w]) for r, w in pairs], *counts)]

    size = context.run.config.operations.micro_batch
    for batch in subject.halving.run(len(windows), size, look):
        for states, sinks, positions in batch:
            num_sinks, num_positions = num_sinks + sinks, num_positions + positions
            for fit, (read_NZ, written_NZ) in zip(fits, states, strict=True):
                _add(fit, sae, read_NZ, written_NZ)
    fit, *others = fits
    unexplained = fit.unexplained if sae.reconstructs else None
    row = {
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
    elsewhere = {
        _residual(near): other.unexplained for near, other in zip(near_sites, others, strict=True)
    }
    return MeasuredFit(row, {point: u for point, u in elsewhere.items() if u is not None})


def _next_to(sae: Sae, context: WorkerContext) -> list[int]:
    """The sites below and above an SAE of the residual stream; none of others."""
    subject = context.subject
    place, read = subject.place(sae.hook_point), subject.place(sae.read_point)
    if not isinstance(place, int) or place != read or not sae.reconstructs:
        return []
    return [near for near in (place - 1, place + 1) if 0 <= near <= subject.card.num_layers]


def _residual(site: int) -> str:
    """The hook point of a site of the residual stream."""
    return "blocks.0.hook_resid_pre" if site == 0 else f"blocks.{site - 1}.hook_resid_post"


def _add(fit: SaeFit, sae: Sae, read_NZ: torch.Tensor, written_NZ: torch.Tensor) -> None:
    together = max(1, _MOST_DENSE // sae.d_sae)
    for part_NZ, wanted_NZ in zip(
        torch.split(read_NZ, together), torch.split(written_NZ, together), strict=True
    ):
        acts_NL, reconstructed_NZ = sae.reconstruct(part_NZ)
        fit.add(sae.target(wanted_NZ), reconstructed_NZ, acts_NL)


def _first_windows(context: WorkerContext, num_tokens: int) -> list[Row]:
    """Windows of the first token shard, until they hold so many tokens; longest first."""
    shard = context.tables.read("tokens", None, shards=[0])
    totals = np.cumsum(pc.list_value_length(shard["token_ids"]).to_numpy())
    count = int(np.searchsorted(totals, num_tokens)) + 1
    windows = shard.slice(0, count).to_pylist()
    return sorted(windows, key=lambda row: (-len(row["token_ids"]), row["window"]))
