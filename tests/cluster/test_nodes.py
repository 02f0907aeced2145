"""The nodes of a cluster, those to come, and the refusal before anything is written."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from rerun import copied

from ray_autointerp.cluster import nodes
from ray_autointerp.cluster.nodes import alive_nodes, nodes_to_come, require_placement
from ray_autointerp.cluster.pools import actor_options
from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ClusterError
from ray_autointerp.pipeline import Runner, label
from ray_autointerp.plan.placement import Node
from ray_autointerp.runs.progress import schedule_of
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]

HEAD, GPU = Node(4), Node(8, 1)
LAUNCHED = """
max_workers: 3
head_node_type: head
available_node_types:
  head: {resources: {CPU: 4}, max_workers: 0}
  spot: {resources: {CPU: 8, GPU: 1}, max_workers: 2}
  dear: {resources: {CPU: 16, GPU: 4}, max_workers: 5}
"""


def test_run_that_cannot_be_placed_is_refused_before_anything_is_written(
    quick_config: Planted, ray_runner: Runner, tmp_path: Path
) -> None:
    config = quick_config(tmp_path, {"operations": {"subject_gpus": 1}})
    with pytest.raises(ClusterError, match=r"wants 1 GPU .* \(1 node: 6 CPUs\)"):
        label(config, ray_runner, Silent(), require_placement)
    assert not list(tmp_path.glob("*/manifest.json"))


def test_runner_refuses_what_was_not_asked_before(
    quick_config: Planted, ray_runner: Runner, tmp_path: Path
) -> None:
    config = quick_config(tmp_path, {"operations": {"llm_gpus": 1}})
    with pytest.raises(ClusterError, match="An LLM worker wants 1 GPU"):
        label(config, ray_runner, Silent())


def test_finished_run_needs_no_cluster(quick_config: Planted, tmp_path: Path) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the run is finished")

    from ray_autointerp.execution.run_local import run_local

    config = quick_config(tmp_path)
    label(config, run_local, Silent())
    label(config, run_local, Silent(), never)


def test_cluster_without_an_autoscaler_has_its_nodes_and_no_more(ray_cluster: None) -> None:
    (node,) = alive_nodes()
    assert (node.cpus, node.gpus) == (6, 0)
    assert node.labels is not None and "ray.io/node-id" in node.labels
    assert nodes_to_come([node]) == []


def test_workers_run_on_nodes_with_the_labels_and_no_others_are_made(
    quick_config: Planted, quick_run: Run, ray_runner: Runner, tmp_path: Path
) -> None:
    node_id = (alive_nodes()[0].labels or {})["ray.io/node-id"]
    wrong = quick_config(
        tmp_path, {"operations": {"llm_labels": {"ray.io/node-id": f"!{node_id}"}}}
    )
    with pytest.raises(ClusterError, match=r"An LLM worker wants a node with ray.io/node-id = !"):
        label(wrong, ray_runner, Silent(), require_placement)
    labels = {name: {"ray.io/node-id": node_id} for name in ("subject_labels", "llm_labels")}
    run = copied(quick_run, tmp_path / "run", ("neighbours", "explain"), operations=labels)
    assert actor_options(run, "subject")["label_selector"] == {"ray.io/node-id": node_id}
    assert "label_selector" not in actor_options(run, "cpu")
    assert not schedule_of(Tables(run)).finished()
    ray_runner(run, Silent())
    assert schedule_of(Tables(run)).finished(), "workers had places there"


def test_address_where_no_cluster_answers_is_refused(
    quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setattr(nodes.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(nodes.ray, "init", unreachable)
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:1 \(Could not find .*RAY_ADDRESS"):
        require_placement(quick_config(tmp_path))


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """What Ray says of a cluster: its reported groups, its autoscaler's nodes, `ray up`'s file."""

    def make(*, groups: object = None, types: tuple[str, ...] = (), file: str = "") -> None:
        status = {"autoscaler_report": {"active_nodes": dict.fromkeys(types, 1)}}
        path = tmp_path / "bootstrap.yaml"
        if file:
            path.write_text(file)
        monkeypatch.setattr(nodes.state, "get_cluster_config", lambda: groups)
        monkeypatch.setattr(nodes, "is_autoscaler_v2", lambda **_: False)
        monkeypatch.setattr(nodes, "_internal_kv_get", lambda _: json.dumps(status))
        monkeypatch.setattr(nodes, "_LAUNCHER_CONFIG", path)

    return make


def test_nodes_that_the_launcher_may_start_are_in_its_file(cluster: Callable[..., None]) -> None:
    cluster(types=("head",), file=LAUNCHED)
    dear = Node(16, 4)
    assert nodes_to_come([HEAD]) == [dear] * 3, "max_workers bounds all types together"
    assert nodes_to_come([HEAD, GPU]) == [dear] * 2, "one of three is up"
    cluster(types=("head",), file=LAUNCHED.replace("max_workers: 5", "max_workers: 1"))
    assert nodes_to_come([HEAD, GPU]) == [dear, GPU]


def test_file_of_another_cluster_counts_for_nothing(cluster: Callable[..., None]) -> None:
    cluster(types=("node_0123",), file=LAUNCHED)
    assert nodes_to_come([HEAD]) == []


def test_node_groups_that_a_platform_reports_are_known(cluster: Callable[..., None]) -> None:
    group = SimpleNamespace(resources={"CPU": 8, "GPU": 1}, max_count=2)
    cluster(groups=SimpleNamespace(node_group_configs=[group]))
    assert nodes_to_come([HEAD, GPU]) == [GPU]
    group.max_count = -1
    assert len(nodes_to_come([HEAD]) or ()) > 100, "no bound"


def test_autoscaler_that_does_not_say_what_it_starts_refuses_nothing(
    cluster: Callable[..., None],
    quick_config: Planted,
    ray_cluster: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster(types=("head-group",))
    assert nodes_to_come([HEAD]) is None
    require_placement(quick_config(tmp_path, {"operations": {"subject_gpus": 1}}))
    assert "may yet start a node" in caplog.text
