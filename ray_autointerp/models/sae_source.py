"""Where an SAE comes from: a folder, a layer of a cross-layer transcoder's folder, or SAELens'
registry.
"""

# L d_sae, S write points, Z width of what is written

from dataclasses import dataclass
from typing import Any

import httpx2
import torch
from sae_lens import SAE
from sae_lens.loading.pretrained_sae_loaders import load_sae_config_from_huggingface
from sae_lens.loading.pretrained_saes_directory import get_norm_scaling_factor
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.models.cross_layer import (
    CrossLayerCheckpoint,
    RegisteredLayer,
    is_cross_layer,
)
from ray_autointerp.models.finite_weights import require_finite
from ray_autointerp.models.sae_card import SaeCard, card_of_config
from ray_autointerp.models.sae_checkpoint import SaeCheckpoint
from ray_autointerp.models.sae_registry import releases


def check_card(
    path: str | None,
    *,
    release: str | None = None,
    sae_id: str | None = None,
    layer: int | None = None,
    fetch: bool = True,
) -> SaeCard:
    """Read an SAE's configuration, and refuse what cannot be clamped or is not finite.

    Of a folder's weights a chunk is in memory at a time. A registry name is resolved (and
    fetched) by SAELens; without `fetch` its configuration alone is. `layer` is that of a
    cross-layer transcoder's folder. Raises SaeError.
    """
    if path is None and not fetch:
        return _registry_card(release, sae_id, _registry_config(release, sae_id))
    checkpoint = _checkpoint(path, release, sae_id, layer)
    if checkpoint is None:
        return _from_registry(release, sae_id, "cpu", "float32").card
    card = _card_of(path, release, sae_id, checkpoint)
    checkpoint.require_finite()
    return card


@dataclass(frozen=True)
class LoadedWeights:
    """Weights of an SAE, and what its configuration says of it."""

    card: SaeCard
    sae: Any
    """SAELens' inference object."""
    decoders_LSZ: Tensor | None = None
    """Of a cross-layer transcoder, decoder rows at each write point, in the file's dtype."""


def load_weights(
    path: str | None,
    release: str | None,
    sae_id: str | None,
    layer: int | None,
    *,
    device: torch.device | str,
    dtype: str,
) -> LoadedWeights:
    """The weights that `check_card` of the same names has looked at. Raises SaeError, also where
    they are not finite: the files may differ from those that were checked when the run began.
    """
    checkpoint = _checkpoint(path, release, sae_id, layer)
    if checkpoint is None:
        return _from_registry(release, sae_id, device, dtype)
    card, decoders_LSZ = _card_of(path, release, sae_id, checkpoint), None
    if isinstance(checkpoint, CrossLayerCheckpoint):
        decoders_LSZ = checkpoint.decoders(device)
        sae = checkpoint.load(decoders_LSZ, dtype)
    else:
        sae = checkpoint.load(device, dtype)
    require_finite(card.source, sae.state_dict())
    return LoadedWeights(card, sae, decoders_LSZ)


_Checkpoint = SaeCheckpoint | CrossLayerCheckpoint

_LOAD_ERRORS = (OSError, ValueError, KeyError, httpx2.HTTPError)
"""Of SAELens and the hub's client, whose broken connections are no OSError."""


def _checkpoint(
    path: str | None, release: str | None, sae_id: str | None, layer: int | None
) -> _Checkpoint | None:
    """A folder, or what is fetched into one; None of a registry's SAE that SAELens reads."""
    if path is None:
        registered = RegisteredLayer.named(release, sae_id)
        try:
            return None if registered is None else registered.fetched()
        except (OSError, httpx2.HTTPError) as error:
            raise _not_loaded(release, sae_id, error) from error
    if is_cross_layer(path):
        return CrossLayerCheckpoint.read(path, layer)
    if layer is not None:
        raise SaeError(
            f"There is no cross-layer transcoder in {path}, and its [[sae]] sets layer = {layer}: "
            "leave `layer` out."
        )
    return SaeCheckpoint.read(path)


def _card_of(
    path: str | None, release: str | None, sae_id: str | None, checkpoint: _Checkpoint
) -> SaeCard:
    config = checkpoint.config
    if path is None:
        return _registry_card(release, sae_id, config)
    if isinstance(checkpoint, CrossLayerCheckpoint):
        return card_of_config(checkpoint.source, config, checkpoint.digest())
    if checkpoint.is_unscaled and checkpoint.scale is not None:
        config = {**config, "normalize_activations": "none"}  # folded when it is loaded
    return card_of_config(path, config, checkpoint.digest())


def _registry_card(release: str | None, sae_id: str | None, config: dict[str, Any]) -> SaeCard:
    """Its digest is its name; of a cross-layer transcoder with a mark, as tables that were made
    with its summed decoders are others.
    """
    source = f"{release}/{sae_id}"
    mark = "@decoders by layer" if config.get("is_cross_layer") else ""
    return card_of_config(source, _with_l0(config, release, sae_id), source + mark)


def _with_l0(config: dict[str, Any], release: str | None, sae_id: str | None) -> dict[str, Any]:
    """With the number of active latents that the registry gives, if it does."""
    known = releases().get(str(release))
    l0 = None if known is None else known.l0.get(str(sae_id))
    return config if l0 is None else {**config, "l0": l0}


def _registry_config(release: str | None, sae_id: str | None) -> dict[str, Any]:
    """The configuration that SAELens finds for a name, some in its package, the rest on the hub."""
    try:
        if (registered := RegisteredLayer.named(release, sae_id)) is not None:
            return registered.config()
        config: dict[str, Any] = load_sae_config_from_huggingface(str(release), str(sae_id))
    except _LOAD_ERRORS as error:
        raise _not_loaded(release, sae_id, error) from error
    if get_norm_scaling_factor(str(release), str(sae_id)) is not None:
        config = {**config, "normalize_activations": "none"}  # folded when it is loaded
    return config


def _not_loaded(release: str | None, sae_id: str | None, error: Exception) -> SaeError:
    same = [name for name, known in releases().items() if known.repository == release]
    advice = f"; the releases of that repository are {', '.join(same)}" if same else ""
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return SaeError(f"SAELens cannot load {release}/{sae_id}: {reason}{advice}")


def _from_registry(
    release: str | None, sae_id: str | None, device: torch.device | str, dtype: str
) -> LoadedWeights:
    try:
        sae = SAE.from_pretrained(str(release), str(sae_id), device=str(device), dtype=dtype)
    except _LOAD_ERRORS as error:
        raise _not_loaded(release, sae_id, error) from error
    card = _registry_card(release, sae_id, sae.cfg.to_dict())
    require_finite(card.source, sae.state_dict())
    return LoadedWeights(card, sae)
