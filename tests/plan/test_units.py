"""How many questions a task asks, and about which texts: what the stages do, said beforehand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config
from ray_autointerp.plan.controls import CONTROL_TEXTS, shuffled
from ray_autointerp.plan.estimate import estimate, num_requests
from ray_autointerp.plan.flow import FLOW, step_named
from ray_autointerp.plan.shards import methods_of
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.plan.units import (
    JUDGEMENTS_PER_UNIT,
    control_texts_per_latent,
    kl_targets,
    published_units,
    surprisal_units,
    texts_of,
    texts_per_latent,
    three_set_texts,
    two_set_units,
    unsteered_keys,
)
from ray_autointerp.prompts.ensemble import SINGLE_ORDER
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run

Planted = Callable[..., Config]


def asked(config: Config, step: str, method: str | None, num_latents: int = 5) -> int:
    return num_requests(Task(step, "planted", method, 0, 2), config, num_latents)


def test_an_explainer_is_asked_once_a_latent_and_concat_once_a_part(quick_config: Planted) -> None:
    config = quick_config("x")
    for method in ("max_act", "vocab_proj", "token_change", "ensemble_raw", "named_keywords"):
        assert asked(config, "explain", method) == 5
    for method in ("ensemble_concat_uncapped", "name"):
        assert asked(config, "explain", method) == 0
    assert asked(config, "explain", "ensemble_concat") == 5 * len(SINGLE_ORDER)


@pytest.mark.parametrize(("label_by", "draws"), [("trials", 3 + 4), ("order", 3)])
def test_writer_is_asked_once_a_draw_and_for_those_that_choose(
    quick_config: Planted, label_by: str, draws: int
) -> None:
    score = {"num_draws": 3, "num_choosing_draws": 4}
    config = quick_config("x", {"score": score, "describe": {"label_by": label_by}})
    assert asked(config, "write_sentences", "keywords") == 5 * draws


def test_judge_is_asked_in_both_orders_of_both_descriptions(quick_config: Planted) -> None:
    config = quick_config("x", {"score": {"num_units": 7, "num_choosing_units": 3}})
    assert asked(config, "output_score", "keywords") == 5 * 10 * JUDGEMENTS_PER_UNIT
    assert asked(config, "output_score", "ensemble_raw") == 5 * (10 * JUDGEMENTS_PER_UNIT + 1)


@pytest.mark.parametrize("control", [shuffled("keywords"), "name"])
def test_what_never_becomes_a_label_has_no_choosing_trials(
    quick_config: Planted, control: str
) -> None:
    score = {"num_units": 7, "num_unseen_trials": 5, "num_draws": 3}
    config = quick_config("x", {"score": score})
    assert asked(config, "output_score", control) == 5 * 7 * JUDGEMENTS_PER_UNIT
    assert asked(config, "unseen_tokens", control) == 5 * 5 * JUDGEMENTS_PER_UNIT
    assert asked(config, "write_sentences", control) == 5 * 3


def test_control_texts_are_asked_about_in_the_shards_of_the_control_sample(
    quick_config: Planted,
) -> None:
    """The first published units; controls come first in the selection."""
    select = {"panel": 4, "sample": 3, "controls": 7}
    score = {"num_units": 6, "num_control_units": 3}
    config = quick_config("x", {"select": select, "score": score})
    more = len(CONTROL_TEXTS) * 3 * JUDGEMENTS_PER_UNIT

    def requests(shard: int, method: str) -> int:
        return num_requests(Task("output_score", "planted", method, shard, 3), config, 5)

    ordinary = requests(2, "keywords")
    assert [requests(shard, "keywords") - ordinary for shard in range(3)] == [5 * more, 2 * more, 0]
    assert requests(0, shuffled("keywords")) == requests(2, shuffled("keywords"))
    wanted = {text for unit in published_units(config)[:3] for text in texts_of(unit, config)}
    assert control_texts_per_latent(config) == sorted(wanted)


def test_published_and_choosing_trials_on_unseen_tokens_are_asked_alike(
    quick_config: Planted,
) -> None:
    config = quick_config("x", {"score": {"num_unseen_trials": 5, "num_choosing_trials": 3}})
    assert asked(config, "unseen_tokens", "keywords") == 5 * 8 * JUDGEMENTS_PER_UNIT
    off = quick_config("x", {"score": {"num_unseen_trials": 0}})
    assert methods_of(step_named("unseen_tokens"), off) == ()


def test_judge_is_asked_once_about_every_text(quick_config: Planted) -> None:
    texts = {"detection_texts": 6, "detection_near_misses": 2, "fuzzing_texts": 4}
    config = quick_config("x", {"score": texts})
    assert asked(config, "detection", "keywords") == 5 * (6 + 6 + 2)
    assert asked(config, "fuzzing", "keywords") == 5 * (4 + 4)


def test_surprisal_is_asked_after_either_set_of_the_first_units(quick_config: Planted) -> None:
    score = {"num_units": 7, "num_surprisal_trials": 5}
    targets = {"kl_targets": [0.5, 1.0], "num_prompts": 5}
    config = quick_config("x", {"score": score, "steering": targets})
    for method in ("keywords", shuffled("keywords")):
        assert asked(config, "intervention_surprisal", method) == 5 * 5 * 2
    units = surprisal_units(config)
    assert units == published_units(config)[:5]
    steered = {text for unit in units for text in texts_of(unit, config)}
    assert unsteered_keys(config) == sorted({(text.prompt, text.draw) for text in steered})
    assert steered <= set(texts_per_latent(config))


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


@pytest.mark.parametrize("step", [s.name for s in FLOW if s.requests and s.split == "selection"])
def test_every_step_of_an_llm_asks_something(quick_config: Planted, step: str) -> None:
    config = quick_config("x", {"score": {"num_surprisal_trials": 2}})
    assert asked(config, step, "ensemble_raw", 1) > 0
    assert asked(config, step, "ensemble_raw", 0) == 0


def test_judge_is_checked_once_a_run_in_both_orders(quick_config: Planted) -> None:
    config = quick_config("x")
    assert asked(config, "judge_check", "detection", 1) == 2
    assert asked(config, "judge_check", "detection", 500) == 2


def parsed(**changes: Any) -> Config:
    raw: dict[str, Any] = {
        "run": {"name": "t"},
        "subject": {"model": "m"},
        "sae": [{"id": "s", "path": "sae"}],
        "corpus": {"path": "c.parquet"},
        "llm": {"backend": "scripted", "script": "m:f"},
        "score": {},
        "steering": {},
    }
    for name, value in changes.items():
        section = "steering" if name in ("num_prompts", "kl_targets") else "score"
        raw[section][name] = value
    return parse_config(raw, Path("t.toml"))


@given(
    num_units=st.integers(1, 30),
    num_choosing_units=st.sampled_from([0, 2, 5]),
    num_prompts=st.integers(3, 12),
    texts_per_set=st.integers(1, 3),
    kl_targets=st.sampled_from([[1.0], [0.5, 2.0]]),
)
def test_units_have_texts_of_their_own_and_prompts_come_before_anything_is_repeated(
    num_units: int,
    num_choosing_units: int,
    num_prompts: int,
    texts_per_set: int,
    kl_targets: list[float],
) -> None:
    config = parsed(
        num_units=num_units,
        num_choosing_units=num_choosing_units,
        num_prompts=num_prompts,
        texts_per_set=texts_per_set,
        kl_targets=kl_targets,
    )
    units = two_set_units("keywords", config)
    assert [is_choosing for is_choosing, _ in units] == sorted(
        [False] * num_units + [True] * num_choosing_units
    )
    assert published_units(config) == [unit for is_choosing, unit in units if not is_choosing]
    sets = [texts_of(unit, config) for _, unit in units]
    texts = [text for members in sets for text in members]
    assert len(set(texts)) == len(texts) == len(units) * texts_per_set
    assert texts_per_latent(config) == sorted(texts)
    for members in sets:
        assert len({text.prompt for text in members}) == texts_per_set, "no prompt stands twice"
        assert len({(text.sign, text.kl_target, text.draw) for text in members}) == 1
    first = sets[: num_prompts // texts_per_set]
    prompts = [text.prompt for members in first for text in members]
    assert len(set(prompts)) == len(prompts) and max(prompts) < num_prompts
    assert {text.kl_target for members in first for text in members} == {max(kl_targets)}


def test_units_of_one_target_go_on_with_further_draws() -> None:
    config = parsed(num_units=5, num_prompts=8, texts_per_set=4)
    assert [unit.text_set for unit in published_units(config)] == [0, 1, 2, 3, 4]
    draws = [texts_of(unit, config)[0].draw for unit in published_units(config)]
    assert draws == [0, 0, 1, 1, 2]


def test_three_sets_are_the_papers_whatever_steering_says() -> None:
    texts = three_set_texts()
    assert len(texts) == len(set(texts)) == 12
    assert {text.prompt for text in texts} == {0, 1, 2}
    assert {text.sign for text in texts} == {1, -1}
    assert {text.kl_target for text in texts} == {0.25, 0.5}
    plain, parity = parsed(), parsed(three_set_methods=["keywords"])
    assert kl_targets(plain) == [1.0] and kl_targets(parity) == [0.25, 0.5, 1.0]
    assert set(texts_per_latent(parity)) == {*texts_per_latent(plain), *texts}
    assert not set(texts) & set(texts_per_latent(plain))
