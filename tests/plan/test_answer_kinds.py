"""Which answers each model must be able to give."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ray_autointerp.config import Config
from ray_autointerp.plan.answer_kinds import answer_kinds
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.step import LLM_POOLS

JUDGE = {"judge": {"backend": "scripted", "script": "bad_day:garbage"}}
UNSCORED: dict[str, dict[str, Any]] = {"score": {"methods": [], "three_set_methods": []}}


@pytest.fixture
def config(quick_config: Callable[..., Config], tmp_path: Path) -> Callable[..., Config]:
    return lambda *changes: quick_config(tmp_path, {k: v for c in changes for k, v in c.items()})


def test_explainer_judges_where_no_judge_is_named(config: Callable[..., Config]) -> None:
    assert answer_kinds(config(), "llm") == {"text", "json", "choice"}
    assert answer_kinds(config(JUDGE), "llm") == {"text", "json"}
    assert answer_kinds(config(JUDGE), "judge") == {"choice"}


def test_judge_alone_needs_log_probabilities_of_given_answers(
    config: Callable[..., Config],
) -> None:
    scored = {"score": {"num_surprisal_trials": 2}}
    assert answer_kinds(config(scored, JUDGE), "judge") == {"choice", "loglikelihood"}
    assert answer_kinds(config(scored, JUDGE), "llm") == {"text", "json"}
    assert "loglikelihood" in answer_kinds(config(scored), "llm")


def test_unscored_methods_need_no_judge(config: Callable[..., Config]) -> None:
    assert answer_kinds(config(UNSCORED), "llm") == {"text"}
    assert answer_kinds(config(UNSCORED, JUDGE), "judge") == set()


def test_structured_descriptions_are_json_but_a_name_is_text(config: Callable[..., Config]) -> None:
    def kinds(*methods: str) -> frozenset[str]:
        describe = {"methods": methods, "structured": True}
        return answer_kinds(config(UNSCORED, {"describe": describe}), "llm")

    assert kinds("max_act") == {"json"}
    assert kinds("named_keywords") == {"text"}
    assert kinds("max_act", "named_keywords") == {"json", "text"}


def test_every_step_that_asks_declares_the_form_of_its_answers() -> None:
    for step in FLOW:
        asks = step.pool in LLM_POOLS
        assert (step.answer_kind is not None) == (step.requests is not None) == asks, step.name
