"""Killing engines changes nothing that is published: with a scripted LLM no byte."""

from collections.abc import Callable
from pathlib import Path

import pytest
from killers import Killer

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import OverBudget
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import Runner, label
from ray_autointerp.runs.answers import spent
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.parquet import read_table

Planted = Callable[..., Config]
Contents = Callable[[str], dict[str, str]]
SLOW = {"llm": {"script": "bad_day:slow"}}
WORKER = "ray::LLMWorker.work"
"""One that is at work: with a pool for the judge, another may have nothing to do."""


def test_killed_engines_change_no_byte_of_any_table(
    quick_config: Planted, ray_runner: Runner, tmp_path: Path, contents: Contents
) -> None:
    """Nor does a judge of its own, in a pool that may grow: it is the same script."""
    undisturbed = label(quick_config(tmp_path / "local", SLOW), run_local, Silent())
    killer = Killer(("explain", WORKER), ("write_sentences", WORKER), ("output_score", WORKER))
    changes = {**SLOW, "operations": {"judge_workers": [1, 2]}}
    config = quick_config(tmp_path / "killed", changes)
    run = label(config.model_copy(update={"judge": config.llm}), ray_runner, killer)
    assert killer.num_killed == 3
    assert killer.lost, "some task was lost with its worker"
    assert contents(run.uri) == contents(undisturbed.uri)
    tables = Tables(run)
    answers = [
        key
        for name in tables.store.list("answers/")
        for key in read_table(tables.store, name)["key"].to_pylist()
    ]
    assert answers, "what was answered was kept"


def test_ceiling_over_two_engines_stops_both_and_a_higher_one_continues(
    quick_config: Planted, ray_runner: Runner, tmp_path: Path, contents: Contents
) -> None:
    """Neither engine alone comes near the ceiling that both together reach."""

    def config(root: str, max_tokens: int, at_once: int = 32) -> Config:
        changes = {
            "llm": {"script": "bad_day:dear", "requests_in_flight": at_once},
            "operations": {"llm_workers": 2},
            "budget": {"max_tokens": max_tokens},
        }
        return quick_config(tmp_path / root, changes)

    unbounded = label(config("unbounded", 10**9), run_local, Silent())
    whole = spent(Tables(unbounded).store).num_tokens
    # Few at once: what is in flight is answered, however far over the ceiling.
    with pytest.raises(OverBudget, match=r"ceiling .* is reached"):
        label(config("run", whole // 2, at_once=2), ray_runner, Silent())
    run = label(config("run", 10**9), ray_runner, Silent())
    assert contents(run.uri) == contents(unbounded.uri)
    assert spent(Tables(run).store).num_tokens == whole, "nothing was paid for twice"
