"""Which task is ready: pure, from the flow, the shards and what exists on the store.

The schedule works by arrival: an object that appears wakes only the tasks that wait for it, so the
cost of a whole run is linear in its tasks. Tasks of one step, owner and variant form a group. A
group reads another one shard by shard (`aligned`), or waits for all of it (one barrier, not an edge
for each shard). Which of the ready tasks goes first, priority.py says.
"""

import heapq
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ray_autointerp.config import Config
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.priority import Priority, Rank
from ray_autointerp.plan.reads import owners_read, producer_of, variants_read
from ray_autointerp.plan.shards import Axes, Selected, methods_of, owners_of, shard_count
from ray_autointerp.plan.step import Pool, Step
from ray_autointerp.records.layout import table_folder
from ray_autointerp.records.task import Task

_PART = re.compile(r"part-(\d{5})-of-(\d{5})\.parquet")
_WAITING, _READY, _TAKEN, _DONE = range(4)


@dataclass(frozen=True)
class StepProgress:
    """How far one step is. `total` is None while a selection that it is cut over is not known."""

    step: str
    pool: Pool
    done: int
    total: int | None
    ready: int = 0
    """Tasks that may start and that no worker has taken."""


@dataclass(eq=False)
class _Group:
    """The tasks of one step, owner and variant: one for each shard."""

    step: Step
    sae: str | None
    hook_point: str | None
    method: str | None
    objects_per_shard: int
    num_shards: int | None = None
    """None while the selection that it is cut over is not known."""
    state: bytearray = field(default_factory=bytearray)
    objects_left: "array[int]" = field(default_factory=lambda: array("H"))
    inputs_left: "array[int]" = field(default_factory=lambda: array("H"))
    """By shard: aligned inputs that are not done."""
    barriers_left: int = 0
    """Groups of which the first shards, or all, are waited for."""
    num_done: int = 0
    num_panel: int = 0
    """The first shards, which hold the panel."""
    panel_left: int = 0
    aligned: list["_Group"] = field(default_factory=list)
    """Readers of the same shard."""
    whole: list["_Group"] = field(default_factory=list)
    """Readers of all shards."""
    panel: list["_Group"] = field(default_factory=list)
    """Readers of the panel's shards."""
    reads_aligned: list["_Group"] = field(default_factory=list)

    @property
    def is_complete(self) -> bool:
        return self.num_shards is not None and self.num_done == self.num_shards

    def task(self, shard: int) -> Task:
        assert self.num_shards is not None
        return Task(self.step.name, self.sae, self.method, shard, self.num_shards, self.hook_point)


@dataclass(order=True, slots=True)
class _Entry:
    """A ready task in its pool's heap."""

    rank: Rank
    group: _Group = field(compare=False)
    shard: int = field(compare=False)


@dataclass
class _Folder:
    """A folder of parts that one group writes, and which parts were seen."""

    group: _Group
    seen: bytearray = field(default_factory=bytearray)
    early: list[tuple[int, int]] = field(default_factory=list)
    """Shard and shard count of parts seen before the group's size was known."""


class Schedule:
    """The tasks of a run and which of them can run now.

    Feed it names of objects as they appear (`note_objects`) and selections as they are published
    (`note_selection`); `take` a task, and `put_back` one whose attempt failed. Holds no clock and
    no worker. The work of one SAE never waits for another's selection.
    """

    def __init__(self, config: Config, axes: Axes) -> None:
        self._config = config
        self._axes = axes
        self._rank = Priority(config).rank
        self._selected: dict[str, Selected] = {}
        self._groups: dict[tuple[str, str | None, str | None], _Group] = {}
        self._folders: dict[str, _Folder] = {}
        self._heaps: dict[Pool, list[_Entry]] = {}
        self._num_ready = dict.fromkeys((step.name for step in FLOW), 0)
        self._done: dict[str, int] = {step.name: 0 for step in FLOW}
        self._total: dict[str, int] = dict(self._done)
        self._num_unknown: dict[str, int] = dict(self._done)
        self._by_sae: dict[str, list[_Group]] = {sae: [] for sae in axes.latents}
        """Groups that are cut over an SAE's selection, until it is known."""
        for step in FLOW:
            self._heaps.setdefault(step.pool, [])
            self._add_groups(step)
        for group in self._groups.values():
            self._wire(group)
        known = [group for group in self._groups.values() if group.step.split != "selection"]
        self._open(known)

    @property
    def unselected(self) -> tuple[str, ...]:
        """SAEs whose selection exists on the store but has not been noted yet."""
        return tuple(sae for sae in self._by_sae if self._groups["select", sae, None].is_complete)

    def note_selection(self, sae: str, selected: Selected) -> None:
        """A selection was published: the tasks cut over it become known."""
        self._selected[sae] = selected
        self._open(self._by_sae.pop(sae))

    def note_objects(self, names: Iterable[str]) -> None:
        """These objects exist on the store. What no task writes is passed over."""
        for name in names:
            folder_name, _, part = name.rpartition("/")
            folder = self._folders.get(folder_name)
            found = _PART.fullmatch(part)
            if folder is None or found is None:
                continue
            shard, count = int(found[1]), int(found[2])
            if folder.group.num_shards is None:
                folder.early.append((shard, count))
            else:
                self._note_part(folder, shard, count)

    def take(self, *pools: Pool) -> Task | None:
        """The best ready task of these pools (of any, where none is named), now under way."""
        heaps = [self._heaps[pool] for pool in pools or self._heaps]
        for heap in heaps:
            while heap and heap[0].group.state[heap[0].shard] != _READY:
                heapq.heappop(heap)  # finished elsewhere meanwhile
        best = min((heap for heap in heaps if heap), key=lambda heap: heap[0], default=None)
        if best is None:
            return None
        entry = heapq.heappop(best)
        entry.group.state[entry.shard] = _TAKEN
        self._num_ready[entry.group.step.name] -= 1
        return entry.group.task(entry.shard)

    def put_back(self, task: Task) -> None:
        """An attempt at the task failed: it is ready again, unless its objects exist."""
        group = self._groups[task.step, task.sae or task.hook_point, task.method]
        if group.state[task.shard] == _TAKEN:
            self._make_ready(group, task.shard)

    def num_ready(self, *pools: Pool) -> int:
        """Ready tasks of these pools that no worker has taken."""
        return sum(self._num_ready[step.name] for step in FLOW if step.pool in pools)

    def finished(self) -> bool:
        """Whether every task is known and done."""
        return not self._by_sae and self._done == self._total

    def is_complete(self, step: str, owner: str | None, method: str | None) -> bool:
        """Whether every object of one step, owner and variant exists."""
        return self._group(step_named(step), owner, method).is_complete

    def progress(self) -> Iterator[StepProgress]:
        """One line per step, in the flow's order."""
        for step in FLOW:
            total = None if self._num_unknown[step.name] else self._total[step.name]
            yield StepProgress(
                step.name, step.pool, self._done[step.name], total, self._num_ready[step.name]
            )

    def _add_groups(self, step: Step) -> None:
        saes = tuple(self._axes.latents)
        for owner in owners_of(step, self._axes):
            for method in methods_of(step, self._config):
                writers = saes if step.scope == "subject" else (owner,)
                group = _Group(
                    step,
                    owner if step.scope == "sae" else None,
                    owner if step.scope in ("hook", "read") else None,
                    method,
                    objects_per_shard=len(writers) * len(step.writes),
                )
                self._groups[step.name, owner, method] = group
                for writer in writers:
                    for table in step.writes:
                        name = table_folder(table, writer, method)
                        self._folders[name] = _Folder(group)
                if step.split == "selection":
                    assert owner is not None
                    self._by_sae[owner].append(group)
                    self._num_unknown[step.name] += 1

    def _wire(self, group: _Group) -> None:
        """Enter the group as a reader of the groups whose tables it reads, once for each."""
        whole, aligned, panel = set(), set(), set()
        for read, step, method in variants_read(group.step, group.method, self._config):
            for owner in owners_read(step, group.sae, self._axes):
                made = self._group(step, owner, method)
                is_aligned = read.which == "first" or _is_cut_alike(made.step, group.step)
                if read.which == "whole" or not is_aligned:
                    whole.add(made)
                else:
                    aligned.add(made)
                    if read.which == "panel":
                        panel.add(made)
        for made in whole:
            made.whole.append(group)
        for made in aligned - whole:
            made.aligned.append(group)
            group.reads_aligned.append(made)
        for made in panel - whole:
            made.panel.append(group)
        group.barriers_left = len(whole) + len(panel - whole)

    def _group(self, step: Step, owner: str | None, method: str | None) -> _Group:
        """What is made for all SAEs together has no owner, though its tables have."""
        return self._groups[step.name, None if step.scope == "subject" else owner, method]

    def _open(self, groups: Iterable[_Group]) -> None:
        """These groups' sizes are known: count what they wait for, then note what exists."""
        groups = list(groups)
        for group in groups:
            count = shard_count(group.step, group.sae, group.method, self._axes, self._selected)
            group.num_shards = count
            group.state = bytearray(count)
            group.objects_left = array("H", [group.objects_per_shard]) * count
            if group.step.split == "selection":
                assert group.sae is not None
                self._num_unknown[group.step.name] -= 1
                group.num_panel = min(self._axes.num_panel_shards(self._selected[group.sae]), count)
                group.panel_left = group.num_panel
            self._total[group.step.name] += count
        for group in groups:
            assert group.num_shards is not None
            group.inputs_left = array("H", [0]) * group.num_shards
            for made in group.reads_aligned:
                # A control has the first shards alone: later ones do not wait for it.
                for shard in range(min(group.num_shards, len(made.state))):
                    group.inputs_left[shard] += made.state[shard] != _DONE
            if group.step.is_chain:
                for shard in range(1, group.num_shards):
                    group.inputs_left[shard] += group.state[shard - 1] != _DONE
        for group in groups:
            self._wake(group, range(len(group.state)))
            if not group.state:
                self._pass_barriers(group)
        opened = set(groups)
        for folder in self._folders.values():
            if folder.group in opened:
                folder.seen = bytearray(len(folder.group.state))
                early, folder.early = folder.early, []
                for shard, count in early:
                    self._note_part(folder, shard, count)

    def _note_part(self, folder: _Folder, shard: int, count: int) -> None:
        group = folder.group
        if count != group.num_shards or folder.seen[shard]:
            return
        folder.seen[shard] = 1
        group.objects_left[shard] -= 1
        if group.objects_left[shard] == 0:
            self._complete(group, shard)

    def _complete(self, group: _Group, shard: int) -> None:
        if group.state[shard] == _READY:
            self._num_ready[group.step.name] -= 1
        group.state[shard] = _DONE
        group.num_done += 1
        self._done[group.step.name] += 1
        for reader in group.aligned:
            # A control has the first shards alone.
            if reader.num_shards is not None and shard < reader.num_shards:
                reader.inputs_left[shard] -= 1
                self._wake(reader, (shard,))
        if group.step.is_chain and shard + 1 < len(group.state):
            group.inputs_left[shard + 1] -= 1
            self._wake(group, (shard + 1,))
        if shard < group.num_panel:
            group.panel_left -= 1
            if group.panel_left == 0:
                self._lift(group.panel)
        if group.is_complete:
            self._lift(group.whole)

    def _pass_barriers(self, group: _Group) -> None:
        """A group without tasks is complete at once."""
        self._lift(group.panel)
        self._lift(group.whole)

    def _lift(self, readers: Iterable[_Group]) -> None:
        for reader in readers:
            reader.barriers_left -= 1
            self._wake(reader, range(len(reader.state)))

    def _wake(self, group: _Group, shards: Iterable[int]) -> None:
        """Make ready what waits for nothing more."""
        if group.barriers_left or group.num_shards is None or not len(group.inputs_left):
            return
        for shard in shards:
            if group.state[shard] == _WAITING and not group.inputs_left[shard]:
                self._make_ready(group, shard)

    def _make_ready(self, group: _Group, shard: int) -> None:
        group.state[shard] = _READY
        self._num_ready[group.step.name] += 1
        entry = _Entry(self._rank(group.task(shard)), group, shard)
        heapq.heappush(self._heaps[group.step.pool], entry)


def _is_cut_alike(made: Step, read_by: Step) -> bool:
    return made.split == read_by.split and made.split != "whole"


def part_count(
    axes: Axes,
    selected: Mapping[str, Selected],
    table: str,
    sae: str | None,
    method: str | None,
) -> int:
    """How many parts a table has, once the selection it may be cut over is known."""
    return shard_count(producer_of(table, method), sae, method, axes, selected)
