"""Which kinds of answers a language model must be able to give for a run."""

from ray_autointerp.config import Config
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.plan.step import AnswerKind, Pool


def answer_kinds(config: Config, pool: Pool) -> frozenset[AnswerKind]:
    """What the run asks of a pool's model; the explainer judges too where no judge is named."""
    pools = {pool} if config.judge else {"llm", "judge"}
    return frozenset(
        step.answer_kind
        for step in FLOW
        if step.pool in pools and step.answer_kind and methods_of(step, config)
    )
