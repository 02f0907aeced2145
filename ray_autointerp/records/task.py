"""A task: one shard of one step in one scope. It is done when all its objects exist."""

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Task:
    """Identity of a unit of work; equal tasks write equal object names."""

    step: str
    sae: str | None
    """The SAE's id; None where the step runs for the corpus, a hook point or all SAEs together."""
    method: str | None
    """The description method, map or mode, for steps that run once for each."""
    shard: int
    num_shards: int
    hook_point: str | None = None
    """The hook point, where the step runs once for every SAE that writes there, or reads there."""

    @property
    def name(self) -> str:
        """What people read in the progress display, errors and the ledger."""
        owner = self.sae or self.hook_point
        parts = [self.step, owner, self.method, f"{self.shard + 1} of {self.num_shards}"]
        return " · ".join(part for part in parts if part)
