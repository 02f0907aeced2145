"""How many questions a task asks: what the stages do, said beforehand."""

from collections.abc import Callable

import pytest

from ray_autointerp.config import Config
from ray_autointerp.plan.estimate import estimate, num_requests
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.plan.units import JUDGEMENTS_PER_UNIT
from ray_autointerp.prompts.ensemble import CONCAT_ORDER
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run

Planted = Callable[..., Config]


def asked(config: Config, step: str, method: str | None, num_latents: int = 5) -> int:
    return num_requests(Task(step, "planted", method, 0, 2), config, num_latents)


def test_an_explainer_is_asked_once_a_latent_and_concat_once_a_part(quick_config: Planted) -> None:
    config = quick_config("x")
    for method in ("max_act", "vocab_proj", "token_change", "ensemble_raw"):
        assert asked(config, "explain", method) == 5
    assert asked(config, "explain", "ensemble_concat") == 5 * len(CONCAT_ORDER)


def test_writer_is_asked_once_a_draw(quick_config: Planted) -> None:
    config = quick_config("x", {"score": {"num_draws": 3}})
    assert asked(config, "write_sentences", "keywords") == 5 * 3


def test_judge_is_asked_in_both_orders_of_both_descriptions(quick_config: Planted) -> None:
    config = quick_config("x", {"score": {"num_units": 7}})
    assert asked(config, "output_score", "keywords") == 5 * 7 * JUDGEMENTS_PER_UNIT
    assert asked(config, "output_score", "ensemble_raw") == 5 * (7 * JUDGEMENTS_PER_UNIT + 1)


def test_judge_is_asked_once_about_every_text(quick_config: Planted) -> None:
    texts = {"detection_texts": 6, "detection_near_misses": 2, "fuzzing_texts": 4}
    config = quick_config("x", {"score": texts})
    assert asked(config, "detection", "keywords") == 5 * (6 + 6 + 2)
    assert asked(config, "fuzzing", "keywords") == 5 * (4 + 4)


@pytest.mark.parametrize("step", ["detection", "fuzzing"])
def test_step_that_is_switched_off_has_no_tasks_and_no_requests(
    quick_config: Planted, quick_run: Run, step: str
) -> None:
    config = quick_config("x", {"score": {f"{step}_texts": 0}})
    assert list(methods_of(step_named(step), config)) == []
    lines = {line.step: line for line in estimate(config, quick_run.axes, 4, 1)}
    assert (lines[step].num_tasks, lines[step].llm_requests) == (0, 0)
    assert list(methods_of(step_named(step), quick_run.config)) != []


@pytest.mark.parametrize("step", [step.name for step in FLOW if step.pool not in LLM_POOLS])
def test_other_steps_ask_nothing(quick_config: Planted, step: str) -> None:
    assert asked(quick_config("x"), step, None) == 0


@pytest.mark.parametrize("step", [step.name for step in FLOW if step.pool in LLM_POOLS])
def test_every_step_of_an_llm_asks_something(quick_config: Planted, step: str) -> None:
    assert asked(quick_config("x"), step, "ensemble_raw", 1) > 0
    assert asked(quick_config("x"), step, "ensemble_raw", 0) == 0
