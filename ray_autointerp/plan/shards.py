"""How work is cut: the shards of each axis, and the tasks of each step.

There are three axes. Token shards are cut over the corpus, latent shards over each SAE's range,
and the shards of the selection over the chosen latents, panel first and then by latent id, so that
a scattered hundred still spreads over a cluster. Knows nothing of stores or workers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import is_control, shuffled
from ray_autointerp.plan.evidence import MAPS, REVIVAL_LISTS
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.step import Step
from ray_autointerp.plan.units import judged_as
from ray_autointerp.records.layout import part_name
from ray_autointerp.records.task import Task


@dataclass(frozen=True)
class LatentRange:
    """The latents of one SAE that a run labels: `start` inclusive, `stop` exclusive."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Selected:
    """How many latents a published selection holds."""

    num_chosen: int
    num_panel: int
    num_controls: int
    """The panel among them, if there are any."""


@dataclass(frozen=True)
class Axes:
    """The sizes that fix every object name of a run; kept in its manifest."""

    num_token_shards: int
    latents: Mapping[str, LatentRange]
    """By SAE id, in the config's order."""
    latents_per_shard: int
    selected_per_shard: int
    hook_points: Mapping[str, str]
    """By SAE id: the hook point it writes to."""
    d_model: int
    """Output directions of a Jacobian."""
    directions_per_shard: int
    read_points: Mapping[str, str] = field(default_factory=dict)
    """By SAE id: the hook point it reads at."""
    later_hook_points: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """By the id of a cross-layer transcoder: the hook points above that it writes to as well."""

    def write_points(self, sae: str) -> tuple[str, ...]:
        """Every hook point that an SAE writes to, lowest first."""
        return (self.hook_points[sae], *self.later_hook_points.get(sae, ()))

    def all_write_points(self) -> tuple[str, ...]:
        """Every hook point that some SAE writes to, once."""
        points = [*self.hook_points.values(), *chain(*self.later_hook_points.values())]
        return tuple(dict.fromkeys(points))

    def num_latent_shards(self, sae: str) -> int:
        """Shards over all latents of the SAE's range."""
        return num_shards(len(self.latents[sae]), self.latents_per_shard)

    def latent_shard(self, sae: str, shard: int) -> range:
        """The latents of one latent shard."""
        whole = self.latents[sae]
        start = whole.start + shard * self.latents_per_shard
        return range(start, min(start + self.latents_per_shard, whole.stop))

    def num_direction_shards(self) -> int:
        """Shards over the output directions of one hook point's Jacobian."""
        return num_shards(self.d_model, self.directions_per_shard)

    def direction_shard(self, shard: int) -> range:
        """The output directions of one shard."""
        start, stop = (n * self.directions_per_shard for n in (shard, shard + 1))
        return range(start, min(stop, self.d_model))

    def num_selection_shards(self, selected: Selected) -> int:
        """Shards over the chosen latents; none when nothing was chosen."""
        return num_shards(selected.num_chosen, self.selected_per_shard)

    def num_control_shards(self, selected: Selected) -> int:
        """Shards over the control sample: the first of the selection, the last perhaps a part."""
        return num_shards(selected.num_controls, self.selected_per_shard)

    def num_panel_shards(self, selected: Selected) -> int:
        """The first shards of the selection, which hold the panel."""
        return num_shards(selected.num_panel, self.selected_per_shard)


MAX_SHARDS = 2048
"""Shards of one step and SAE, at most: a store lists a thousand names a request, and a run of many
SAEs must be listed and planned in seconds."""


def shard_size(asked: int, size: int) -> int:
    """Things in one shard: as many as asked for, or so many that MAX_SHARDS cover `size`."""
    return max(asked, num_shards(size, MAX_SHARDS))


def num_shards(size: int, per_shard: int) -> int:
    """Shards of at most `per_shard` that cover `size` things once."""
    return -(-size // per_shard)


def methods_of(step: Step, config: Config) -> Sequence[str | None]:
    """The methods a step runs for, in the config's order; one None where it has no method.

    Empty where the config switches the step off.
    """
    if not step.is_wanted(config):
        return ()
    match step.methods:
        case "none":
            return (None,)
        case "keywords":
            return ("keywords",)
        case "explained":
            return tuple(m for m in config.describe.methods if m != "keywords")
        case "shuffled":
            return _shuffled_of(config)
        case "scored":
            return (*config.score.methods, *_shuffled_of(config))
        case "maps":
            return MAPS
        case "modes":
            return config.evidence.change_modes
        case "revivals":
            return (*REVIVAL_LISTS, *config.score.methods)
        case "judgements":
            return _judging_steps(config)
        case "control_texts":
            return config.score.control_texts if config.select.controls else ()


def _shuffled_of(config: Config) -> Sequence[str]:
    return tuple(map(shuffled, config.score.methods)) if config.select.controls else ()


def _judging_steps(config: Config) -> Sequence[str]:
    """The steps that ask a judge which texts or tokens a description fits."""
    return tuple(
        step.name
        for step in FLOW
        if step.methods == "scored" and step.answer_kind is judged_as and methods_of(step, config)
    )


def owners_of(step: Step, axes: Axes) -> Sequence[str | None]:
    """Whom a step runs for: each SAE, each hook or read point once, or None for the whole run."""
    if step.scope == "sae":
        return tuple(axes.latents)
    if step.scope == "hook":
        return axes.all_write_points()
    if step.scope == "read":
        return tuple(dict.fromkeys(axes.read_points.values()))
    return (None,)


def shard_count(
    step: Step, owner: str | None, method: str | None, axes: Axes, selected: Mapping[str, Selected]
) -> int:
    """Shards of a step for one owner and method. KeyError while the selection that it is cut over
    is not known.
    """
    match step.split:
        case "token":
            return axes.num_token_shards
        case "whole":
            return 1
        case "directions":
            return axes.num_direction_shards()
        case "latents":
            assert owner is not None
            return axes.num_latent_shards(owner)
        case "selection":
            assert owner is not None
            if is_control(method):
                return axes.num_control_shards(selected[owner])
            return axes.num_selection_shards(selected[owner])


def num_latents_of(task: Task, axes: Axes, selected: Mapping[str, Selected]) -> int:
    """Latents of a task that is cut over latents; 0 of others. `selected` must have the SAE of one
    that is cut over a selection.
    """
    match step_named(task.step).split:
        case "latents":
            assert task.sae is not None
            return len(axes.latent_shard(task.sae, task.shard))
        case "selection":
            assert task.sae is not None
            chosen = selected[task.sae]
            count = chosen.num_controls if is_control(task.method) else chosen.num_chosen
            size = axes.selected_per_shard
            return min(size, count - task.shard * size)
        case _:
            return 0


def tasks_of(
    step: Step, config: Config, axes: Axes, selected: Mapping[str, Selected]
) -> list[Task] | None:
    """Every task of a step, or None while a selection it is cut over is not yet published."""
    owners = owners_of(step, axes)
    if step.split == "selection" and any(owner not in selected for owner in owners):
        return None
    return [
        Task(
            step.name,
            owner if step.scope == "sae" else None,
            method,
            shard,
            count,
            owner if step.scope in ("hook", "read") else None,
        )
        for owner in owners
        for method in methods_of(step, config)
        for count in [shard_count(step, owner, method, axes, selected)]
        for shard in range(count)
    ]


def objects_of(task: Task, saes: Sequence[str]) -> tuple[str, ...]:
    """The names of everything the task writes. `saes` are the run's SAE ids."""
    step = step_named(task.step)
    owners: dict[str, Sequence[str | None]] = {
        "corpus": [None],
        "run": [None],
        "subject": saes,
        "hook": [task.hook_point],
        "read": [task.hook_point],
        "sae": [task.sae],
    }
    return tuple(
        part_name(table, owner, task.method, task.shard, task.num_shards)
        for owner in owners[step.scope]
        for table in step.writes
    )
