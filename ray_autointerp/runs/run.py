"""A run as its workers see it: the completed config, the axes, and where its folder is.

Small and picklable: the driver ships it to every worker. Made by manifest.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ray_autointerp.config import Config, SaeSection
from ray_autointerp.plan.identity import Node
from ray_autointerp.plan.shards import Axes
from ray_autointerp.records.schemas import SCHEMA_VERSION


@dataclass(frozen=True)
class Run:
    """One labelling of one or more SAEs."""

    config: Config
    """Completed: values of the SAEs' metadata stand where the file gives none."""
    axes: Axes
    uri: str
    """The run's own folder, local or `s3://`."""
    identity: dict[str, str] = field(default_factory=dict)
    """A digest for each step, owner and variant, stamped into every file that it writes."""
    inherits: Mapping[str, str] = field(default_factory=dict)
    """By name of a node (plan/identity.py), the folder under the same root that has its tables."""
    answered_by: Mapping[str, str] = field(default_factory=dict)
    """By name of a node, the folder whose LLM answers are looked up before anything is asked."""

    @property
    def saes(self) -> tuple[str, ...]:
        """The SAE ids in the config's order."""
        return tuple(self.axes.latents)

    @property
    def steps(self) -> frozenset[str]:
        """The steps that it was begun with: those of the flow, or fewer of an older version's."""
        return frozenset(name.partition("/")[0] for name in self.identity)

    @property
    def folder(self) -> str:
        """The name of the run's folder under its root."""
        return self.uri.rstrip("/").rpartition("/")[2]

    def sibling(self, folder: str) -> str:
        """Another run under the same root."""
        return f"{self.uri.rstrip('/').rpartition('/')[0] or '.'}/{folder}"

    def section(self, sae: str) -> SaeSection:
        """The config's table for one SAE."""
        return next(section for section in self.config.sae if section.id == sae)

    def stamp(self, step: str, owner: str | None, method: str | None = None) -> dict[str, str]:
        """The metadata of every file a step writes: provenance without clock or host.

        `owner` is an SAE, a hook point, or None for the corpus.
        """
        stamp = {
            "run": self.config.run.name,
            "step": step,
            "identity": self.identity.get(Node(step, owner, method).name, ""),
            "schema_version": str(SCHEMA_VERSION),
        }
        return stamp | ({"sae": owner} if owner in self.saes else {})
