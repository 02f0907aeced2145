"""Whether the latents of a run can be matched with those of its parent's SAE, and keep labels."""

import logging
from collections.abc import Mapping
from pathlib import Path

from ray_autointerp.config import Config, LLMSection
from ray_autointerp.errors import ConfigError, SaeError, StoreError
from ray_autointerp.models.subject_card import SubjectCard
from ray_autointerp.plan.identity import Node, digest, identity_fields
from ray_autointerp.preflight.section_card import section_card
from ray_autointerp.runs.manifest import load_run, uri_under_root
from ray_autointerp.runs.progress import has_labels
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import open_store

_log = logging.getLogger(__name__)

_READ = ("max_act", "jacobian_proj", "publish")
"""Steps of the parent whose tables are read."""


def checked_match(config: Config, subject: SubjectCard) -> tuple[Config, Mapping[str, str] | None]:
    """The config, and a digest of the earlier SAE and its tables by SAE id; None where nothing is
    matched. Where the earlier weights are gone, as those of old checkpoints are, the config comes
    back without `[match]`, and a warning says so; where labels are made otherwise than the
    parent's, without carry-over.

    Raises ConfigError where the parent has no such SAE or no labels yet, StoreError where there is
    no parent.
    """
    if not config.is_matched:
        return config, None
    assert config.run.parent is not None, "without one nothing is matched"
    parent = load_run(uri_under_root(config, config.run.parent))
    digests = {}
    for sae in config.sae:
        earlier = config.earlier_id(sae.id)
        if earlier not in parent.saes:
            raise ConfigError(
                f"[match]: the run {parent.uri} has no SAE `{earlier}`; set match.sae to one of "
                f"{', '.join(parent.saes)}."
            )
        if not has_labels(open_store(parent.uri), [earlier]):
            raise ConfigError(
                f"[match]: the run {parent.uri} has no labels of `{earlier}` yet: finish it first."
            )
        try:
            weights = _digest(parent, earlier, subject)
        except (SaeError, StoreError) as error:
            _log.warning("Latents are not matched with those of %s: %s", parent.uri, error)
            return config.model_copy(update={"match": None}), None
        tables = [parent.identity[Node(step, earlier, None).name] for step in _READ]
        digests[sae.id] = digest([weights, *tables])
    return _carried_where_alike(config, parent), digests


def _carried_where_alike(config: Config, parent: Run) -> Config:
    """Without carry-over, where the run makes and scores labels otherwise than its parent."""
    assert config.match is not None
    before = parent.config
    pairs = {
        "describe": (before.describe, config.describe),
        "score": (before.score, config.score),
        "llm": (_deciding(before.llm), _deciding(config.llm)),
        "judge": (_deciding(before.judging), _deciding(config.judging)),
    }
    other = next((name for name, (old, new) in pairs.items() if old != new), None)
    if other is None or not config.match.carry_over or config.match.carry_despite_changes:
        return config
    _log.warning(
        "No label is carried over from %s: [%s] differs, so every chosen latent is labelled anew.",
        parent.uri,
        other,
    )
    match = config.match.model_copy(update={"carry_over": False})
    return config.model_copy(update={"match": match})


def _deciding(section: LLMSection) -> dict[str, object]:
    """What decides an LLM's answers; of a local model the folder's name, wherever it lies."""
    return {**identity_fields(section, "llm"), "model": Path(section.model).name}


def _digest(parent: Run, sae: str, subject: SubjectCard) -> str:
    section = parent.section(sae)
    source = parent.config.source_of(section)
    card = section_card(source)
    assert section.hook_point and section.read_point, "a manifest names them"
    card.require_fits(subject, section.hook_point, section.read_point)
    return card.digest
