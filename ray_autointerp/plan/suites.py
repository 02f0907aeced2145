"""Suites: one [[sae]] table that names many SAEs of a release by a pattern, made one table each.

Pure: the registry is passed in (models/sae_registry.py reads SAELens').
"""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from ray_autointerp.config import SuiteSection
from ray_autointerp.errors import ConfigError

_NUM_CLOSE = 3
"""Names shown of those that may have been meant."""


@dataclass(frozen=True)
class Release:
    """SAEs that were published together."""

    subject: str
    """The model they were trained on, by the registry's name."""
    sae_ids: tuple[str, ...]
    repository: str = ""
    """On the hub, from which the SAEs are fetched."""
    l0: Mapping[str, float] = field(default_factory=dict)
    """Latents active at a token, on average, by SAE where that is known."""


def expand(
    sections: Sequence[SuiteSection | Mapping[str, Any]], releases: Mapping[str, Release]
) -> list[Mapping[str, Any]]:
    """The [[sae]] tables in their order, each suite replaced by one table per SAE.

    SAEs come in the order of the numbers in their names: layer 2 before layer 10. Raises
    ConfigError where a suite matches nothing, two have different subjects, or ids are not unique.
    """
    tables: list[Mapping[str, Any]] = []
    subjects: dict[str, str] = {}
    for section in sections:
        if not isinstance(section, SuiteSection):
            tables.append(section)
            continue
        release = _release(section.release, releases)
        subjects.setdefault(release.subject, section.release)
        tables += [_table(section, sae_id) for sae_id in _matches(section, release)]
    if len(subjects) > 1:
        raise ConfigError(
            "the SAEs of a run have one subject, and "
            + " and ".join(f"{name} is of {subject}" for subject, name in subjects.items())
            + ": give each its own config."
        )
    _require_unique(tables)
    return tables


def _release(name: str, releases: Mapping[str, Release]) -> Release:
    if name not in releases:
        of_repository = [other for other, one in releases.items() if one.repository == name]
        advice = _close(name, releases)
        if of_repository:
            advice = f"the releases of that repository are {', '.join(of_repository)}"
        raise ConfigError(f"SAELens' registry has no release `{name}`; {advice}.")
    return releases[name]


def _matches(section: SuiteSection, release: Release) -> list[str]:
    found = [sae_id for sae_id in release.sae_ids if fnmatchcase(sae_id, section.sae_ids)]
    if not found:
        raise ConfigError(
            f"sae_ids `{section.sae_ids}` matches none of the {len(release.sae_ids)} SAEs of "
            f"{section.release}; {_close(section.sae_ids, release.sae_ids)}."
        )
    return sorted(found, key=_by_numbers)


def _table(section: SuiteSection, sae_id: str) -> dict[str, Any]:
    prefix = f"{section.id}-" if section.id else ""
    return {
        "id": prefix + sae_id.replace("/", "-"),
        "release": section.release,
        "sae_id": sae_id,
        "latents": section.latents,
    }


def _require_unique(tables: Sequence[Mapping[str, Any]]) -> None:
    seen: dict[str, Mapping[str, Any]] = {}
    for table in tables:
        if "id" not in table:
            continue  # the config's own check says what such a table lacks
        other = seen.setdefault(table["id"], table)
        if other is table:
            continue
        source, others = (f"{one.get('release')}/{one.get('sae_id')}" for one in (table, other))
        if source == others:
            raise ConfigError(f"{source} is named twice in [[sae]].")
        raise ConfigError(
            f"two SAEs have the id `{table['id']}`: give each [[sae]] with `sae_ids` an `id`, with "
            "which those of its SAEs begin."
        )


def _close(name: str, names: Collection[str]) -> str:
    """Those that may have been meant, else the first few."""
    close = difflib.get_close_matches(name, names, n=_NUM_CLOSE, cutoff=0.4)
    shown = ", ".join(f"`{one}`" for one in close or list(names)[:_NUM_CLOSE])
    return f"{'close are' if close else 'it has'} {shown}"


def _by_numbers(name: str) -> list[int]:
    """A key that sorts by the numbers in a name; of equal ones the registry's order stays."""
    return [int(digits) for digits in re.findall(r"\d+", name)]
