"""What one latent does on a text that a person typed, token by token."""

import threading

import torch

from ray_autointerp.passes.peak_activations import encoded
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run


class TypedText:
    """Reads latents of runs on texts. The subject and an SAE are loaded when first asked for."""

    def __init__(self) -> None:
        self._contexts: dict[str, WorkerContext] = {}
        self._lock = threading.Lock()

    def __call__(self, run: Run, sae_id: str, latent: int, text: str) -> list[tuple[str, float]]:
        """Tokens and activations, behind BOS and cut to the corpus' window."""
        with self._lock:
            context = self._contexts.setdefault(run.uri, WorkerContext(run))
            return token_activations(context, sae_id, latent, text)


def token_activations(
    context: WorkerContext, sae_id: str, latent: int, text: str
) -> list[tuple[str, float]]:
    """The text's own tokens, each with the latent's activation there."""
    tokenizer, sae = context.tokenizer, context.sae(sae_id)
    prefix = [tokenizer.bos_id] if tokenizer.bos_id is not None else []
    ids = [*prefix, *encoded(context, text)][: context.run.config.corpus.window or 128]
    if len(ids) == len(prefix):
        return []
    place = context.subject.place(sae.read_point)
    seen = context.subject.residuals(torch.tensor([ids]), [place])[place]
    latents_L = torch.tensor([latent], device=seen.device)
    acts_T = sae.activations_of(seen, latents_L)[0, :, 0].float()
    own = slice(len(prefix), None)
    return list(zip(tokenizer.texts(ids[own]), acts_T[own].tolist(), strict=True))
