"""What is foreseen of the LLM's bill is what a run then asks."""

import importlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from asked_by import step_of

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.llm.client import Request
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.pipeline import label
from ray_autointerp.plan.estimate import estimate
from ray_autointerp.plan.evidence import DESCRIPTION_METHODS
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.step import LLM_POOLS
from ray_autointerp.preflight.forecast import KINDS, forecast
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.run import Run

Planted = Callable[..., Config]

METHODS = [*DESCRIPTION_METHODS]


@pytest.fixture(scope="module")
def listened(
    quick_config: Planted, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Run, list[Request]]:
    """A local run of every method, and every request that it made."""
    listening = importlib.import_module("listening")
    listening.ASKED.clear()
    changes: dict[str, dict[str, Any]] = {
        "llm": {"script": "listening:noting"},
        "describe": {"methods": METHODS},
        "score": {"num_surprisal_trials": 2},
    }
    run = label(quick_config(tmp_path_factory.mktemp("heard"), changes), run_local, Silent())
    return run, list(listening.ASKED)


@pytest.fixture(scope="module")
def subject(listened: tuple[Run, list[Request]]) -> SubjectTokenizer:
    return SubjectTokenizer.load(listened[0].config.subject.model)


def tokens_of(request: Request, tokenizer: SubjectTokenizer) -> int:
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    return len(tokenizer.encode_prompt(messages)) + len(tokenizer.encode(request.answer or ""))


def with_llm(run: Run, section: dict[str, Any], **others: Any) -> Config:
    raw = run.config.model_dump() | {"llm": section} | others
    return Config.model_validate(raw)


def test_requests_are_exactly_those_that_stages_make(
    listened: tuple[Run, list[Request]],
) -> None:
    run, asked = listened
    made = Counter(step_of(request) for request in asked)
    foreseen = forecast(run.config, run.axes).steps
    assert {step: usage.num_requests for step, usage in foreseen.items()} == made
    lines = estimate(run.config, run.axes, 4, 1)
    assert {line.step: line.llm_requests for line in lines if line.llm_requests} == made


def test_prompt_tokens_are_foreseen_within_a_fifth(
    listened: tuple[Run, list[Request]], subject: SubjectTokenizer
) -> None:
    run, asked = listened
    made: Counter[str] = Counter()
    for request in asked:
        made[step_of(request)] += tokens_of(request, subject)
    foreseen = dict(forecast(run.config, run.axes).steps)
    # A planted vocabulary has few words: lists of unseen tokens are shorter than elsewhere.
    assert made["unseen_tokens"] <= foreseen.pop("unseen_tokens").num_prompt_tokens
    for step, usage in foreseen.items():
        assert usage.num_prompt_tokens == pytest.approx(made[step], rel=0.2), step


def test_trials_with_control_texts_are_foreseen_as_long_as_others(
    quick_config: Planted, quick_run: Run
) -> None:
    def foreseen(*kinds: str) -> Usage:
        score = {"control_texts": kinds, "three_set_methods": []}
        config = quick_config("x", {"select": {"controls": 4}, "score": score})
        usage = forecast(config, quick_run.axes).steps["output_score"]
        lines = {line.step: line for line in estimate(config, quick_run.axes, 4, 1)}
        assert usage.num_requests == lines["output_score"].llm_requests
        return usage

    without, one, both = (
        foreseen(),
        foreseen("unsteered"),
        foreseen("unsteered", "random_direction"),
    )
    more = one.num_requests - without.num_requests
    assert more > 0 and both.num_requests == without.num_requests + 2 * more
    per_request = [usage.num_prompt_tokens / usage.num_requests for usage in (without, both)]
    assert per_request[0] == pytest.approx(per_request[1], rel=0.02)


def test_tokenizer_that_is_not_the_llms_own_is_said(quick_run: Run) -> None:
    config = with_llm(quick_run, {"backend": "scripted", "script": "bad_day:garbage"})
    (note,) = forecast(config, quick_run.axes).notes
    assert "bad_day:garbage" in note
    assert "subject's tokenizer" in note


def test_endpoint_has_no_tokenizer_and_no_known_cache(quick_run: Run) -> None:
    section = {"backend": "endpoint", "model": "big", "endpoints": ["http://127.0.0.1:9/v1"]}
    foreseen = forecast(with_llm(quick_run, section), quick_run.axes)
    assert "big (of the endpoint backend)" in foreseen.notes[0]
    assert all(usage.num_cached_tokens == 0 for usage in foreseen.steps.values())


def test_vllm_counts_by_its_own_tokenizer_and_keeps_beginnings(
    quick_run: Run, planted: PlantedTruth
) -> None:
    section = {"backend": "vllm", "model": str(planted.folder / "subject")}
    foreseen = forecast(with_llm(quick_run, section), quick_run.axes)
    assert foreseen.notes == ()
    for step, usage in foreseen.steps.items():
        if step != "intervention_surprisal":  # it is off
            assert 0 < usage.num_cached_tokens < usage.num_prompt_tokens


def test_given_answers_follow_prompts_that_are_read_from_the_cache(
    quick_run: Run, planted: PlantedTruth
) -> None:
    section = {"backend": "vllm", "model": str(planted.folder / "subject")}
    score = quick_run.config.score.model_copy(update={"num_surprisal_trials": 2})
    config = with_llm(quick_run, section, score=score)
    usage = forecast(config, quick_run.axes).steps["intervention_surprisal"]
    assert 0 < usage.num_cached_tokens < usage.num_prompt_tokens
    assert usage.num_requests == usage.num_generated_tokens > 0


def test_judge_of_its_own_counts_its_own(quick_run: Run, planted: PlantedTruth) -> None:
    """One LLM is known, the other is not: each step is counted by the one it asks."""
    own = {"backend": "vllm", "model": str(planted.folder / "subject")}
    other = {"backend": "vllm", "model": "nobody/nothing"}
    foreseen = forecast(with_llm(quick_run, own, judge=other), quick_run.axes)
    (note,) = foreseen.notes
    assert "nobody/nothing (whose own is not here)" in note
    blocks = [own, {**other, "engine_args": {"block_size": 100_000}}]
    foreseen = forecast(with_llm(quick_run, blocks[0], judge=blocks[1]), quick_run.axes)
    cached = {step: usage.num_cached_tokens for step, usage in foreseen.steps.items()}
    assert cached["output_score"] == 0 < cached["explain"]


@pytest.mark.parametrize(
    ("section", "change", "step", "what"),
    [
        ("evidence", {"excerpt_tokens": 8}, "explain", "num_prompt_tokens"),
        ("describe", {"num_examples": 2}, "explain", "num_prompt_tokens"),
        ("describe", {"num_tokens_shown": 2}, "explain", "num_prompt_tokens"),
        ("describe", {"cap_words": 10}, "explain", "num_generated_tokens"),
        ("score", {"num_sentences": 1}, "write_sentences", "num_generated_tokens"),
        ("steering", {"new_tokens": 2}, "output_score", "num_prompt_tokens"),
        ("score", {"three_set_methods": ()}, "output_score", "num_prompt_tokens"),
        ("score", {"num_unseen_trials": 0}, "unseen_tokens", "num_requests"),
        ("evidence", {"excerpt_tokens": 8}, "detection", "num_prompt_tokens"),
        ("score", {"texts_per_prompt": 1}, "detection", "num_prompt_tokens"),
        ("score", {"detection_texts": 3}, "detection", "num_requests"),
        ("evidence", {"excerpt_tokens": 8}, "fuzzing", "num_prompt_tokens"),
        ("score", {"fuzzing_texts": 0}, "fuzzing", "num_requests"),
    ],
)
def test_what_the_config_makes_shorter_is_foreseen_shorter(
    quick_run: Run, section: str, change: dict[str, Any], step: str, what: str
) -> None:
    before = forecast(quick_run.config, quick_run.axes)
    changed = getattr(quick_run.config, section).model_copy(update=change)
    after = forecast(quick_run.config.model_copy(update={section: changed}), quick_run.axes)
    assert getattr(after.steps[step], what) < getattr(before.steps[step], what)


def test_forecast_is_the_same_every_time(quick_run: Run) -> None:
    assert forecast(quick_run.config, quick_run.axes) == forecast(quick_run.config, quick_run.axes)


def test_every_step_that_asks_an_llm_is_foreseen() -> None:
    assert KINDS.keys() == {step.name for step in FLOW if step.pool in LLM_POOLS}
