"""What can never be placed, in the words that a person reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.plan.placement import Node, Want, can_hold, lack

CPU = Node(cpus=8)


@pytest.fixture
def config(planted_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    return lambda **operations: planted_config(tmp_path, {"operations": operations})


def said(config: Config, nodes: list[Node], **changes: Any) -> str:
    sentence = lack(config, nodes, **changes)
    assert sentence is not None and sentence.endswith(".")
    return sentence


def test_gpu_on_a_cluster_without_any_is_lacking_with_what_the_cluster_has(
    config: Callable[..., Config],
) -> None:
    assert said(config(subject_gpus=1), [CPU] * 3) == (
        "A subject worker wants 1 GPU and no node of the cluster has one (3 nodes: 8 CPUs each): "
        "set operations.subject_gpus = 0, or add nodes with GPUs."
    )


def test_gpu_on_a_machine_without_any_names_the_way_to_a_cluster(
    config: Callable[..., Config],
) -> None:
    sentence = said(config(llm_gpus=0.5), [CPU], is_here=True)
    assert sentence.startswith("An LLM worker wants 0.5 GPU and this machine has none (1 node")
    assert "operations.llm_gpus = 0" in sentence and "set RAY_ADDRESS" in sentence


def test_gpus_of_one_engine_must_lie_on_one_node(config: Callable[..., Config]) -> None:
    nodes = [Node(96, 4), Node(96, 4), CPU]
    sentence = said(config(llm_gpus=8), nodes)
    assert sentence.startswith(
        "An LLM worker wants 8 GPUs of one node, and the largest node of the cluster has 4 GPUs "
        "(3 nodes: 1 with 8 CPUs, 2 with 96 CPUs and 4 GPUs)"
    )
    assert "operations.llm_gpus" in sentence and "tensor_parallel_size" in sentence
    assert lack(config(llm_gpus=4), nodes) is None


def test_gpu_on_a_node_without_a_cpu_is_of_no_use(config: Callable[..., Config]) -> None:
    sentence = said(config(subject_gpus=2), [CPU, Node(0, 2)])
    assert "wants 2 GPUs, and no node of the cluster has 1 CPU beside them" in sentence


def test_cluster_without_nodes_lacks_everything(config: Callable[..., Config]) -> None:
    assert "wants 1 CPU, and no node of the cluster has that (no nodes)" in said(config(), [])


def test_workers_that_would_wait_for_each_other_are_lacking_unless_they_take_turns(
    config: Callable[..., Config],
) -> None:
    one_card = {"subject_gpus": 1, "llm_gpus": 1}
    sentence = said(config(**one_card), [Node(8, 1)])
    assert "cpu 1 CPU; subject 1 CPU and 1 GPU; llm 1 CPU and 1 GPU" in sentence
    assert "take_turns = true" in sentence
    assert lack(config(**one_card, take_turns=True), [Node(8, 1)]) is None
    assert lack(config(subject_gpus=0.4, llm_gpus=0.6), [Node(8, 1)]) is None


def test_worker_without_a_gpu_leaves_nodes_with_gpus_to_others() -> None:
    nodes = [Node(1, 1), Node(1)]
    assert can_hold(nodes, [Want(1), Want(1, 1)])
    assert not can_hold(nodes, [Want(1), Want(1), Want(1, 1)])


def test_label_that_no_node_has_is_lacking_with_what_nodes_have_instead(
    config: Callable[..., Config],
) -> None:
    wanted = config(subject_labels={"ray.io/accelerator-type": "H100"}, subject_gpus=1)
    nodes = [Node(8, 1, {"ray.io/accelerator-type": "T4"}), Node(8, 0, {})]
    assert said(wanted, nodes) == (
        "A subject worker wants a node with ray.io/accelerator-type = H100, and no node of the "
        "cluster has it (2 nodes: 1 with 8 CPUs, 1 with 8 CPUs and 1 GPU; there is "
        "ray.io/accelerator-type = T4): change operations.subject_labels, or add such nodes."
    )
    assert lack(wanted, [*nodes, Node(8, 1, {"ray.io/accelerator-type": "H100"})]) is None
    assert lack(wanted, [Node(8, 1)]) is None, "labels of a node that is not up are not known"


def test_gpus_are_counted_on_the_nodes_with_the_labels(config: Callable[..., Config]) -> None:
    wanted = config(llm_gpus=2, llm_labels={"card": "A"})
    nodes = [Node(8, 1, {"card": "A"}), Node(8, 4, {"card": "B"})]
    assert "the largest node of the cluster has 1 GPU (1 node" in said(wanted, nodes)


@pytest.mark.parametrize(
    ("wanted", "may"),
    [("A", "A"), ("!A", "BC-"), ("in(A, B)", "AB"), ("!in(A,B)", "C-"), ("in(C)", "C")],
)
def test_label_is_one_value_or_one_of_several_or_none_of_them(wanted: str, may: str) -> None:
    want = Want(labels={"card": wanted})
    nodes = {name: Node(1, 0, {} if name == "-" else {"card": name}) for name in "ABC-"}
    assert {name for name, node in nodes.items() if want.may_run_on(node)} == set(may)


def test_label_that_ray_would_not_understand_is_refused(config: Callable[..., Config]) -> None:
    with pytest.raises(ConfigError, match="llm_labels"):
        config(llm_labels={"card": "A or B"})


@given(st.lists(st.integers(1, 4), max_size=6), st.lists(st.integers(1, 4), max_size=6))
def test_what_is_held_never_exceeds_what_there_is(nodes: list[int], workers: list[int]) -> None:
    if can_hold([Node(99, gpus) for gpus in nodes], [Want(1, gpus) for gpus in workers]):
        assert sum(workers) <= sum(nodes)
        assert max(workers, default=0) <= max(nodes, default=0)
