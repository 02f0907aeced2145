"""free_scores: what can be said of every latent without an LLM, to choose who deserves one.

One short prompt, its clean pass shared by all latents; each is clamped at the prompt's last
position alone, so one position per latent goes through the layers above the hook: once set to its
own maximum (effect size), once amplified as the source of S_out does (and change in confidence).

The lens tokens are the first of `vocab_proj.promoted`: the source's where lists are ranked by
logit and hold twenty tokens. A latent whose clamp overflows half precision is a row `failed`.
"""

import math
from collections.abc import Sequence

import pyarrow.compute as pc
import torch
from torch import Tensor

from ray_autointerp.methods.confidence import token_confidence
from ray_autointerp.methods.free_scores import (
    AMPLIFY,
    LENS_TOKENS,
    MOST_EXAMPLES,
    common_token,
    s_in,
    s_out,
)
from ray_autointerp.methods.kl import mean_kl
from ray_autointerp.models.clamped_pass import clean_run, last_position_states
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject
from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.prompts.neutral import FREE_SCORE_PROMPT
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_ROWS_OF_LOGITS = 64
"""Latents whose logits over the vocabulary are held at once."""


def run(task: Task, context: WorkerContext) -> None:
    """Write one latent shard of `free_scores`."""
    assert task.sae is not None
    latents = list(context.tables.latents(task))
    lists = context.tables.rows("vocab_proj", task.sae, latents, columns=["latent", "promoted"])
    lens = {
        latent: [entry["token"] for entry in row["promoted"][:LENS_TOKENS]]
        for latent, (row,) in lists.items()
        if row["promoted"] is not None
    }
    scale = reference_activations(context.tables, task.sae)
    effects = output_effects(
        context.subject,
        context.sae(task.sae),
        list(lens),
        list(lens.values()),
        [scale[latent] for latent in lens],
        context.run.config.operations.micro_batch,
    )
    effect_of = dict(zip(lens, effects, strict=True))
    rows: list[Row] = []
    for latent, peaks in zip(latents, _peaks(task, context), strict=True):
        if latent not in lens:  # its VocabProj failed: there are no lens tokens to score
            rows.append({"latent": latent, "status": "no_evidence"})
            continue
        common = common_token(peaks)
        rows.append(
            {
                "latent": latent,
                "num_examples": len(peaks),
                "s_in": s_in(peaks, lens[latent]),
                "single_token": context.tokenizer.texts([common.token])[0] if common else None,
                "single_token_share": common.share if common else None,
                **effect_of[latent],
            }
        )
    context.write(task, "free_scores", rows)


def _peaks(task: Task, context: WorkerContext) -> list[list[int]]:
    """Per latent of the shard, the tokens its explain-side top examples peak on.

    By Arrow: as Python objects the excerpts of 512 latents would be millions.
    """
    table = context.tables.read(
        "top_examples", task.sae, shards=[task.shard], columns=["latent", "split", "examples"]
    )
    explain = table.filter(pc.field("split") == "explain").sort_by("latent").combine_chunks()
    assert explain["latent"].to_pylist() == list(context.tables.latents(task))
    examples = pc.list_flatten(explain["examples"])
    tokens = pc.struct_field(examples, "token_ids")
    lengths = pc.list_value_length(tokens).to_numpy()
    places = lengths.cumsum() - lengths + pc.struct_field(examples, "peak").to_numpy()
    peaks = iter(pc.list_flatten(tokens).to_numpy()[places].tolist())
    counts = pc.list_value_length(explain["examples"]).to_pylist()
    return [[next(peaks) for _ in range(count)][:MOST_EXAMPLES] for count in counts]


def output_effects(
    subject: Subject,
    sae: Sae,
    latents: Sequence[int],
    lens: Sequence[Sequence[int]],
    reference: Sequence[float],
    windows_per_pass: int,
) -> list[Row]:
    """Per latent, the columns that come from its two clamps.

    `lens` are the latents' lens tokens, equally many each; `reference` the activations that set
    their scale. One row is one position: as many go into a pass as windows hold positions.
    """
    if not latents:
        return []
    tokenizer = subject.tokenizer
    prefix = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    ids_1T = torch.tensor([prefix + tokenizer.encode(FREE_SCORE_PROMPT)])
    clean = clean_run(subject, sae, latents, ids_1T, keep_keys=True)
    clean_1V = subject.unembed(clean.normed_WTD[:, -1])
    reference_B = torch.tensor(reference, device=subject.device)
    place = subject.place(sae.read_point)
    read_1TD = subject.residuals(ids_1T, [place])[place]
    largest = sae.activations(read_1TD[0, -1:]).max().float()
    # Where no latent fires there is nothing to scale by but the latent's own maximum.
    scale_B = largest.expand_as(reference_B) if largest > 0 else reference_B
    amplified_B = clean.acts_WTL[0, -1].float() + AMPLIFY * scale_B
    rows_per_pass = windows_per_pass * ids_1T.shape[1]
    at_maximum, at_amplified = (
        last_position_states(subject, sae, clean, latents, value_B, rows_per_pass)[:, 0]
        for value_B in (reference_B, amplified_B)
    )
    lens_BK = torch.tensor(lens, device=subject.device)
    effects: list[Row] = []
    for start in range(0, len(latents), _ROWS_OF_LOGITS):
        part = slice(start, start + _ROWS_OF_LOGITS)
        columns = {
            "clamp_value": reference_B[part],
            "amplified_value": amplified_B[part],
            **_measured(
                clean_1V,
                subject.unembed(at_maximum[part]),
                subject.unembed(at_amplified[part]),
                lens_BK[part],
            ),
        }
        effects += _rows({name: values_B.tolist() for name, values_B in columns.items()})
    return effects


def _measured(
    clean_1V: Tensor, moved_BV: Tensor, amplified_BV: Tensor, lens_BK: Tensor
) -> dict[str, Tensor]:
    scores = s_out(amplified_BV, lens_BK)
    return {
        "effect_kl": mean_kl(clean_1V, moved_BV[:, None]),
        "effect_kl_amplified": mean_kl(clean_1V, amplified_BV[:, None]),
        "delta_confidence": token_confidence(amplified_BV) - token_confidence(clean_1V),
        "max_logit_diff": (moved_BV - clean_1V).float().max(1).values,
        "s_out": scores.s_out_B,
        "s_out_probability": scores.probability_B,
        "s_out_best_rank": scores.best_rank_B,
    }


def _rows(columns: dict[str, list[float]]) -> list[Row]:
    rows: list[Row] = []
    for values in zip(*columns.values(), strict=True):
        if all(math.isfinite(value) for value in values):
            rows.append({"status": "ok", **dict(zip(columns, values, strict=True))})
        else:
            rows.append({"status": "failed"})
    return rows
