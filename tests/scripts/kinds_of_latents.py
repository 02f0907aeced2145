"""A second planted dictionary, whose latents are of the kinds that real ones are of.

The subject and its corpus are `write_planted`'s; the SAE is another. Of each latent the words it
fires on in the corpus and the family of words it promotes are known.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ray_autointerp.models.planted import PlantedTruth, write_planted

NUM_WORDS = 20
FAMILY = 60
"""Words in a promoted family: more than evidence shows, so that some are left to ask about."""
_ABSENT = 2
"""Trigger words, the last ones, that the corpus lacks."""


@dataclass(frozen=True)
class Planted:
    """A latent of this dictionary."""

    kind: str
    triggers: tuple[str, ...] = ()
    """What it fires on in the corpus; of a dense one nothing that can be listed."""
    effect: str | None = None
    """The first of the family that it promotes."""


def write_kinds(folder: Path) -> tuple[PlantedTruth, list[Planted]]:
    """The planted folder with this SAE in it, and its latents in their order."""
    truth = write_planted(folder, num_latents=NUM_WORDS, num_dead=_ABSENT, family=FAMILY)
    width = load_file(folder / "sae" / "sae_weights.safetensors")["W_enc"].shape[0]
    rows: list[tuple[Planted, torch.Tensor, torch.Tensor]] = []

    def reads(*words: int) -> torch.Tensor:
        """An encoder column that has activation 2 on each of these words."""
        return torch.nn.functional.one_hot(torch.tensor(words), width).sum(0).float()

    def promotes(word: int) -> torch.Tensor:
        return reads(NUM_WORDS + word)

    def add(
        kind: str,
        encoder_D: torch.Tensor,
        decoder_D: torch.Tensor,
        words: tuple[int, ...] = (),
        effect: int | None = None,
    ) -> None:
        fires_on = tuple(truth.triggers[word] for word in words)
        said = None if effect is None else truth.effects[effect]
        rows.append((Planted(kind, fires_on, said), encoder_D, decoder_D))

    nothing = torch.zeros(width)
    for word in range(8):
        add("ordinary", reads(word), promotes(word), (word,), word)
    for first, second in ((8, 11), (9, 12), (10, 13)):
        add("polysemantic", reads(first, second), promotes(first), (first, second), first)
    for word in (14, 15):
        add("input_only_tiny", reads(word), 1e-4 * promotes(word), (word,))
    for word in (16, 17):  # what the embedding writes for an absent word, nothing reads
        add("input_only_unread", reads(word), reads(word), (word,))
    for seed, (word, size) in enumerate(((11, 4.0), (12, 2.5))):
        direction_D = nothing.clone()
        free = torch.randn(width - 2 * NUM_WORDS, generator=torch.Generator().manual_seed(seed))
        direction_D[2 * NUM_WORDS :] = size * torch.nn.functional.normalize(free, dim=0)
        add("dense", direction_D, promotes(word), effect=word)
    for word in (18, 19):
        add("output_only", reads(word), promotes(word), effect=word)
    add("dead", nothing, nothing)

    latents, encoders, decoders = zip(*rows, strict=True)
    weights = {
        "W_enc": torch.stack(encoders, 1),
        "b_enc": torch.full((len(latents),), -1.0),
        "W_dec": torch.stack(decoders),
        "b_dec": nothing,
    }
    save_file(
        {k: v.contiguous() for k, v in weights.items()}, folder / "sae/sae_weights.safetensors"
    )
    config = folder / "sae/cfg.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"d_sae": len(latents)}))
    return truth, list(latents)
