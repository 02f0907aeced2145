"""Everything that can be refused before heavy work: nothing is written, no model is loaded.

Completes the config with what the SAEs' own metadata says (context size, BOS, model arguments),
warns where the config differs from it, and returns what the manifest and the schedule need.
Each refusal is one UserError sentence.
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ray_autointerp.config import Config, LLMSection, SaeSection
from ray_autointerp.errors import ConfigError, CorpusError
from ray_autointerp.llm.open import check_llm
from ray_autointerp.models.hook_point import height
from ray_autointerp.models.jacobian_lens import lens_digest, load_lens
from ray_autointerp.models.random_weights import random_seed, require_top_k
from ray_autointerp.models.sae_card import SaeCard, points
from ray_autointerp.models.subject_card import (
    SubjectCard,
    describe,
    subject_digest,
)
from ray_autointerp.passes.documents import read_documents
from ray_autointerp.plan.answer_kinds import answer_kinds
from ray_autointerp.plan.estimate import expected_selection
from ray_autointerp.plan.identity import Inputs
from ray_autointerp.plan.shards import Axes, LatentRange, num_shards, shard_size
from ray_autointerp.preflight.earlier_sae import checked_match
from ray_autointerp.preflight.section_card import section_card
from ray_autointerp.preflight.worker_memory import check_weights, fitting_micro_batch
from ray_autointerp.prompts.text import text_digests
from ray_autointerp.records.keys import files_digest
from ray_autointerp.storage.probe import require_conditional_put
from ray_autointerp.storage.store import open_store

_log = logging.getLogger(__name__)

_DEFAULT_WINDOW = 128
"""Tokens per window where neither the config nor the SAE's metadata says."""


@dataclass(frozen=True)
class Checked:
    """A config that can be run, completed, with the digests of what it names."""

    config: Config
    axes: Axes
    inputs: Inputs
    subject: SubjectCard
    saes: tuple[SaeCard, ...]
    layer: int
    """Layers below the first SAE's hook point, for the budget."""
    micro_batch: int
    """Windows in one pass that fit into memory, for a run whose config leaves it open."""


def check(config: Config, *, fetch_saes: bool = True) -> Checked:
    """Refuse what cannot work, complete what was left open. Raises UserError.

    Without `fetch_saes`, SAEs of a registry are known by their configuration alone: gigabytes of
    weights stay on the hub, and that they are finite is not checked.
    """
    if series := next((sae.id for sae in config.sae if sae.checkpoints), None):
        raise ConfigError(
            f"SAE {series} names `checkpoints`: `ray-autointerp relabel` labels them, or give "
            "`path` for one of them."
        )
    config = _with_points_of_random(config)
    section = config.subject
    subject = describe(section.model, revision=section.revision, device=section.device)
    saes = _checked_saes(config, subject, fetch_saes)
    config = _completed(config, subject, saes)
    config, earlier_saes = checked_match(config, subject)
    _check_corpus(config)
    operations = config.operations
    check_llm(config.llm, gpus=operations.llm_gpus, kinds=answer_kinds(config, "llm"))
    if config.judge:
        kinds = answer_kinds(config, "judge")
        check_llm(config.judge, gpus=operations.judge_gpus, name="judge", kinds=kinds)
    _check_windows(config)
    check_weights(config, subject)
    axes = _axes(config, saes, subject)
    store = open_store(config.run.root)
    inputs = Inputs(
        subject=subject_digest(section.model, revision=section.revision),
        tokenizer=subject.tokenizer_digest,
        corpus=_corpus_digest(config),
        saes={
            sae.id: _digest(sae, card, config.run.seed)
            for sae, card in zip(config.sae, saes, strict=True)
        },
        llm=_llm_name(config.llm),
        judge=_llm_name(config.judge) if config.judge else None,
        prompts=text_digests(),
        earlier_saes=earlier_saes,
        lens=_checked_lens(config, subject, axes.all_write_points()),
    )
    hook_point = config.sae[0].hook_point
    assert hook_point is not None
    site = subject.blocks.write_site(hook_point)
    layer = site - 1 if isinstance(site, int) else site.layer
    require_conditional_put(store)  # last, as it is the one check that writes
    fits = fitting_micro_batch(config, subject, saes)
    return Checked(config, axes, inputs, subject, tuple(saes), layer, fits)


def _checked_lens(config: Config, subject: SubjectCard, hook_points: Sequence[str]) -> str | None:
    """The digest of the Jacobian lens that the config names, if it does."""
    if not config.evidence.has_lens:
        return None
    lens = load_lens(config.evidence.jacobian)
    for point in hook_points:
        lens.require_fits(subject, point)
    return lens_digest(config.evidence.jacobian)


def _with_points_of_random(config: Config) -> Config:
    """A random SAE reads and writes where the SAE does that it is like, unless it is moved."""
    places = ("hook_point", "read_point")
    saes = tuple(
        sae.model_copy(
            update={p: getattr(sae, p) or getattr(config.source_of(sae), p) for p in places}
        )
        for sae in config.sae
    )
    return config.model_copy(update={"sae": saes})


def _checked_saes(config: Config, subject: SubjectCard, fetch: bool) -> list[SaeCard]:
    """The card of each SAE; of a random one, that of the SAE it is like, read once."""
    cards = {
        sae.id: section_card(sae, fetch=fetch) for sae in config.sae if sae.random_like is None
    }
    for sae in config.sae:
        card = cards[config.source_of(sae).id]
        if sae.random_like is not None:
            require_top_k(card.source, card.architecture)
        _check_sae(sae, card, subject)
        _check_reading(sae, card, config, subject)
    return [cards[config.source_of(sae).id] for sae in config.sae]


def _check_sae(section: SaeSection, card: SaeCard, subject: SubjectCard) -> None:
    hook_point, read_point = points(card, section.hook_point, section.read_point)
    if hook_point is None or read_point is None:
        raise ConfigError(
            f"The metadata of SAE {section.id} names no hook point: set hook_point in its [[sae]]."
        )
    _check_order(subject, section.id, hook_point, read_point)
    card.require_fits(subject, hook_point, read_point)
    card.require_norm(subject.family.norm_kind)
    if card.hook_point not in (None, hook_point):
        _log.warning(
            "SAE %s was trained at %s; the config says %s.", section.id, card.hook_point, hook_point
        )


def _check_reading(
    section: SaeSection, card: SaeCard, config: Config, subject: SubjectCard
) -> None:
    """What is read must be comparable with embeddings."""
    if card.d_in != subject.d_model and not config.evidence.input_windows:
        raise ConfigError(
            f"evidence.input_windows is 0, and SAE {section.id} reads vectors of {card.d_in}, "
            f"which cannot be compared with embeddings of {subject.d_model}: set it to 1 or more."
        )


def _check_order(subject: SubjectCard, sae: str, hook_point: str, read_point: str) -> None:
    """A latent's activation must not depend on what it writes."""
    site, place = subject.blocks.write_site(hook_point), subject.blocks.read_place(read_point)
    if height(place) > height(site):
        raise ConfigError(
            f"SAE {sae} reads at {read_point}, above {hook_point} where it writes: set read_point "
            "to a place below."
        )


def _digest(section: SaeSection, card: SaeCard, run_seed: int) -> str:
    """Of the SAE's files, of the seed of random weights, and of where the config moved it to."""
    places = (section.hook_point, section.read_point)
    moved = "" if places == (card.hook_point, card.read_point) else f"@{places}"
    drawn = f"~{random_seed(run_seed, section.id):x}" if section.random_like else ""
    return f"{card.digest}{drawn}{moved}"


def _completed(config: Config, subject: SubjectCard, saes: Sequence[SaeCard]) -> Config:
    corpus, first = config.corpus, saes[0]
    window = corpus.window or first.context_size or _DEFAULT_WINDOW
    if window > subject.context_length:
        raise ConfigError(
            f"corpus.window is {window}, the subject's context is {subject.context_length}: "
            "set a smaller window."
        )
    prepend_bos = corpus.prepend_bos
    if prepend_bos is None:
        prepend_bos = first.prepend_bos if first.prepend_bos is not None else True
    excluded = corpus.exclude_special_tokens
    if excluded is None:
        excluded = True if first.exclude_special_tokens is None else first.exclude_special_tokens
    for section, card in zip(config.sae, saes, strict=True):
        for name, used, trained in (
            ("window", window, card.context_size),
            ("prepend_bos", prepend_bos, card.prepend_bos),
            ("exclude_special_tokens", excluded, card.exclude_special_tokens),
        ):
            if trained is not None and used != trained:
                _log.warning(
                    "SAE %s was trained with %s = %s; this run uses %s.",
                    section.id,
                    name,
                    trained,
                    used,
                )
    kwargs = {**first.model_kwargs, **config.subject.model_kwargs}
    for name in sorted(set(first.model_kwargs) & set(config.subject.model_kwargs)):
        if first.model_kwargs[name] != config.subject.model_kwargs[name]:
            _log.warning(
                "The SAE was trained with the model argument %s = %r; the config says %r.",
                name,
                first.model_kwargs[name],
                config.subject.model_kwargs[name],
            )
    sections = []
    for section, card in zip(config.sae, saes, strict=True):
        write, read = points(card, section.hook_point, section.read_point)
        sections.append(section.model_copy(update={"hook_point": write, "read_point": read}))
    return config.model_copy(
        update={
            "corpus": corpus.model_copy(
                update={
                    "window": window,
                    "prepend_bos": prepend_bos,
                    "exclude_special_tokens": excluded,
                }
            ),
            "subject": config.subject.model_copy(update={"model_kwargs": kwargs}),
            "sae": tuple(sections),
        }
    )


def _check_corpus(config: Config) -> None:
    documents = list(itertools.islice(read_documents(config.corpus), 100))
    if not any(d.text or d.token_ids or d.messages for d in documents):
        source = config.corpus.path or config.corpus.dataset
        raise CorpusError(f"The corpus {source} holds no text in its first 100 documents.")


def _check_windows(config: Config) -> None:
    if config.evidence.change_window_tokens > (config.corpus.window or 0):
        raise ConfigError(
            f"evidence.change_window_tokens is {config.evidence.change_window_tokens}, longer "
            f"than the corpus's windows of {config.corpus.window}."
        )


def _axes(config: Config, saes: Sequence[SaeCard], subject: SubjectCard) -> Axes:
    corpus, operations = config.corpus, config.operations
    ranges = {}
    for section, card in zip(config.sae, saes, strict=True):
        start, stop = (int(end) for end in (section.latents or f"0:{card.d_sae}").split(":"))
        if not 0 <= start < stop <= card.d_sae:
            raise ConfigError(
                f"SAE {section.id} has latents 0:{card.d_sae}; `{section.latents}` is not in them."
            )
        for latent in config.select.latents:
            if not start <= latent < stop:
                raise ConfigError(
                    f"select.latents has {latent}, outside {start}:{stop} of SAE {section.id}."
                )
        ranges[section.id] = LatentRange(start, stop)
    widest = max(map(len, ranges.values()))
    return Axes(
        num_token_shards=num_shards(
            corpus.num_tokens, shard_size(corpus.tokens_per_shard, corpus.num_tokens)
        ),
        latents=ranges,
        latents_per_shard=shard_size(operations.latents_per_shard, widest),
        selected_per_shard=shard_size(
            operations.selected_per_shard, expected_selection(config, widest).num_chosen
        ),
        hook_points={s.id: s.hook_point or "" for s in config.sae},
        d_model=subject.d_model,
        directions_per_shard=operations.directions_per_shard,
        read_points={s.id: s.read_point or "" for s in config.sae},
        later_hook_points={
            section.id: card.later_points
            for section, card in zip(config.sae, saes, strict=True)
            if card.later_points
        },
    )


def _llm_name(section: LLMSection) -> str:
    """A local model by its folder's name: where it lies decides nothing."""
    return Path(section.model).name if Path(section.model).is_dir() else section.model


def _corpus_digest(config: Config) -> str:
    """Of a local corpus its bytes; of a hub dataset its name."""
    if config.corpus.path is None:
        return f"{config.corpus.dataset}:{config.corpus.dataset_config}"
    path = Path(config.corpus.path)
    files = sorted(path.rglob("*.txt")) if path.is_dir() else [path]
    return files_digest(files)
