"""A latent's maximum on a text of its own: of written sentences, and of tokens that may revive it.

BOS, excluded tokens and sinks are left out of the maximum (methods 7, trap 13).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ray_autointerp.models.clamped_pass import position_mask
from ray_autointerp.models.sae import Sae
from ray_autointerp.records.split_characters import named_pieces, without_marks
from ray_autointerp.runs.context import WorkerContext


@dataclass(frozen=True)
class LatentText:
    """A text, without BOS, on which one latent is read."""

    latent: int
    token_ids: Sequence[int]


@dataclass(frozen=True)
class Peak:
    """A latent's maximum on a text, and on which token: of a piece of a character, the whole.
    None where the latent is silent.
    """

    activation: float
    token_text: str | None


def encoded(context: WorkerContext, text: str) -> list[int]:
    """Token ids without those added to the tokenizer alone, which the model cannot read."""
    num_rows = context.subject.card.vocab_size
    return [token for token in context.tokenizer.encode(text) if token < num_rows]


def peak_activations(context: WorkerContext, sae: Sae, texts: Sequence[LatentText]) -> list[Peak]:
    """In the texts' order, each behind BOS, cut to the corpus' window; 0 where no token counts."""
    tokenizer, config = context.tokenizer, context.run.config
    prefix = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
    longest = config.corpus.window or 128
    ids = [[*prefix, *text.token_ids][:longest] for text in texts]
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
        latents_W = torch.tensor([texts[i].latent for i in batch], device=mask_WT.device)
        index_W = torch.arange(len(batch), device=mask_WT.device)
        acts_WT = sae.activations_of(seen[place], latents_W)[index_W, :, index_W]
        values_W, places_W = acts_WT.float().masked_fill(~mask_WT, 0.0).max(-1)
        found = zip(values_W.tolist(), places_W.tolist(), strict=True)
        return dict(zip(batch, found, strict=True))

    read: dict[int, Peak] = {}
    for part in context.subject.halving.run(len(order), config.operations.micro_batch, peaks):
        for i, (activation, peak) in part.items():
            names = named_pieces(tokenizer.row_texts(ids[i]))
            read[i] = Peak(activation, without_marks(names[peak]) if activation > 0 else None)
    return [read[i] for i in range(len(ids))]
