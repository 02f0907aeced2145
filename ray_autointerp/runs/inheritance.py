"""What a run takes over from its parent: finished steps, read where they lie.

A step of one owner and variant is inherited where its digest equals the parent's and all of its
objects exist (architecture, section 6). It is resolved once, when the run begins, down to the run
that holds the tables. Labels are never inherited: they are the run's own. The panel needs no rule:
it is the first alive latents by seeded hash, and so the parent's wherever the same latents are
alive.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ray_autointerp.errors import StoreError
from ray_autointerp.plan.estimate import asked_about
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.identity import Node, Record, nodes
from ray_autointerp.plan.schedule import Schedule
from ray_autointerp.plan.shards import Axes
from ray_autointerp.runs.progress import schedule_of
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables


def finished_nodes(run: Run) -> tuple[Node, ...]:
    """What has all of its objects, but for the labels. Lists the run's store."""
    return tuple(_complete(run, schedule_of(Tables(run))))


def inherited_steps(
    parent: Run, finished: Iterable[Node], identity: Mapping[str, str]
) -> dict[str, str]:
    """By name of a node, the folder of the run that has its tables; `identity` is the new run's."""
    return {
        node.name: parent.inherits.get(node.name, parent.folder)
        for node in finished
        if node.name in parent.identity and identity.get(node.name) == parent.identity[node.name]
    }


def answered_steps(
    parent: Run,
    finished: Iterable[Node],
    before: Mapping[str, Record],
    now: Mapping[str, Record],
) -> dict[str, str]:
    """By name of a node that asks an LLM, the folder of the run whose answers may serve it: where
    the same LLM answers. `before` and `now` are the parent's and the new run's identities.
    """
    selected = {node.owner for node in finished if node.step == "select"}
    return {
        node.name: parent.inherits.get(node.name, parent.folder)
        for node in nodes(parent.config, parent.axes)
        if node.owner in selected and step_named(node.step).requests
        if node.name in before and node.name in now
        if _llm_of(before[node.name]) == _llm_of(now[node.name])
    }


def _llm_of(record: Record) -> dict[str, object]:
    """What decides the answer to a request."""
    fields = {**record["config"], **record["inputs"]}
    of_llm = ("llm.", "judge.", "input.llm", "input.judge")
    return {name: value for name, value in fields.items() if name.startswith(of_llm)}


def most_requests(run: Run) -> int:
    """What the run may ask the LLM at most, without what it inherits."""
    return sum(
        sum(asked_about(step_named(node.step), node.method, run.config, _of_one(run, node.owner)))
        for node in nodes(run.config, run.axes)
        if step_named(node.step).requests and node.name not in run.inherits
    )


def _of_one(run: Run, sae: str | None) -> Axes:
    """The run's axes with one SAE alone; None is the run as a whole."""
    if sae is None:
        return run.axes
    return replace(run.axes, latents={sae: run.axes.latents[sae]})


def require_inherited(run: Run, schedule: Schedule) -> None:
    """Raise StoreError if inherited tables are gone; the schedule has noted all that exists."""
    there = {node.name for node in _complete(run, schedule)}
    for node, folder in run.inherits.items():
        if node not in there:
            raise StoreError(
                f"The run {run.uri} uses the tables of `{node}` in {run.sibling(folder)}, and they "
                "are not there: put them back, or begin a run of another name."
            )


def _complete(run: Run, schedule: Schedule) -> Iterator[Node]:
    """Nodes whose objects all exist, but for the labels."""
    last = FLOW[-1].name
    for node in nodes(run.config, run.axes):
        if node.step != last and schedule.is_complete(node.step, node.owner, node.method):
            yield node
