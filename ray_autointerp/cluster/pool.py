"""A pool of actors of one kind: who is free, who holds what, who died and is replaced.

A member gets tasks once it has started, so that an actor for which the cluster has no room yet
(or never) holds nothing up. How much a member may hold is counted in requests: `room` of them keep
an engine's batch full, and as much again waits behind them, so that it never drains.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray

from ray_autointerp.plan.suspects import Width
from ray_autointerp.records.task import Task

_CLOSE_S = 30
"""How long an actor may take to end its engine before it is killed; the engine's reaper does it
then."""


@dataclass(frozen=True)
class Size:
    """How many members a pool has and how much each may hold."""

    least: int
    most: int
    room: int = 1
    """Requests (of a pool without an LLM: tasks) that one member works on at once."""
    ahead: int = 1
    """Rooms full of work given to a member: a task counts whole until its last answer, so that one
    room alone would be half empty while tasks end."""
    idle_s: float = 60.0
    """A member beyond `least` that holds nothing for so long is let go."""


@dataclass(eq=False)
class _Member:
    actor: Any
    starting: Any
    """The reference that is answered when it has started; None from then on."""
    holds: dict[Task, int] = field(default_factory=dict)
    """Its tasks, and the requests of each."""
    saes: dict[str, None] = field(default_factory=dict)
    """SAEs it has worked on, most recent last."""
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def load(self) -> int:
        return sum(self.holds.values())


class Pool:
    """Actors made by `make`; `requests_of` says how much of a member's room a task takes."""

    def __init__(
        self, make: Callable[[], Any], size: Size, requests_of: Callable[[Task], int]
    ) -> None:
        self._make = make
        self._size = size
        self._requests_of = requests_of
        self._members: list[_Member] = []
        self._probe: _Member | None = None
        self._asked: dict[Any, tuple[_Member, Task]] = {}

    def open(self) -> None:
        """Begin to start the smallest number of members, unless they are there."""
        while len(self._members) < self._size.least:
            self._add()

    @property
    def starting(self) -> list[Any]:
        """References that are answered, well or not, when a member has started: see `started`."""
        return [m.starting for m in self._members if m.starting is not None]

    def started(self, reference: Any) -> None:
        """The member behind the reference has started, and may be given tasks."""
        self._starter(reference).starting = None

    def start_again(self, reference: Any) -> None:
        """The member behind the reference died while it started: another is made."""
        self._replace(self._starter(reference))

    def is_starting(self, reference: Any) -> bool:
        """Whether the reference is one of `starting`."""
        return any(m.starting == reference for m in self._members)

    @property
    def is_idle(self) -> bool:
        """Whether no member holds a task."""
        return not self._asked

    def has_room(self) -> bool:
        """Whether some member can take one more task."""
        return bool(self._free())

    def submit(self, task: Task) -> Any:
        """Give the task to the least busy member, one that held its SAE before if it can be.

        Returns the reference that will become the task's receipt.
        """
        member = min(self._free(), key=lambda m: (m.load, task.sae not in m.saes))
        return self._give(member, task, None)

    def probe_is_free(self) -> bool:
        """Whether a suspect can run now: one member is set apart for them, once it is idle."""
        if self._probe not in self._members:
            started = [m for m in self._members if m.starting is None]
            self._probe = min(started, key=lambda m: m.load, default=None)
        return self._probe is not None and not self._probe.holds

    def submit_to_probe(self, task: Task, width: Width) -> Any:
        """Run a suspect alone; `probe_is_free` must be true."""
        assert self._probe is not None
        return self._give(self._probe, task, width)

    def release_probe(self) -> None:
        """Nobody is under suspicion: the probe is a member like any other."""
        self._probe = None

    def settle(self, reference: Any) -> Task:
        """The reference was answered, well or not: its member has room again."""
        member, task = self._asked.pop(reference)
        member.holds.pop(task, None)
        member.idle_since = time.monotonic()
        return task

    def replace(self, reference: Any) -> None:
        """The actor behind the reference died: another takes its place, once."""
        member, _ = self._asked[reference]
        if member in self._members:
            self._replace(member)

    def resize(self, num_waiting: int) -> None:
        """Grow by one if tasks wait for room, shrink by one that has been idle for long."""
        now, size = time.monotonic(), self._size
        if num_waiting and not self._free() and not self.starting:
            if len(self._members) < size.most:
                self._add()
        elif not num_waiting and len(self._members) > size.least:
            for member in self._members:
                if not member.holds and now - member.idle_since > size.idle_s:
                    self._members.remove(member)
                    _end([member])
                    return

    def actors(self) -> list[Any]:
        """The handles of the members that have started."""
        return [member.actor for member in self._members if member.starting is None]

    def close(self) -> None:
        """End the members. Engines are closed first, so that no child process is left."""
        members, self._members = self._members, []
        _end(members)

    def _add(self) -> None:
        actor = self._make()
        self._members.append(_Member(actor, actor.warm.remote()))

    def _replace(self, member: _Member) -> None:
        self._members.remove(member)
        ray.kill(member.actor)
        self._add()

    def _starter(self, reference: Any) -> _Member:
        return next(m for m in self._members if m.starting == reference)

    def _free(self) -> list[_Member]:
        most = self._size.room * self._size.ahead
        return [
            member
            for member in self._members
            if member.starting is None and member.load < most and member is not self._probe
        ]

    def _give(self, member: _Member, task: Task, width: Width) -> Any:
        member.holds[task] = self._requests_of(task)
        if task.sae is not None:
            member.saes[task.sae] = None
        reference = member.actor.work.remote(task, width)
        self._asked[reference] = (member, task)
        return reference


def _end(members: list[_Member]) -> None:
    closing = [member.actor.close.remote() for member in members if member.starting is None]
    if closing:
        ray.wait(closing, num_returns=len(closing), timeout=_CLOSE_S)
    for member in members:
        ray.kill(member.actor)
