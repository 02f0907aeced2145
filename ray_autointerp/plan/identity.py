"""What decides a run's results: per step, the config fields and inputs that its tables depend on.

A run on the store refuses to continue only where one of these differs, and names step and field
(architecture, section 5). Everything else (pools, time-outs, roots) is operations and free.
Methods may be added until labels exist: they are growth, not identity.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from ray_autointerp.config import Config
from ray_autointerp.plan.shards import Axes
from ray_autointerp.records.flow import FLOW

_SUBJECT = ("run.seed", "subject.dtype", "operations.micro_batch", "input.subject", "input.saes")
_LLM = ("run.seed", "llm.backend", "input.llm", "llm.script", "llm.dtype", "llm.max_model_len")
_JUDGE = tuple(field.replace("llm", "judge") for field in _LLM)
"""`judge.*` is the explainer's where the config names no judge of its own."""

_FIELDS: dict[str, tuple[str, ...]] = {
    "corpus": ("corpus", "input.corpus", "input.tokenizer", "axes.num_token_shards"),
    "overlap": (),
    "max_act": (
        *_SUBJECT,
        "evidence.num_top_examples",
        "evidence.num_stratified",
        "evidence.sample_windows",
        "axes.latents",
        "axes.latents_per_shard",
    ),
    "top_examples": ("evidence.excerpt_tokens", "evidence.num_near_misses"),
    "neighbours": ("input.saes", "evidence.num_neighbours"),
    "jacobian": (
        *_SUBJECT,
        "evidence.jacobian_windows",
        "evidence.change_window_tokens",
        "axes.hook_points",
        "axes.directions_per_shard",
    ),
    "hub_stats": ("input.subject", "input.saes"),
    "jacobian_proj": ("evidence.num_changed_tokens", "axes.latents", "axes.latents_per_shard"),
    "agreement": (*_SUBJECT, "evidence.agreement_windows", "evidence.change_windows"),
    "vocab_proj": (
        "evidence.num_vocab_tokens",
        "evidence.vocab_rank_by",
        "evidence.num_read_tokens",
    ),
    "keywords": (),
    "free_scores": _SUBJECT,
    "select": ("run.seed", "select"),
    "calibrate": (*_SUBJECT, "steering.kl_targets", "steering.num_prompts", "axes.selected"),
    "token_change": (
        *_SUBJECT,
        "evidence.num_changed_tokens",
        "evidence.change_windows",
        "evidence.change_window_tokens",
        "evidence.change_clamp",
        "evidence.change_clamp_size",
        "evidence.change_estimator",
        "evidence.change_examples",
    ),
    "explain": (
        *_LLM,
        "llm.temperature",
        "describe.cap_words",
        "describe.num_examples",
        "describe.num_tokens_shown",
        "input.prompts",
    ),
    "write_sentences": (*_LLM, "score.num_sentences", "score.num_draws", "input.prompts"),
    "input_score": _SUBJECT,
    "steering": (*_SUBJECT, "steering", "score.num_units"),
    "output_score": (*_JUDGE, "score.num_units", "steering", "input.prompts"),
    "publish": (),
}
"""Dotted names: of config fields or whole sections, of `axes`, and of `input` digests."""


@dataclass(frozen=True)
class Inputs:
    """Content digests of what a run is made from (hex, or a hub name with its revision)."""

    subject: str
    tokenizer: str
    corpus: str
    saes: Mapping[str, str]
    """By SAE id."""
    llm: str
    """The explainer's name, without the folder it lies in."""
    prompts: str
    """Of all prompt texts together."""
    judge: str | None = None
    """The judge's name, where it is another model."""


def identity(config: Config, axes: Axes, inputs: Inputs) -> dict[str, dict[str, object]]:
    """Per step, the value of every field that decides its tables, and the step's revision."""
    known: dict[str, object] = {
        **_flat("", config.model_dump(mode="json")),
        **_flat("judge", config.judging.model_dump(mode="json")),
        "axes.num_token_shards": axes.num_token_shards,
        "axes.latents": {sae: [r.start, r.stop] for sae, r in axes.latents.items()},
        "axes.latents_per_shard": axes.latents_per_shard,
        "axes.selected": axes.selected_per_shard,
        "axes.hook_points": dict(axes.hook_points),
        "axes.directions_per_shard": axes.directions_per_shard,
        "input.subject": inputs.subject,
        "input.tokenizer": inputs.tokenizer,
        "input.corpus": inputs.corpus,
        "input.saes": dict(inputs.saes),
        "input.llm": inputs.llm,
        "input.judge": inputs.judge or inputs.llm,
        "input.prompts": inputs.prompts,
    }
    for place in ("corpus.path", "corpus.tokens_per_shard"):
        # The corpus is known by its content and the number of shards, not by where it lies.
        known.pop(place)
    return {
        step.name: {
            "revision": step.revision,
            **{
                name: value
                for field in _FIELDS[step.name]
                for name, value in known.items()
                if name == field or name.startswith(f"{field}.")
            },
        }
        for step in FLOW
    }


def first_difference(
    old: Mapping[str, Mapping[str, object]], new: Mapping[str, Mapping[str, object]]
) -> str | None:
    """One sentence that names the first step and field in which two identities differ."""
    for step in FLOW:
        before, now = old.get(step.name, {}), new.get(step.name, {})
        for field in sorted({*before, *now}):
            if before.get(field) != now.get(field):
                return (
                    f"step `{step.name}` was made with {field} = "
                    f"{_short(before.get(field))}, and the config now says "
                    f"{_short(now.get(field))}"
                )
    return None


def digest(value: object) -> str:
    """A short content digest of anything JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _flat(prefix: str, value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, object] = {}
    for name, part in value.items():
        flat |= _flat(f"{prefix}.{name}" if prefix else name, part)
    return flat


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
