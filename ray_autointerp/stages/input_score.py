"""input_score: the written sentences through the subject, and the graded score per latent.

A sentence's activation is the latent's maximum over its tokens; BOS, specials and sinks are left
out (methods 7, trap 13). Rows without sentences keep the reason as their status.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ray_autointerp.methods.input_score import SentenceActivation, half_aurocs, input_score
from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.sae import Sae
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


@dataclass(frozen=True)
class _Sentence:
    latent: int
    draw: int
    side: str
    text: str


@dataclass(frozen=True)
class _Read:
    """A latent's maximum on a sentence, and the token it was on."""

    activation: float
    token: str


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `input_scores/<method>`."""
    assert task.sae is not None and task.method is not None
    latents = context.tables.chosen(task)
    written = context.tables.rows("sentences", task.sae, latents, task.method)
    stats = context.tables.row("latent_stats", task.sae, latents)
    sentences = [
        _Sentence(latent, row["draw"], side, text)
        for latent in latents
        for row in written[latent]
        if row["status"] == "ok"
        for side in ("activating", "neutral")
        for text in row[side]
    ]
    read = dict(
        zip(sentences, _activations(sentences, context.sae(task.sae), context), strict=True)
    )
    context.write(
        task,
        "input_scores",
        [
            _scored(
                latent,
                [s for s in sentences if s.latent == latent],
                read,
                stats[latent]["max_activation"],
                written[latent],
                context.run.config.score.num_draws,
            )
            for latent in latents
        ],
    )


def _scored(
    latent: int,
    sentences: Sequence[_Sentence],
    read: dict[_Sentence, _Read],
    maximum: float | None,
    written: Sequence[Row],
    num_published: int,
) -> Row:
    """Published are the sentences of the first draws; the others choose the label."""
    found = [
        SentenceActivation(s.draw, s.side == "activating", read[s].activation) for s in sentences
    ]
    published = [s for s in found if s.draw < num_published]
    score = input_score(published, maximum)
    asked = (row["status"] for row in written if row["draw"] < num_published)
    failed = next((status for status in asked if status != "ok"), "no_evidence")
    return {
        "latent": latent,
        "status": "ok" if published else failed,
        "difference": score.difference,
        "difference_over_max": score.difference_over_max,
        "auroc": score.auroc,
        "average_precision": score.average_precision,
        "hit_rate": score.hit_rate,
        "paper_success": score.paper_success,
        "num_activating": score.num_activating,
        "num_neutral": score.num_neutral,
        "choosing_auroc": half_aurocs([s for s in found if s.draw >= num_published]),
        "activations": [
            {
                "draw": s.draw,
                "side": s.side,
                "activation": read[s].activation,
                "token": read[s].token,
            }
            for s in sentences
        ],
    }


def _activations(sentences: Sequence[_Sentence], sae: Sae, context: WorkerContext) -> list[_Read]:
    """In the sentences' order; a sentence of no readable token has activation 0."""
    tokenizer, config = context.tokenizer, context.run.config
    prefix = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
    longest = config.corpus.window or 128
    num_rows = context.subject.card.vocab_size

    def encoded(text: str) -> list[int]:
        """Without tokens that were added to the tokenizer alone, which the model cannot read."""
        return prefix + [token for token in tokenizer.encode(text) if token < num_rows]

    ids = [encoded(s.text)[:longest] for s in sentences]
    order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
    site, place = context.subject.site(sae.hook_point), context.subject.place(sae.read_point)

    def peaks(rows: slice) -> dict[int, tuple[float, int]]:
        batch = order[rows]
        width = max(len(ids[i]) for i in batch)
        pad = tokenizer.eos_id or 0
        tokens_WT = torch.tensor([ids[i] + [pad] * (width - len(ids[i])) for i in batch])
        seen = context.subject.residuals(tokens_WT, [site, place])
        lengths_W1 = torch.tensor([[len(ids[i])] for i in batch], device=seen[site].device)
        is_token_WT = torch.arange(width, device=lengths_W1.device) < lengths_W1
        mask_WT = position_mask(context.subject, tokens_WT, seen[site], site) & is_token_WT
        latents_W = torch.tensor([sentences[i].latent for i in batch], device=mask_WT.device)
        index_W = torch.arange(len(batch), device=mask_WT.device)
        acts_WT = sae.activations_of(seen[place], latents_W)[index_W, :, index_W]
        values_W, places_W = acts_WT.float().masked_fill(~mask_WT, 0.0).max(-1)
        found = zip(values_W.tolist(), places_W.tolist(), strict=True)
        return dict(zip(batch, found, strict=True))

    size = config.operations.micro_batch
    read: dict[int, _Read] = {}
    for part in context.subject.halving.run(len(order), size, peaks):
        for i, (activation, peak) in part.items():
            token = ids[i][min(peak, len(ids[i]) - 1)]
            read[i] = _Read(activation, tokenizer.texts([token])[0])
    return [read[i] for i in range(len(ids))]
