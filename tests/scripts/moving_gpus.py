"""Label a config, given as JSON in a file, on a Ray of four logical GPUs.

Prints as JSON how large each pool was in each turn of the driver, with the tasks that each had
left, and what the ledger says of the pools afterwards.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray

from ray_autointerp.cluster import run_ray
from ray_autointerp.cluster.nodes import require_placement
from ray_autointerp.cluster.pools import Pools
from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.pipeline import label
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.reports.pool_table import pool_use

_seen: list[dict[str, Any]] = []


class Watched(Pools):
    """Pools that write down their sizes."""

    def resize(self, waiting: Mapping[str, int], steps: Iterable[StepProgress]) -> None:
        steps = list(steps)
        super().resize(waiting, steps)
        members = {n: [p.size, p.num_leaving] for n, p in self._pools.items()}
        left = {
            name: sum((s.total or 0) - s.done for s in steps if s.pool in served)
            for name, served in self.serve()
        }
        _seen.append({"members": members, "left": left})


def main() -> None:
    config = Config.model_validate_json(Path(sys.argv[1]).read_text())
    ray.init(
        address="local",
        num_cpus=8,
        num_gpus=4,
        include_dashboard=False,
        object_store_memory=100 * 2**20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    run_ray.Pools = Watched  # type: ignore[misc]
    run = label(config, run_ray.run_ray, Silent(), require_placement)
    print(json.dumps([_seen, [asdict(use) for use in pool_use(run)]]))


if __name__ == "__main__":
    main()
