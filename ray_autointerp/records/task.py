"""A task: one shard of one step in one scope. It is done when all its objects exist."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Task:
    """Identity of a unit of work; equal tasks write equal object names."""

    step: str
    sae: str | None
    """The SAE's id; None where the step runs once for the corpus or for all SAEs together."""
    method: str | None
    """The description method, for steps that run per method."""
    shard: int
    num_shards: int

    @property
    def name(self) -> str:
        """What people read in the progress display, errors and the ledger."""
        parts = [self.step, self.sae, self.method, f"{self.shard + 1} of {self.num_shards}"]
        return " · ".join(part for part in parts if part)
