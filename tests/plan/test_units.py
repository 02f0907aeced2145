"""How many questions a task asks: what the stages do, said beforehand."""

from collections.abc import Callable

import pytest

from ray_autointerp.config import Config
from ray_autointerp.plan.estimate import num_requests
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.plan.units import JUDGEMENTS_PER_UNIT
from ray_autointerp.prompts.ensemble import SINGLE_ORDER
from ray_autointerp.records.task import Task

Planted = Callable[..., Config]


def asked(config: Config, step: str, method: str | None, num_latents: int = 5) -> int:
    return num_requests(Task(step, "planted", method, 0, 2), config, num_latents)


def test_an_explainer_is_asked_once_a_latent_and_concat_once_a_part(quick_config: Planted) -> None:
    config = quick_config("x")
    for method in ("max_act", "vocab_proj", "token_change", "ensemble_raw", "named_keywords"):
        assert asked(config, "explain", method) == 5
    assert asked(config, "explain", "ensemble_concat_uncapped") == 0
    assert asked(config, "explain", "ensemble_concat") == 5 * len(SINGLE_ORDER)


def test_writer_is_asked_once_a_draw(quick_config: Planted) -> None:
    config = quick_config("x", {"score": {"num_draws": 3}})
    assert asked(config, "write_sentences", "keywords") == 5 * 3


def test_judge_is_asked_in_both_orders_of_both_descriptions(quick_config: Planted) -> None:
    config = quick_config("x", {"score": {"num_units": 7}})
    assert asked(config, "output_score", "keywords") == 5 * 7 * JUDGEMENTS_PER_UNIT
    assert asked(config, "output_score", "ensemble_raw") == 5 * (7 * JUDGEMENTS_PER_UNIT + 1)


@pytest.mark.parametrize("step", [step.name for step in FLOW if step.pool not in LLM_POOLS])
def test_other_steps_ask_nothing(quick_config: Planted, step: str) -> None:
    assert asked(quick_config("x"), step, None) == 0


@pytest.mark.parametrize("step", [step.name for step in FLOW if step.pool in LLM_POOLS])
def test_every_step_of_an_llm_asks_something(quick_config: Planted, step: str) -> None:
    assert asked(quick_config("x"), step, "ensemble_raw", 1) > 0
    assert asked(quick_config("x"), step, "ensemble_raw", 0) == 0
