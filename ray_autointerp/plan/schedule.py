"""Which task is ready: pure, from the flow, the shards and what exists on the store.

A task is done when all its objects exist, ready when all it reads exists; which of the ready ones
goes first, priority.py says. Both runners ask the same schedule.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ray_autointerp.config import Config
from ray_autointerp.plan.priority import Priority
from ray_autointerp.plan.reads import producers, reads_of
from ray_autointerp.plan.shards import Axes, Selected, methods_of, tasks_of
from ray_autointerp.records.flow import FLOW, Pool, Read, Step, step_named
from ray_autointerp.records.layout import objects_of, part_name
from ray_autointerp.records.task import Task


@dataclass(frozen=True)
class StepProgress:
    """How far one step is. `total` is None while its selection is not yet known."""

    step: str
    pool: Pool
    done: int
    total: int | None


class Schedule:
    """The tasks of a run and which of them can run now.

    Feed it names of objects as they appear (`note_objects`) and selections as they are published
    (`note_selection`); ask it for `ready()` and `finished()`. Holds no clock and no worker.
    """

    def __init__(self, config: Config, axes: Axes) -> None:
        self._config = config
        self._priority = Priority(config)
        self._axes = axes
        self._saes = tuple(axes.latents)
        self._selected: dict[str, Selected] = {}
        self._exists: set[str] = set()
        self._open: dict[Task, frozenset[str]] = {}
        self._needs: dict[Task, frozenset[str]] = {}
        self._done: dict[str, int] = {step.name: 0 for step in FLOW}
        self._expanded: set[str] = set()
        self._expand()

    @property
    def unselected(self) -> tuple[str, ...]:
        """SAEs whose selection exists on the store but has not been noted yet."""
        return tuple(
            sae
            for sae in self._saes
            if sae not in self._selected and part_name("selection", sae, None, 0, 1) in self._exists
        )

    def note_selection(self, sae: str, selected: Selected) -> None:
        """A selection was published: the tasks cut over it become known."""
        self._selected[sae] = selected
        self._expand()

    def note_objects(self, names: Iterable[str]) -> None:
        """These objects exist on the store."""
        self._exists.update(names)
        for task in [t for t, objects in self._open.items() if objects <= self._exists]:
            del self._open[task], self._needs[task]
            self._done[task.step] += 1

    def ready(self) -> list[Task]:
        """Tasks that may run now, best first."""
        tasks = [task for task, needs in self._needs.items() if needs <= self._exists]
        return sorted(tasks, key=self._priority.rank)

    def is_done(self, task: Task) -> bool:
        """Whether all objects of a known task exist."""
        return task not in self._open

    def finished(self) -> bool:
        """Whether every task is known and done."""
        return not self._open and len(self._expanded) == len(FLOW)

    def progress(self) -> Iterator[StepProgress]:
        """One line per step, in the flow's order."""
        still_open: dict[str, int] = {}
        for task in self._open:
            still_open[task.step] = still_open.get(task.step, 0) + 1
        for step in FLOW:
            done = self._done[step.name]
            known = step.name in self._expanded
            total = done + still_open.get(step.name, 0) if known else None
            yield StepProgress(step.name, step.pool, done, total)

    def _expand(self) -> None:
        for step in FLOW:
            if step.name in self._expanded:
                continue
            tasks = tasks_of(step, self._config, self._axes, self._selected)
            if tasks is None or not self._inputs_known(step):
                continue
            self._expanded.add(step.name)
            for task in tasks:
                self._open[task] = frozenset(objects_of(task, self._saes))
                self._needs[task] = frozenset(self._inputs(step, task))
        self.note_objects(())

    def _inputs_known(self, step: Step) -> bool:
        """A step that reads tables cut over the selection waits until selections are known."""
        cut_over_selection = any(
            producer.split == "selection"
            for method in methods_of(step, self._config)
            for read in reads_of(step, method, self._config)
            for producer in producers(read.table)
        )
        return not cut_over_selection or all(sae in self._selected for sae in self._saes)

    def _inputs(self, step: Step, task: Task) -> Iterator[str]:
        for read in reads_of(step, task.method, self._config):
            owners = self._owners(read.table, task)
            for owner in owners:
                for method in self._methods_read(read, task):
                    yield from self._parts(read, owner, method, step, task)

    def _owners(self, table: str, task: Task) -> tuple[str | None, ...]:
        scope = producers(table)[0].scope
        if scope == "corpus":
            return (None,)
        if scope == "hook":
            assert task.sae is not None, "only what belongs to an SAE reads a hook point's tables"
            return (self._axes.hook_points[task.sae],)
        return (task.sae,) if task.sae is not None else self._saes

    def _methods_read(self, read: Read, task: Task) -> Iterable[str | None]:
        makers = producers(read.table)
        if read.method is not None:
            return (read.method,)
        if makers[0].methods == "none":
            return (None,)
        if read.every_method:
            return self._config.score.methods
        if task.method is not None:
            return (task.method,)
        return [m for p in makers for m in methods_of(p, self._config)]

    def _parts(
        self, read: Read, owner: str | None, method: str | None, step: Step, task: Task
    ) -> Iterator[str]:
        producer = producer_of(read.table, method)
        count = part_count(self._axes, self._selected, read.table, owner, method)
        shards = set(range(count))
        is_aligned = producer.split == step.split and read.which != "whole"
        if is_aligned and producer.split != "whole":
            shards = {task.shard}
            if read.which == "panel" and owner is not None:
                shards |= set(range(self._axes.num_panel_shards(self._selected[owner])))
        for shard in sorted(shards):
            yield part_name(read.table, owner, method, shard, count)


def producer_of(table: str, method: str | None) -> Step:
    """The step that writes a table (for `descriptions`: of that method)."""
    name = "keywords" if method == "keywords" and table == "descriptions" else None
    return step_named(name) if name else producers(table)[-1]


def part_count(
    axes: Axes,
    selected: Mapping[str, Selected],
    table: str,
    sae: str | None,
    method: str | None,
) -> int:
    """How many parts a table has, once the selection it may be cut over is known."""
    producer = producer_of(table, method)
    if producer.split == "token":
        return axes.num_token_shards
    if producer.split == "whole":
        return 1
    if producer.split == "directions":
        return axes.num_direction_shards
    assert sae is not None
    if producer.split == "latents":
        return axes.num_latent_shards(sae)
    return axes.num_selection_shards(selected[sae])
