"""Which kinds of answers a language model must be able to give for a run."""

from ray_autointerp.config import Config
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.plan.step import AnswerKind, Pool, Step


def answer_kinds(config: Config, pool: Pool) -> frozenset[AnswerKind]:
    """What the run asks of a pool's model; the explainer judges too where no judge is named."""
    pools = {pool} if config.judge else {"llm", "judge"}
    found = {
        _kind(step, method, config)
        for step in FLOW
        if step.pool in pools
        for method in methods_of(step, config)
    }
    return frozenset(kind for kind in found if kind is not None)


def _kind(step: Step, method: str | None, config: Config) -> AnswerKind | None:
    if not callable(step.answer_kind):
        return step.answer_kind
    assert method is not None, f"{step.name} tells the form of its answers by method"
    return step.answer_kind(method, config)
