"""free_scores: what can be said of every latent without an LLM, to choose who deserves one.

One short prompt, its clean pass shared by all latents; each is clamped at the prompt's last
position alone, so one position per latent goes through the layers above the hook: once set to its
own maximum (effect size, change in confidence), once amplified as the source of S_out does.
"""

import torch
from torch import Tensor

from ray_autointerp.methods.confidence import token_confidence
from ray_autointerp.methods.free_scores import (
    AMPLIFY,
    LENS_TOKENS,
    common_token,
    s_in,
    s_out,
)
from ray_autointerp.methods.kl import mean_kl
from ray_autointerp.models.clamped_pass import CleanRun, clean_run, last_position_states
from ray_autointerp.prompts.neutral import FREE_SCORE_PROMPT
from ray_autointerp.records.task import Task
from ray_autointerp.stages.desk import Desk
from ray_autointerp.stages.reference_activations import reference_activations
from ray_autointerp.stages.tables import Row

_ROWS_OF_LOGITS = 64
"""Latents whose logits over the vocabulary are held at once."""


def run(task: Task, desk: Desk) -> None:
    """Write one latent shard of `free_scores`."""
    assert task.sae is not None
    latents = list(desk.latents(task))
    examples = desk.rows("top_examples", task.sae, latents)
    lens = desk.row("vocab_proj", task.sae, latents)
    outputs = _outputs(
        desk,
        task.sae,
        latents,
        [[e["token"] for e in lens[latent]["promoted"][:LENS_TOKENS]] for latent in latents],
    )
    rows = []
    for latent, output in zip(latents, outputs, strict=True):
        explain = next(row for row in examples[latent] if row["split"] == "explain")
        peaks = [e["token_ids"][e["peak"]] for e in explain["examples"]]
        lens_tokens = [e["token"] for e in lens[latent]["promoted"][:LENS_TOKENS]]
        common = common_token(peaks)
        rows.append(
            {
                "latent": latent,
                "status": "ok",
                "num_examples": len(peaks),
                "s_in": s_in(peaks, lens_tokens),
                "single_token": desk.tokenizer.texts([common.token])[0] if common else None,
                "single_token_share": common.share if common else None,
                **output,
            }
        )
    desk.write(task, "free_scores", rows)


def _outputs(desk: Desk, sae_id: str, latents: list[int], lens: list[list[int]]) -> list[Row]:
    """Per latent, the columns that come from its two clamps."""
    subject, sae, tokenizer = desk.subject, desk.sae(sae_id), desk.tokenizer
    prefix = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
    ids_1T = torch.tensor([prefix + tokenizer.encode(FREE_SCORE_PROMPT)])
    clean = clean_run(subject, sae, latents, ids_1T, keep_keys=True)
    clean_1V = subject.unembed(clean.normed_WTD[:, -1])
    scale = reference_activations(desk, sae_id)
    reference_B = torch.tensor([scale[latent] for latent in latents], device=subject.device)
    place = subject.place(sae.read_point)
    read_1TD = subject.residuals(ids_1T, [place])[place]
    largest = sae.activations(read_1TD[0, -1:]).max().float()
    # Where no latent fires there is nothing to scale by but the latent's own maximum.
    scale_B = largest.expand_as(reference_B) if largest > 0 else reference_B
    amplified_B = clean.acts_WTL[0, -1].float() + AMPLIFY * scale_B
    at_maximum = _last_states(desk, sae_id, clean, reference_B)
    at_amplified = _last_states(desk, sae_id, clean, amplified_B)
    before = token_confidence(clean_1V)
    rows: list[Row] = []
    for start in range(0, len(latents), _ROWS_OF_LOGITS):
        part = slice(start, start + _ROWS_OF_LOGITS)
        moved_BV = subject.unembed(at_maximum[part])
        kl_B = mean_kl(clean_1V, moved_BV[:, None])
        confidence_B = token_confidence(moved_BV) - before
        diff_B = (moved_BV - clean_1V).float().max(1).values
        scores = s_out(
            subject.unembed(at_amplified[part]), torch.tensor(lens[part], device=subject.device)
        )
        columns = {
            "effect_kl": kl_B,
            "delta_confidence": confidence_B,
            "max_logit_diff": diff_B,
            "s_out": scores.s_out_B,
            "s_out_probability": scores.probability_B,
        }
        for i, rank in enumerate(scores.best_rank_B.tolist()):
            rows.append({name: float(values_B[i]) for name, values_B in columns.items()})
            rows[-1] |= {"s_out_best_rank": rank, "clamp_value": float(reference_B[start + i])}
    return rows


def _last_states(desk: Desk, sae_id: str, clean: CleanRun, value_B: Tensor) -> Tensor:
    """Final normed states [B, D] of the prompt's last position under each latent's clamp."""
    # A row is one position: as many fit into a pass as windows of the corpus hold.
    rows = desk.run.config.operations.micro_batch * clean.mask_WT.shape[1]
    states_B1D = last_position_states(
        desk.subject, desk.sae(sae_id), clean, clean.latents, value_B, rows
    )
    return states_B1D[:, 0]
