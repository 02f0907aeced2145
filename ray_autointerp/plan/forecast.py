"""What the LLM of a run is foreseen to use; preflight/forecast.py counts it."""

from collections.abc import Mapping
from dataclasses import dataclass

from ray_autointerp.config import Config, LLMSection
from ray_autointerp.plan.step import Step
from ray_autointerp.records.usage import Usage


@dataclass(frozen=True)
class Forecast:
    """What the LLM steps will use."""

    steps: Mapping[str, Usage]
    """By step. Cached tokens are the least that vLLM's cache gives: what prompts of one kind share.
    Of endpoints nothing is known, so none."""
    notes: tuple[str, ...]
    """What the numbers rest on where it is less than it should be, a sentence each."""


def asked_of(step: Step, config: Config) -> LLMSection:
    """The LLM that a step asks."""
    return config.judging if step.pool == "judge" else config.llm
