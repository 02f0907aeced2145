"""Whether the latents of a run can be matched with those of its parent's SAE."""

import logging
from collections.abc import Mapping

from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError, SaeError, StoreError
from ray_autointerp.plan.identity import Node, digest
from ray_autointerp.preflight.section_card import section_card
from ray_autointerp.runs.manifest import load_run, uri_under_root
from ray_autointerp.runs.progress import has_labels
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import open_store

_log = logging.getLogger(__name__)

_READ = ("max_act", "jacobian_proj")
"""Steps of the parent whose tables are read."""


def checked_match(config: Config, d_model: int) -> tuple[Config, Mapping[str, str] | None]:
    """The config, and a digest of the earlier SAE and its tables by SAE id; None where nothing is
    matched. Where the earlier weights are gone, as those of old checkpoints are, the config comes
    back without `[match]`, and a warning says so.

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
            weights = _digest(parent, earlier, d_model)
        except (SaeError, StoreError) as error:
            _log.warning("Latents are not matched with those of %s: %s", parent.uri, error)
            return config.model_copy(update={"match": None}), None
        tables = [parent.identity[Node(step, earlier, None).name] for step in _READ]
        digests[sae.id] = digest([weights, *tables])
    return config, digests


def _digest(parent: Run, sae: str, d_model: int) -> str:
    section = parent.section(sae)
    source = parent.config.source_of(section)
    card = section_card(source, parent.config.subject.dtype)
    assert section.hook_point is not None, "a manifest names it"
    card.require_fits(d_model, section.hook_point)
    return card.digest
