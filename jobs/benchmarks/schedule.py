"""The pure schedule, driven with tasks that end at once: what planning a whole SAE costs.

    python jobs/benchmarks/schedule.py [--saes N] [--width W] [--resume]

Every latent is chosen (`rule = "all"`). `--resume` notes half of the objects first, as a listing
of the store would, and counts how long that takes. Prints one JSON line: `num_tasks`,
`num_objects`, `ms_per_task`, `peak_mb`, and `plan_s`, the seconds until the first task was ready.
"""

import argparse
import json
import resource
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.schedule import Schedule
from ray_autointerp.plan.shards import Axes, LatentRange, Selected, num_shards, objects_of, tasks_of

_UNDER_WAY = 64
"""Tasks taken and not yet done, as a cluster would have them."""


def config(num_saes: int) -> Config:
    """The default methods, one mode, on a hub model."""
    return parse_config(
        {
            "run": {"name": "race"},
            "subject": {"model": "hub/model"},
            "sae": [{"id": f"s{i}", "path": "sae"} for i in range(num_saes)],
            "corpus": {"path": "c.parquet"},
            "llm": {"backend": "scripted", "script": "m:f"},
            "select": {"rule": "all"},
        },
        Path("race.toml"),
    )


def main() -> None:
    """Drive one schedule to its end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--saes", type=int, default=1)
    parser.add_argument("--width", type=int, default=65_536)
    parser.add_argument("--resume", action="store_true")
    asked = parser.parse_args()
    made, ids = config(asked.saes), [f"s{i}" for i in range(asked.saes)]
    axes = sizes(made, ids, asked.width)
    panel, controls = (min(size, asked.width) for size in (made.select.panel, made.select.controls))
    selected = Selected(asked.width, panel, controls)
    started = time.perf_counter()
    schedule = Schedule(made, axes)
    noted = 0
    if asked.resume:
        for name in half(made, axes, dict.fromkeys(ids, selected)):
            schedule.note_objects((name,))
            noted += 1
        note_selections(schedule, selected)
    planned = time.perf_counter() - started
    num_tasks, num_objects = drive(schedule, ids, selected)
    seconds = time.perf_counter() - started
    total = sum(line.total or 0 for line in schedule.progress())
    print(
        json.dumps(
            {
                "num_tasks": total,
                "num_objects": num_objects + noted,
                "num_driven": num_tasks,
                "plan_s": round(planned, 2),
                "ms_per_task": round(1000 * seconds / total, 4),
                "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            }
        )
    )


def sizes(made: Config, ids: list[str], width: int) -> Axes:
    """The axes that a run of these SAEs has."""
    corpus, operations = made.corpus, made.operations
    return Axes(
        num_shards(corpus.num_tokens, corpus.tokens_per_shard),
        {sae: LatentRange(0, width) for sae in ids},
        operations.latents_per_shard,
        operations.selected_per_shard,
        dict.fromkeys(ids, "blocks.12.hook_resid_post"),
        2304,
        operations.directions_per_shard,
    )


def half(made: Config, axes: Axes, selected: dict[str, Selected]) -> Iterator[str]:
    """Every second task's objects, one name at a time, as they would be listed."""
    saes = tuple(axes.latents)
    for step in FLOW:
        for number, task in enumerate(tasks_of(step, made, axes, selected) or ()):
            if number % 2 == 0:
                yield from objects_of(task, saes)


def drive(schedule: Schedule, ids: list[str], selected: Selected) -> tuple[int, int]:
    """End every task in the order it was given, some time after it was."""
    under_way: deque[tuple[str, ...]] = deque()
    num_tasks = num_objects = 0
    while not schedule.finished():
        while len(under_way) < _UNDER_WAY and (task := schedule.take()):
            under_way.append(objects_of(task, ids))
            num_tasks += 1
        names = under_way.popleft()
        num_objects += len(names)
        schedule.note_objects(names)
        note_selections(schedule, selected)
    return num_tasks, num_objects


def note_selections(schedule: Schedule, selected: Selected) -> None:
    """What the tracker does once a selection is published."""
    for sae in schedule.unselected:
        schedule.note_selection(sae, selected)


if __name__ == "__main__":
    main()
