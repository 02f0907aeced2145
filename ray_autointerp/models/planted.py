"""A planted subject and SAE: latent i fires exactly on token A(i) and promotes exactly token B(i),
or, where asked for, a family of tokens that begins with B(i).

Ground truth for tests and first runs: no download, no GPU, through the real loaders (a Hugging Face
directory that TransformerLens boots, an SAE in SAELens' format, a Parquet corpus, a TOML file).
The layers are real and do a little; the planted directions do the rest.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HOOK_POINT = "blocks.1.hook_resid_post"
NUM_LAYERS = 4
_SPECIALS = ("<unk>", "<s>", "</s>")
_ACTIVATION = 2.0
"""What a latent's activation is on its token: embedding 3 along the encoder, bias -1."""

_TRIGGERS = (
    "cat dog cow horse sheep duck bee wolf lion owl frog snake crow mouse whale tiger apple lemon "
    "onion bread cheese honey pepper sugar coffee butter river ocean desert forest island valley "
    "winter summer thunder snow rain fog hammer needle ladder barrel candle mirror anchor drum "
    "violin trumpet pirate doctor soldier farmer baker judge sailor teacher king monk"
).split()
_EFFECTS = (
    "meow bark moo neigh bleat quack buzz howl roar hoot croak hiss caw squeak spout stripe "
    "orchard sour tears loaf cheddar sweet sneeze cube espresso toast bridge tide dune "
    "timber beach hills "
    "frost sunshine lightning sled umbrella mist nail thread rung cask wick glass harbour rhythm "
    "bow fanfare treasure clinic barracks tractor oven verdict mast lesson throne abbey"
).split()
_FILLERS = (
    "the a and then we saw it was near some old new road house when people said that there were "
    "many small things to look at before evening came again over this quiet town with its slow "
    "days so they walked home talking about nothing much at all while lights went on one by one"
).split()
_PROMPT_WORDS = (
    "The explanation is simple : I think We It said that there what my in of this For example , "
    "My friend told me On other hand Let you know about Yesterday When he opened door"
).split()


@dataclass(frozen=True)
class PlantedTruth:
    """What was planted, by latent: the token it fires on, the one it promotes, if it is alive."""

    folder: Path
    config: Path
    triggers: tuple[str, ...]
    effects: tuple[str, ...]
    num_alive: int

    def is_alive(self, latent: int) -> bool:
        """Whether the corpus contains the latent's token; the last few never appear."""
        return latent < self.num_alive

    def can_fire(self, latent: int) -> bool:
        """Whether its token fires it: of several dead latents, the last has too low a bias."""
        return not _never_fires(latent, len(self.triggers), self.num_alive)


def _never_fires(latent: int, num_latents: int, num_alive: int) -> bool:
    return latent == num_latents - 1 > num_alive


def write_planted(
    folder: Path, *, num_latents: int = 56, num_dead: int = 4, family: int = 1
) -> PlantedTruth:
    """Write subject/, sae/, corpus.parquet and planted.toml into a folder, all from fixed seeds.

    Each latent promotes `family` words, "meow", "meow1", "meow2", ..., the first the most.
    """
    assert num_latents <= len(_TRIGGERS) == len(_EFFECTS), "not enough words"
    folder.mkdir(parents=True, exist_ok=True)
    triggers, effects = tuple(_TRIGGERS[:num_latents]), tuple(_EFFECTS[:num_latents])
    families = [[effect, *(f"{effect}{n}" for n in range(1, family))] for effect in effects]
    promoted = [word for words in families for word in words]
    words = list(dict.fromkeys([*_SPECIALS, *triggers, *promoted, *_FILLERS, *_PROMPT_WORDS]))
    ids = {word: i for i, word in enumerate(words)}
    _write_tokenizer(folder / "subject", ids)
    _write_subject(folder / "subject", ids, triggers, families)
    _write_sae(folder / "sae", num_latents, num_latents - num_dead)
    _write_corpus(folder / "corpus.parquet", triggers[: num_latents - num_dead])
    config = folder / "planted.toml"
    config.write_text(_TOML)
    return PlantedTruth(folder, config, triggers, effects, num_latents - num_dead)


def _d_model(num_latents: int) -> int:
    """A direction to read and one to write per latent, and a few for all other words."""
    return 2 * num_latents + _NUM_FREE


_FALL = 0.5
"""By how much less than the first the last of a family is promoted, about."""
_NUM_FREE = 32
"""Directions in which words that are no trigger live, and by which they are predicted."""


def _write_tokenizer(folder: Path, ids: dict[str, int]) -> None:
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    ).save_pretrained(folder)


def _write_subject(
    folder: Path, ids: dict[str, int], triggers: Sequence[str], families: Sequence[Sequence[str]]
) -> None:
    num_latents, generator = len(triggers), torch.Generator().manual_seed(0)
    width = _d_model(num_latents)
    config = LlamaConfig(
        vocab_size=len(ids),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=NUM_LAYERS,
        num_attention_heads=4,
        head_dim=width // 4,
        max_position_embeddings=256,
        tie_word_embeddings=False,
        bos_token_id=ids["<s>"],
        eos_token_id=ids["</s>"],
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    free = torch.randn(len(ids), _NUM_FREE, generator=generator)
    embed_VD, unembed_VD = torch.zeros(len(ids), width), torch.zeros(len(ids), width)
    embed_VD[:, 2 * num_latents :] = 3 * torch.nn.functional.normalize(free, dim=-1)
    predict = torch.randn(len(ids), _NUM_FREE, generator=generator)
    unembed_VD[:, 2 * num_latents :] = 0.5 * torch.nn.functional.normalize(predict, dim=-1)
    for latent, (trigger, effects) in enumerate(zip(triggers, families, strict=True)):
        embed_VD[ids[trigger], latent] = _ACTIVATION + 1
        for place, effect in enumerate(effects):
            unembed_VD[ids[effect], num_latents + latent] = 1 - _FALL * place / len(effects)
    unembed_VD[ids["</s>"]] = 0
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(0.01 * _noise(parameter, generator))
        model.model.embed_tokens.weight.copy_(embed_VD)
        model.lm_head.weight.copy_(unembed_VD)
    model.save_pretrained(folder)


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, generator=generator)


def _write_sae(folder: Path, num_latents: int, num_alive: int) -> None:
    width = _d_model(num_latents)
    folder.mkdir(exist_ok=True)
    encoder_DL, decoder_LD = torch.zeros(width, num_latents), torch.zeros(num_latents, width)
    index = torch.arange(num_latents)
    biases = [
        -100.0 if _never_fires(i, num_latents, num_alive) else -1.0 for i in range(num_latents)
    ]
    encoder_DL[index, index] = 1.0
    decoder_LD[index, num_latents + index] = 1.0
    save_file(
        {
            "W_enc": encoder_DL,
            "b_enc": torch.tensor(biases),
            "W_dec": decoder_LD,
            "b_dec": torch.zeros(width),
        },
        folder / "sae_weights.safetensors",
    )
    config = {
        "architecture": "standard",
        "d_in": width,
        "d_sae": num_latents,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": False,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "metadata": {
            "model_name": "planted",
            "hook_name": HOOK_POINT,
            "context_size": 32,
            "prepend_bos": True,
        },
    }
    (folder / "cfg.json").write_text(json.dumps(config))


def _write_corpus(path: Path, triggers: tuple[str, ...]) -> None:
    """Documents of filler words; each is given a few triggers, every trigger in many documents."""
    draw = random.Random(0)
    documents = []
    for number in range(240):
        words = draw.choices(_FILLERS, k=48)
        for place in draw.sample(range(2, 46), k=8):
            words[place] = draw.choice(triggers)
        words[5] = triggers[number % len(triggers)]
        documents.append({"document_id": f"d{number:03d}", "text": " ".join(words)})
    pq.write_table(pa.Table.from_pylist(documents), path)


_TOML = """\
# The planted run: latent i fires on its word and promotes its effect, and the labels say so.

[run]
name = "planted"

[subject]
model = "./subject"

[[sae]]
id = "planted"
path = "sae"

[corpus]
path = "corpus.parquet"
id_column = "document_id"
num_tokens = 20_000
tokens_per_shard = 5_000

[sae_fit]                      # its latents name words, and reconstruct nothing
warn_unexplained = 1e12
most_unexplained = 1e12

[evidence]
num_top_examples = 20
excerpt_tokens = 16
num_vocab_tokens = 10
num_changed_tokens = 10
change_windows = 8
change_window_tokens = 16
change_modes = ["all", "active", "last"]
jacobian_windows = 24
agreement_windows = 16

[select]
rule = "all"
num_dead = 0  # `all` takes the dead ones too
panel = 40
sample = 8
controls = 40

[describe]
methods = [
    "ensemble_raw", "max_act", "vocab_proj", "token_change", "ensemble_concat", "keywords",
]

[score]
methods = ["ensemble_raw", "max_act", "token_change", "keywords"]
num_sentences = 3
num_draws = 2
num_units = 12
num_choosing_units = 2
num_unseen_trials = 4
num_choosing_trials = 2
texts_per_set = 2
three_set_methods = ["ensemble_raw"]
detection_texts = 5
detection_near_misses = 0  # a latent fires wherever its word stands
fuzzing_texts = 5
texts_per_prompt = 4

[llm]
backend = "scripted"
script = "ray_autointerp.llm.scripted:planted_script"

[operations]
latents_per_shard = 20
selected_per_shard = 16
directions_per_shard = 64
micro_batch = 64
threads = 1
"""
