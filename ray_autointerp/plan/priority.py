"""Which of two ready tasks goes first: pure, from the flow and the config.

What may refuse the run goes before all else. The LLM is the slowest and dearest pool, so a worker
then does what most LLM steps still wait for, and last what only publishing waits for. Among equals
goes first what is made once for all chosen latents (a shard of those feeds the LLM with itself
alone, and there are thousands); then the deeper step, so that finished scores stream out early;
then one SAE after the other, so that workers seldom load another, and of each the panel's shards,
which every output score reads.
"""

from functools import cache

from ray_autointerp.config import Config
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.reads import variants_read
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.records.task import Task

_Node = tuple[str, str | None]
"""A step and one of its methods."""

Rank = tuple[bool, int, bool, int, str, int, str]
"""What ready tasks are sorted by."""


class Priority:
    """The order of tasks: sort by `rank`."""

    def __init__(self, config: Config) -> None:
        self._depth = {step.name: depth for depth, step in enumerate(FLOW)}
        self._may_refuse = {step.name: step.may_refuse for step in FLOW}
        self._is_by_chosen = {step.name: step.split == "selection" for step in FLOW}
        self._llm_steps_after = llm_steps_after(config)

    def rank(self, task: Task) -> Rank:
        """Smaller goes first."""
        after, depth = self._llm_steps_after[task.step, task.method], self._depth[task.step]
        return (
            not self._may_refuse[task.step],
            -after,
            self._is_by_chosen[task.step],
            -depth,
            task.sae or "",
            task.shard,
            task.method or "",
        )


def llm_steps_after(config: Config) -> dict[_Node, int]:
    """By step and method, the LLM steps in a row that wait for it, directly or not.

    LLM steps themselves all count as one: in their own pool depth alone decides.
    """
    readers: dict[_Node, set[_Node]] = {}
    pools = {step.name: step.pool for step in FLOW}
    for step in FLOW:
        for method in methods_of(step, config):
            for _, made, variant in variants_read(step, method, config):
                readers.setdefault((made.name, variant), set()).add((step.name, method))

    @cache
    def after(node: _Node) -> int:
        return max(
            ((pools[name] in LLM_POOLS) + after((name, m)) for name, m in readers.get(node, ())),
            default=0,
        )

    nodes = [(step.name, method) for step in FLOW for method in methods_of(step, config)]
    return {node: 1 if pools[node[0]] in LLM_POOLS else after(node) for node in nodes}
