"""match: which latents are latents of the parent run's SAE, by decoder rows; and how alike those
fire on the sampled windows and promote tokens.

Matched are whole dictionaries; a row is written for each latent that the run labels.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.activation_correlation import ActivationCorrelation, SparseActivations
from ray_autointerp.methods.match import NONE, Latents, match
from ray_autointerp.passes.list_offsets import list_offsets
from ray_autointerp.passes.window_sample import firing_tokens
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Tables

Floats = npt.NDArray[np.floating[Any]]

_WINDOWS = 200
"""Sampled windows taken at once: memory goes by their non-zeros."""


def run(task: Task, context: WorkerContext) -> None:
    """Write `matches`: a row per latent; nulls, and `no_partner`, where it has no match."""
    assert task.sae is not None
    section = context.run.config.match
    assert section is not None, "the step is switched off without"
    earlier_id = context.run.config.earlier_id(task.sae)
    W_old_MZ = context.earlier_sae(task.sae).W_dec_LZ
    found = match(context.sae(task.sae).W_dec_LZ, W_old_MZ, section.cosine)
    correlations_N = _correlations(
        found.olds_N, len(W_old_MZ), context.tables, task.sae, context.earlier, earlier_id
    )
    latents = context.run.axes.latents[task.sae]
    own = slice(latents.start, latents.stop)
    olds_L = found.olds_N[own]
    is_matched_L = olds_L != NONE
    overlaps_L = _overlaps(
        olds_L, latents.start, context.tables, task.sae, context.earlier, earlier_id
    )
    context.write(
        task,
        "matches",
        pa.table(
            {
                "latent": pa.array(np.arange(latents.start, latents.stop), pa.int32()),
                "status": pa.array(np.where(is_matched_L, "ok", "no_partner"), pa.string()),
                "earlier_latent": pa.array(olds_L, pa.int32(), mask=~is_matched_L),
                "cosine": _nullable(found.cosines_N[own]),
                "margin": _nullable(found.margins_N[own]),
                "correlation": _nullable(correlations_N[own]),
                "promoted_overlap": _nullable(overlaps_L),
            },
            schema=TABLES["matches"].schema,
        ),
        metadata={"num_earlier": str(len(W_old_MZ)), "num_lost": str(len(found.lost))},
    )


def _nullable(values_L: Floats) -> "pa.Array[Any]":
    """NaN, where there is nothing to tell, as null."""
    return pa.array(values_L.astype(np.float32), mask=np.isnan(values_L))


def _correlations(
    olds_N: Latents, num_old: int, tables: Tables, sae: str, earlier: Tables, earlier_sae: str
) -> Floats:
    """Of activations on the windows that both runs sampled; NaN where there are none."""
    columns = ["window", "token_ids", "latents", "positions", "values"]
    new = tables.read("window_sample", sae, columns=columns)
    old = earlier.read("window_sample", earlier_sae, columns=columns)
    texts = {
        window: tokens
        for window, tokens in zip(
            old["window"].to_pylist(), old["token_ids"].to_pylist(), strict=True
        )
    }
    shared = [
        window
        for window, tokens in zip(
            new["window"].to_pylist(), new["token_ids"].to_pylist(), strict=True
        )
        if texts.get(window) == tokens
    ]
    sums = ActivationCorrelation(olds_N, num_old)
    for start in range(0, len(shared), _WINDOWS):
        some = pa.array(shared[start : start + _WINDOWS], pa.int64())
        pieces = [_piece(sample.filter(pc.field("window").isin(some))) for sample in (new, old)]
        sums.add(pieces[0][0], pieces[1][0], pieces[0][1])
    return sums.correlations_N() if shared else np.full(len(olds_N), np.nan, np.float32)


def _piece(sample: pa.Table) -> tuple[SparseActivations, int]:
    """The activations in some windows, in order of their ids, and the number of tokens."""
    sample = sample.sort_by("window")
    activations = SparseActivations(
        firing_tokens(sample),
        pc.list_flatten(sample["latents"]).to_numpy(),
        pc.list_flatten(sample["values"]).to_numpy(),
    )
    return activations, int(list_offsets(sample["token_ids"])[-1])


def _overlaps(
    olds_L: Latents, first: int, tables: Tables, sae: str, earlier: Tables, earlier_sae: str
) -> Floats:
    """The share of a latent's promoted tokens that its earlier self promotes too; NaN where one
    has no list.
    """
    own, others = _promoted(tables, sae), _promoted(earlier, earlier_sae)
    shares = [
        len(mine & theirs) / len(mine)
        if (mine := own.get(first + i)) and (theirs := others.get(old))
        else np.nan
        for i, old in enumerate(olds_L.tolist())
    ]
    return np.array(shares, np.float32)


def _promoted(tables: Tables, sae: str) -> dict[int, set[int]]:
    table = tables.read("jacobian_proj", sae, columns=["latent", "promoted"])
    return {
        row["latent"]: {entry["token"] for entry in row["promoted"] or ()}
        for row in table.to_pylist()
    }
