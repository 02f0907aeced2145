"""Drive a run on three Ray nodes of this machine, of which the one that works first is killed.

    python lose_a_node.py CONFIG.json

Prints a JSON line: nodes begun with, nodes left, and the names of the tasks that were lost.
"""

import json
import sys
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.cluster.run_ray import run_ray
from ray_autointerp.config import Config
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.pipeline import label
from ray_autointerp.records.task import Task

SIZE = {"num_cpus": 2, "object_store_memory": 80 * 2**20}
"""Four workers have places on two of the nodes."""


class KillNode(Silent):
    """Kills a node other than the head's, once its worker has begun a task."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._is_killed = False
        self.lost: list[str] = []

    def started(self, task: Task) -> None:
        if not self._is_killed:
            for node in self._cluster.worker_nodes:
                raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
                if any(is_at_work(child) for child in raylet.children()):
                    self._is_killed = True
                    raylet.kill()
                    return

    def ended(self, receipt: Receipt) -> None:
        if receipt.outcome != "done":
            self.lost.append(receipt.task.name)


def is_at_work(process: psutil.Process) -> bool:
    return "Worker.work" in " ".join(process.cmdline())


def main() -> None:
    cluster = Cluster(
        initialize_head=True, connect=True, head_node_args=SIZE | {"include_dashboard": False}
    )
    for _ in range(2):
        cluster.add_node(**SIZE)
    cluster.wait_for_nodes()
    num_nodes = len(ray.nodes())
    killer = KillNode(cluster)
    label(Config.model_validate_json(Path(sys.argv[1]).read_text()), run_ray, killer)
    num_alive = sum(node["Alive"] for node in ray.nodes())
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps({"num_nodes": num_nodes, "num_alive": num_alive, "lost": killer.lost}))


if __name__ == "__main__":
    main()
