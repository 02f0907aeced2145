"""SAELens' registry of pretrained SAEs: the YAML file inside its package, read without the network.

The file alone is read: to import SAELens takes seconds, and a config is read by every command.
"""

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from ray_autointerp.plan.suites import Release


@cache
def releases() -> Mapping[str, Release]:
    """Every release, by name."""
    spec = find_spec("sae_lens")
    assert spec is not None and spec.origin is not None, "sae-lens is installed with this package"
    # The loader in C reads this file, of 43,000 lines, in a second and not in ten.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with (Path(spec.origin).parent / "pretrained_saes.yaml").open(encoding="utf-8") as file:
        raw = yaml.load(file, Loader=loader)  # noqa: S506
    return {
        name: Release(
            release["model"],
            tuple(sae["id"] for sae in release["saes"]),
            release["repo_id"],
            {sae["id"]: float(sae["l0"]) for sae in release["saes"] if sae.get("l0")},
        )
        for name, release in raw.items()
    }
