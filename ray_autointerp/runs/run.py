"""A run as its workers see it: the completed config, the axes, and where its folder is.

Small and picklable: the driver ships it to every worker. Made by manifest.py.
"""

from dataclasses import dataclass, field

from ray_autointerp.config import Config, SaeSection
from ray_autointerp.plan.shards import Axes
from ray_autointerp.records.schemas import SCHEMA_VERSION


@dataclass(frozen=True)
class Run:
    """One labelling of one or more SAEs."""

    config: Config
    """Completed: what the SAEs' metadata said stands where the file said nothing."""
    axes: Axes
    uri: str
    """The run's own folder, local or `s3://`."""
    identity: dict[str, str] = field(default_factory=dict)
    """A digest per step, stamped into every file the step writes."""

    @property
    def saes(self) -> tuple[str, ...]:
        """The SAE ids in the config's order."""
        return tuple(self.axes.latents)

    def section(self, sae: str) -> SaeSection:
        """The config's table for one SAE."""
        return next(section for section in self.config.sae if section.id == sae)

    def stamp(self, step: str, sae: str | None) -> dict[str, str]:
        """The metadata of every file a step writes: provenance without clock or host."""
        stamp = {
            "run": self.config.run.name,
            "step": step,
            "identity": self.identity.get(step, ""),
            "schema_version": str(SCHEMA_VERSION),
        }
        return stamp | ({"sae": sae} if sae is not None else {})
