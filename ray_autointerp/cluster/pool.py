"""A pool of actors of one kind: who is free, who holds what, who has its place, who is to go.

A member gets tasks once it has started, so that an actor for which the cluster has no room yet
(or never) holds nothing up. One that is to go gets no more, and ends with its last. How much a
member may hold is counted in requests: as many as keep an engine's batch full, and as many again
that wait behind them, so that it never drains.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import ray

from ray_autointerp.plan.suspects import Width
from ray_autointerp.records.task import Task
from ray_autointerp.runs.loaded_models import SAES_HELD

CLOSE_S = 30.0
"""How long an actor may take to end its engine before it is killed; the engine's reaper does it
then."""


_USUAL_START_S = 60.0
"""What starting a member is held to take until one has started."""


@dataclass(frozen=True)
class Room:
    """How much each member of a pool may hold."""

    requests: int = 1
    """Or tasks, of a pool without an LLM: what one member works on at once."""
    ahead: int = 1
    """Rooms full of work given to a member: a task counts whole until its last answer, so that one
    room alone would be half empty while tasks end."""


@dataclass(eq=False)
class _Member:
    actor: Any
    starting: Any
    """The reference that is answered when it has started; None from then on."""
    placed: Any
    """The reference that is answered when it runs on some node; None from then on."""
    made: float = field(default_factory=time.monotonic)
    placed_at: float = 0.0
    is_leaving: bool = False
    """It gets no more tasks."""
    holds: dict[Task, int] = field(default_factory=dict)
    """Its tasks, and the requests of each."""
    saes: dict[str, None] = field(default_factory=dict)
    """The SAEs that it holds, most recent last."""
    idle_since: float = field(default_factory=time.monotonic)

    @property
    def load(self) -> int:
        return sum(self.holds.values())


class Pool:
    """Actors made by `make`; `requests_of` says how much of a member's room a task takes."""

    def __init__(
        self, make: Callable[[], Any], room: Room, requests_of: Callable[[Task], int]
    ) -> None:
        self._make = make
        self._room = room
        self._requests_of = requests_of
        self._members: list[_Member] = []
        self._probe: _Member | None = None
        self._asked: dict[Any, tuple[_Member, Task]] = {}
        self._start_s = _USUAL_START_S
        self._lived_s = 0.0
        """Of members that have ended."""

    def grow_to(self, number: int) -> None:
        """Begin to start as many members as are missing."""
        while self.size < number:
            self._add()

    @property
    def size(self) -> int:
        """Members that are not about to go."""
        return sum(not member.is_leaving for member in self._members)

    @property
    def num_leaving(self) -> int:
        """Members that end with their last task, and keep their place on a node until then."""
        return len(self._members) - self.size

    @property
    def start_s(self) -> float:
        """Seconds in which a member starts once it has its place, at best."""
        return self._start_s

    def unplaced_s(self) -> float:
        """Seconds for which no node has had room for any of its members; 0 where one has."""
        self._note_placed()
        if not self._members or any(member.placed is None for member in self._members):
            return 0.0
        return time.monotonic() - min(member.made for member in self._members)

    def lived_s(self) -> float:
        """Seconds in which members had their places, summed over all there ever were."""
        self._note_placed()
        now = time.monotonic()
        return self._lived_s + sum(now - m.placed_at for m in self._members if m.placed is None)

    def usable(self, num_waiting: int) -> int:
        """Members that its tasks, those under way and those that wait, would keep busy."""
        loads = [load for member in self._members for load in member.holds.values()]
        each = sum(loads) / len(loads) if loads else self._room.requests
        return math.ceil(
            (sum(loads) + num_waiting * each) / (self._room.requests * self._room.ahead)
        )

    def withdraw(self, *, pending_s: float) -> bool:
        """End one member that has waited so long for a place; whether there was one."""
        self._note_placed()
        waited = time.monotonic() - pending_s
        return self._drop(lambda m: m.placed is not None and m.made <= waited)

    def let_idle_go(self, idle_s: float) -> bool:
        """End one member that has held nothing for so long; whether there was one."""
        since = time.monotonic() - idle_s
        return self._drop(lambda m: m.starting is None and not m.holds and m.idle_since <= since)

    def let_one_go(self) -> None:
        """The least busy member gets no more tasks, and ends with those it holds."""
        member = min((m for m in self._members if not m.is_leaving), key=lambda m: m.load)
        member.is_leaving = True
        self._end_if_done(member)

    @property
    def starting(self) -> list[Any]:
        """References that are answered, well or not, when a member has started: see `started`."""
        return [m.starting for m in self._members if m.starting is not None]

    def started(self, reference: Any) -> None:
        """The member behind the reference has started, and may be given tasks."""
        self._note_placed()
        member = self._starter(reference)
        member.starting = None
        member.idle_since = time.monotonic()
        self._start_s = min(self._start_s, member.idle_since - (member.placed_at or member.made))

    def start_failed(self, reference: Any) -> None:
        """The member behind the reference died while it started: its place is free."""
        self._remove(self._starter(reference))

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
            started = [m for m in self._members if m.starting is None and not m.is_leaving]
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
        if member in self._members:
            self._end_if_done(member)
        return task

    def died(self, reference: Any) -> None:
        """The actor behind the reference died: it is a member no more."""
        member, _ = self._asked[reference]
        if member in self._members:
            self._remove(member)

    def actors(self) -> list[Any]:
        """The handles of the members that have started."""
        return [member.actor for member in self._members if member.starting is None]

    def close(self, wait_s: float = CLOSE_S) -> None:
        """End the members. Engines have so long to close by themselves, so that no child process is
        left; after that, or without waiting where `wait_s` is 0, members are killed.
        """
        self._lived_s = self.lived_s()
        members, self._members = self._members, []
        _end(members, wait_s)

    def _add(self) -> None:
        actor = self._make()
        # Asked first: it is answered before the model loads, as soon as the actor is there.
        placed = actor.__ray_ready__.remote()
        self._members.append(_Member(actor, actor.warm.remote(), placed))

    def _remove(self, member: _Member) -> None:
        self._forget(member)
        ray.kill(member.actor)

    def _drop(self, may_go: Callable[[_Member], bool]) -> bool:
        """End one member that may go at once."""
        member = next((m for m in self._members if not m.is_leaving and may_go(m)), None)
        if member is not None:
            self._forget(member)
            _end([member])
        return member is not None

    def _end_if_done(self, member: _Member) -> None:
        if member.is_leaving and not member.holds:
            self._forget(member)
            _end([member])

    def _forget(self, member: _Member) -> None:
        self._note_placed()
        self._members.remove(member)
        if member.placed is None:
            self._lived_s += time.monotonic() - member.placed_at

    def _note_placed(self) -> None:
        """See which members have found their places."""
        waiting = {m.placed: m for m in self._members if m.placed is not None}
        if not waiting:
            return
        answered, _ = ray.wait(list(waiting), num_returns=len(waiting), timeout=0)
        for reference in answered:
            waiting[reference].placed = None
            waiting[reference].placed_at = time.monotonic()

    def _starter(self, reference: Any) -> _Member:
        return next(m for m in self._members if m.starting == reference)

    @property
    def _most_held(self) -> int:
        return self._room.requests * self._room.ahead

    def _free(self) -> list[_Member]:
        return [
            member
            for member in self._members
            if member.starting is None
            and not member.is_leaving
            and member.load < self._most_held
            and member is not self._probe
        ]

    def _give(self, member: _Member, task: Task, width: Width) -> Any:
        # More than fill the room are no reason to leave it without a task that waits behind.
        member.holds[task] = min(self._requests_of(task), self._room.requests)
        if task.sae is not None:
            member.saes.pop(task.sae, None)
            member.saes[task.sae] = None
            if len(member.saes) > SAES_HELD:
                del member.saes[next(iter(member.saes))]
        reference = member.actor.work.remote(task, width)
        self._asked[reference] = (member, task)
        return reference


def _end(members: list[_Member], wait_s: float = CLOSE_S) -> None:
    if wait_s:
        closing = [member.actor.close.remote() for member in members if member.starting is None]
        if closing:
            ray.wait(closing, num_returns=len(closing), timeout=wait_s)
    for member in members:
        ray.kill(member.actor)
