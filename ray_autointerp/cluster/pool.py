"""A pool of actors of one kind: who is free, who holds what, who died and is replaced."""

from dataclasses import dataclass, field
from typing import Any

import ray

from ray_autointerp.records.task import Task


@dataclass
class _Member:
    actor: Any
    holds: set[Task] = field(default_factory=set)
    saes: dict[str, None] = field(default_factory=dict)
    """SAEs it has worked on, most recent last."""


class Pool:
    """`size` actors made by `make`, each with at most `in_flight` tasks at once."""

    def __init__(self, actor_class: Any, size: int, in_flight: int, *arguments: Any) -> None:
        self._make = lambda: _Member(actor_class.remote(*arguments))
        self._in_flight = in_flight
        self._members = [self._make() for _ in range(size)]
        self._asked: dict[Any, tuple[_Member, Task]] = {}

    def has_room(self) -> bool:
        """Whether some actor can take one more task."""
        return any(len(member.holds) < self._in_flight for member in self._members)

    def submit(self, task: Task) -> Any:
        """Give the task to the least busy actor, one that held its SAE before if it can be.

        Returns the reference that will become the task's receipt.
        """
        free = [member for member in self._members if len(member.holds) < self._in_flight]
        member = min(free, key=lambda m: (len(m.holds), task.sae not in m.saes))
        member.holds.add(task)
        if task.sae is not None:
            member.saes[task.sae] = None
        reference = member.actor.work.remote(task)
        self._asked[reference] = (member, task)
        return reference

    def settle(self, reference: Any) -> Task:
        """The reference was answered, well or not: its actor has room again."""
        member, task = self._asked.pop(reference)
        member.holds.discard(task)
        return task

    def replace(self, reference: Any) -> None:
        """The actor behind the reference died: another takes its place, once."""
        member, _ = self._asked[reference]
        if member in self._members:
            self._members[self._members.index(member)] = self._make()

    def holds(self, reference: Any) -> bool:
        """Whether the reference was asked of this pool."""
        return reference in self._asked

    def actors(self) -> list[Any]:
        """The handles of the living members."""
        return [member.actor for member in self._members]

    def close(self) -> None:
        """End the actors; engines are told first, so that no child process is left."""
        for actor in self.actors():
            if hasattr(actor, "close"):
                ray.wait([actor.close.remote()], timeout=30)
            ray.kill(actor)
