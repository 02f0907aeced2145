"""The card of an SAE that a config names: what its files say of it."""

from ray_autointerp.config import SaeSection
from ray_autointerp.models.cross_layer import not_needed
from ray_autointerp.models.sae_card import SaeCard
from ray_autointerp.models.sae_source import check_card
from ray_autointerp.storage.local_copy import local_folder


def section_card(section: SaeSection, *, fetch: bool = True) -> SaeCard:
    """As check_card, of a section with a path or a release; a bucket is copied first. Raises
    SaeError, StoreError.
    """
    return check_card(
        local_folder(section.path, not_needed(section.layer)) if section.path else None,
        release=section.release,
        sae_id=section.sae_id,
        layer=section.layer,
        fetch=fetch,
    )
