"""The nodes of the Ray cluster, those that its autoscaler may start, and whether a run fits."""

import json
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import yaml
from ray._private.state import state
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.experimental.internal_kv import _internal_kv_get

from ray_autointerp.config import Config
from ray_autointerp.errors import ClusterError
from ray_autointerp.plan.placement import Node, lack, local_cpus

_log = logging.getLogger(__name__)

_LAUNCHER_CONFIG = Path("~/ray_bootstrap_config.yaml")
"""Where `ray up` leaves the cluster's configuration on the head node."""

_MOST_OF_A_TYPE = 1000
"""Nodes of a type without a bound that are counted on."""


def require_placement(config: Config) -> None:
    """Raise ClusterError where a worker of the run could never be placed.

    On the cluster that is connected or that RAY_ADDRESS names; else on this machine. Leaves Ray as
    it was: a run that is refused has started nothing.
    """
    if not ray.is_initialized() and not os.environ.get("RAY_ADDRESS"):
        if sentence := lack(config, [_this_machine(config)], is_here=True):
            raise ClusterError(sentence)
        return
    with _connected():
        alive = alive_nodes()
        to_come = nodes_to_come(alive)
        sentence = lack(config, [*alive, *(to_come or ())])
        if sentence and to_come is None:
            _log.warning("%s The cluster's autoscaler may yet start a node for it.", sentence)
        elif sentence:
            raise ClusterError(sentence)


def connect() -> None:
    """Connect to the cluster that RAY_ADDRESS names. Raises ClusterError where none answers."""
    try:
        with own_sigterm():
            ray.init(logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(
            f"No Ray cluster answers at RAY_ADDRESS = {os.environ['RAY_ADDRESS']} "
            f"({str(error).splitlines()[0].rstrip('.')}): start it, or unset RAY_ADDRESS."
        ) from error


@contextmanager
def own_sigterm() -> Iterator[None]:
    """Ray is started inside; afterwards SIGTERM is again for the handler that was there before.

    Ray puts two of its own in its place. One of them ends the process without giving anything back,
    the other kills Ray's processes first. Where SIGTERM comes while Ray starts, SystemExit(143).
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as error:  # by Ray's own handler
        raise SystemExit(128 + signal.SIGTERM) from error
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def alive_nodes() -> list[Node]:
    """The nodes that the connected cluster has now."""
    return [
        _node(node["Resources"], node["Labels"])
        for node in ray.nodes()
        if node["Alive"] and node["Resources"]
    ]


def nodes_to_come(alive: list[Node]) -> list[Node] | None:
    """Those that an autoscaler may start: none without one, None where it does not say which.

    Ray has no call for it. A platform reports its node groups to the cluster; the cluster launcher
    leaves its file on the head node, where jobs are driven; KubeRay tells neither, and then only
    what its autoscaler does shows that there is one. An option for how long to wait would ask
    people for what the cluster knows, and refuse what a slow cloud brings a minute later.
    """
    reported = state.get_cluster_config()
    if reported and reported.node_group_configs:
        groups = [(dict(g.resources), g.max_count) for g in reported.node_group_configs]
        return _missing_of(groups, alive, None)
    if not _autoscales():
        return []
    file = _LAUNCHER_CONFIG.expanduser()
    if not file.is_file():
        return None
    config = yaml.safe_load(file.read_text())
    groups = [
        (kind.get("resources", {}), kind.get("max_workers", 0))
        for name, kind in config["available_node_types"].items()
        if name != config.get("head_node_type")
    ]
    return _missing_of(groups, alive, config.get("max_workers"))


def _missing_of(
    groups: list[tuple[dict[str, Any], int]], alive: list[Node], most: int | None
) -> list[Node]:
    """As many of each group as it may have more than there are nodes like it, at most `most`
    beside the head.
    """
    found: list[Node] = []
    for resources, count in groups:
        node = _node(resources)
        bound = _MOST_OF_A_TYPE if count < 0 else count
        num_alive = sum((n.cpus, n.gpus) == (node.cpus, node.gpus) for n in alive)
        found += [node] * (bound - num_alive)
    found.sort(key=lambda node: node.gpus, reverse=True)
    return found if most is None else found[: max(0, most - (len(alive) - 1))]


def _autoscales() -> bool:
    """Whether an autoscaler may start nodes: a cluster without one has a monitor that names its
    node types by the nodes that it finds.
    """
    if is_autoscaler_v2(fetch_from_server=True):
        return True
    status = _internal_kv_get("__autoscaling_status")
    report = json.loads(status).get("autoscaler_report") if status else None
    types = (report or {}).get("active_nodes") or {}
    return any(not name.startswith(_FOUND_NODE) for name in types)


_FOUND_NODE = "node_"
"""What Ray's monitor puts before the id of a node that no autoscaler started."""


def _node(resources: dict[str, Any], labels: dict[str, str] | None = None) -> Node:
    return Node(float(resources.get("CPU", 0)), float(resources.get("GPU", 0)), labels)


def gpus_here() -> int:
    """GPUs of this machine."""
    import torch

    return torch.cuda.device_count()


def _this_machine(config: Config) -> Node:
    gpus = gpus_here()
    return Node(local_cpus(config, gpus), gpus)


@contextmanager
def _connected() -> Iterator[None]:
    if ray.is_initialized():
        yield
        return
    connect()
    try:
        yield
    finally:
        ray.shutdown()
