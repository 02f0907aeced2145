"""Whether a cluster's nodes can hold the workers of a run, and the sentence that says what lacks.

Ray lets an actor that fits on no node wait without end; so what can never be placed is refused
before the run begins.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ray_autointerp.config import Config, bounds

_NAMES = {
    "cpu": "A worker for steps without a model",
    "subject": "A subject worker",
    "llm": "An LLM worker",
    "judge": "A judge worker",
}


@dataclass(frozen=True)
class Node:
    """A node of the cluster, or one that its autoscaler may start."""

    cpus: float
    gpus: float = 0
    labels: Mapping[str, str] | None = None
    """None where they are not known: it may have any."""


@dataclass(frozen=True)
class Want:
    """What one worker of a pool asks Ray for."""

    cpus: float = 1
    gpus: float = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    """By label the value that a node must have: `A`, `!A`, `in(A, B)` or `!in(A, B)`."""

    def may_run_on(self, node: Node) -> bool:
        """Whether the node has the labels."""
        known = node.labels
        return known is None or all(_has(known, *label) for label in self.labels.items())


def wants(config: Config) -> dict[str, Want]:
    """What one worker of each pool of the run takes, by pool."""
    found = {"cpu": Want()}
    for pool in ("subject", "llm", "judge") if config.judge else ("subject", "llm"):
        gpus = getattr(config.operations, f"{pool}_gpus")
        is_auto = bounds_of(config, pool)[1] is None
        # A pool without a bound must not take more cores than there are.
        cpus = config.operations.threads if is_auto and not gpus else 1
        found[pool] = Want(cpus, gpus, getattr(config.operations, f"{pool}_labels"))
    return found


def bounds_of(config: Config, pool: str) -> tuple[int, int | None]:
    """The smallest and largest size of a pool; None where the cluster alone bounds it."""
    return bounds(getattr(config.operations, f"{pool}_workers"))


def local_cpus(config: Config, num_gpus: int) -> int:
    """Logical CPUs of a Ray that is started here: every pool fits at its largest, since the pools
    share the real ones; a pool without a bound and without GPUs has one worker.
    """
    total = 0.0
    for pool, want in wants(config).items():
        _, most = bounds_of(config, pool)
        if most is None:
            most = max(1, int(num_gpus / want.gpus)) if want.gpus else 1
        total += most * want.cpus
    return int(total)


def at_once(config: Config) -> tuple[tuple[str, ...], ...]:
    """The pools whose workers are alive at the same time."""
    asking = ("llm", "judge") if config.judge else ("llm",)
    if config.operations.take_turns:
        return ("cpu", "subject"), ("cpu", *asking)
    return (("cpu", "subject", *asking),)


def can_hold(nodes: Iterable[Node], workers: Iterable[Want]) -> bool:
    """Whether all these workers fit on the nodes, each whole on one: the hardest to place first."""
    packing = Packing(nodes)
    hardest = sorted(workers, key=lambda w: (bool(w.labels), w.gpus, w.cpus), reverse=True)
    return all(packing.add(want) for want in hardest)


class Packing:
    """Workers on nodes, one after another, each on the fullest node that has room for it: so whole
    nodes stay free for those who need them, and GPUs for those who need any.
    """

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._rooms = [_Room(node, node.cpus, node.gpus) for node in nodes]

    def add(self, want: Want) -> bool:
        """Give the worker its place; False where there is none."""
        fitting = (room for room in self._rooms if room.fits(want))
        room = min(fitting, key=lambda room: (room.gpus, room.cpus), default=None)
        if room is None:
            return False
        room.cpus -= want.cpus
        room.gpus -= want.gpus
        return True


@dataclass
class _Room:
    """What is free on a node."""

    node: Node
    cpus: float
    gpus: float

    def fits(self, want: Want) -> bool:
        enough = self.cpus >= want.cpus - _EPSILON and self.gpus >= want.gpus - _EPSILON
        return enough and want.may_run_on(self.node)


def _has(labels: Mapping[str, str], label: str, wanted: str) -> bool:
    values = wanted.removeprefix("!").removeprefix("in(").removesuffix(")")
    is_one = labels.get(label) in [value.strip() for value in values.split(",")]
    return is_one != wanted.startswith("!")


_EPSILON = 1e-9
"""Shares of a GPU such as 0.1 do not sum exactly."""


def lack(config: Config, nodes: Sequence[Node], *, is_here: bool = False) -> str | None:
    """The sentence that says which worker can never be placed; None where each can.

    `nodes` include those that an autoscaler may start; `is_here`: they are this machine alone.
    """
    found = wants(config)
    for pool, want in found.items():
        if sentence := _lack_of_one(pool, want, nodes, is_here):
            return sentence
    for pools in at_once(config):
        if not can_hold(nodes, [found[pool] for pool in pools]):
            return _lack_together(pools, found, nodes, is_here)
    return None


def _lack_of_one(pool: str, want: Want, nodes: Sequence[Node], is_here: bool) -> str | None:
    if can_hold(nodes, [want]):
        return None
    labelled = [node for node in nodes if want.may_run_on(node)]
    if nodes and not labelled:
        labels = ", ".join(f"{label} = {value}" for label, value in want.labels.items())
        return (
            f"{_NAMES[pool]} wants a node with {labels}, and no node of the cluster has it "
            f"({described(nodes)}{_values(nodes, want)}): change operations.{pool}_labels, or add "
            "such nodes."
        )
    nodes = labelled
    place, field_name = _place(is_here), f"operations.{pool}_gpus"
    more = "RAY_ADDRESS to a cluster that has some" if is_here else "add nodes with GPUs"
    most = max((node.gpus for node in nodes), default=0)
    start = f"{_NAMES[pool]} wants {_amounts(want.cpus if not want.gpus else 0, want.gpus)}"
    if want.gpus and not most:
        none = "has none" if is_here else "has one"
        whose = place if is_here else f"no node of {place}"
        more = more if not is_here else f"set {more}"
        return f"{start} and {whose} {none} ({described(nodes)}): set {field_name} = 0, or {more}."
    if want.gpus > most:
        holder = place if is_here else f"the largest node of {place}"
        return (
            f"{start} of one node, and {holder} has {_amounts(0, most)} ({described(nodes)}): "
            f"lower {field_name}, and `tensor_parallel_size` in `engine_args` with it, or "
            f"{'set RAY_ADDRESS to a cluster with larger nodes' if is_here else 'add such nodes'}."
        )
    beside = f"{_amounts(want.cpus, 0)} beside {'them' if want.gpus > 1 else 'it'}"
    needs = beside if want.gpus else "that"
    return f"{start}, and no node of {place} has {needs} ({described(nodes)}): add such nodes."


def _lack_together(
    pools: Iterable[str], found: Mapping[str, Want], nodes: Sequence[Node], is_here: bool
) -> str:
    each = [f"{pool} {_amounts(found[pool].cpus, found[pool].gpus)}" for pool in pools]
    turns = ""
    if any(found[pool].gpus for pool in pools) and "subject" in pools and "llm" in pools:
        turns = "set operations.take_turns = true, give each a fraction of a GPU, or "
    return (
        f"One worker of each pool ({'; '.join(each)}) does not fit on {_place(is_here)} at once "
        f"({described(nodes)}), and they would wait for each other without end: {turns}"
        f"{'set RAY_ADDRESS to a larger cluster' if is_here else 'add nodes'}."
    )


def unplaced(pool: str, want: Want, nodes: Sequence[Node]) -> str:
    """The sentence about a pool whose tasks wait because no node has had room for its worker."""
    return (
        f"{_NAMES[pool]} wants {_amounts(want.cpus, want.gpus)}, and no node of the cluster has "
        f"had that free for a while ({described(nodes)}): its tasks wait until one has. `ray "
        "status` shows who holds what."
    )


def described(nodes: Sequence[Node]) -> str:
    """What a cluster has: `3 nodes: 8 CPUs each`, or `2 nodes: 1 with 4 CPUs, 1 with 1 GPU`."""
    kinds = Counter((node.cpus, node.gpus) for node in nodes)
    number = f"{len(nodes)} node{'' if len(nodes) == 1 else 's'}"
    if not kinds:
        return "no nodes"
    if len(kinds) == 1:
        ((cpus, gpus),) = kinds
        return f"{number}: {_amounts(cpus, gpus)}{' each' if len(nodes) > 1 else ''}"
    parts = (f"{count} with {_amounts(*kind)}" for kind, count in sorted(kinds.items()))
    return f"{number}: {', '.join(parts)}"


def _values(nodes: Sequence[Node], want: Want) -> str:
    """What the nodes' labels say instead."""
    found = {
        f"{label} = {node.labels[label]}"
        for node in nodes
        for label in want.labels
        if node.labels and label in node.labels
    }
    return "; there is " + ", ".join(sorted(found)[:5]) if found else ""


def _place(is_here: bool) -> str:
    return "this machine" if is_here else "the cluster"


def _amounts(cpus: float, gpus: float) -> str:
    amounts = ((cpus, "CPU"), (gpus, "GPU"))
    named = [f"{number:g} {name}{'s' if number > 1 else ''}" for number, name in amounts if number]
    return " and ".join(named) or "no CPU"
