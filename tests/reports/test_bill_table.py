"""The bill of a run is what a counting LLM saw, whatever became of the ledger."""

import io
from collections import Counter
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from rich.console import Console

from ray_autointerp.config import LLMSection, PriceSection
from ray_autointerp.plan.flow import step_named
from ray_autointerp.reports.bill_table import bill, bill_table
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import open_store

COUNTS = ("num_prompt_tokens", "num_cached_tokens", "num_generated_tokens")


def seen(asked: list[dict[str, Any]]) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for line in asked:
        sums[line["step"], "num_requests"] += 1
        for count in COUNTS:
            sums[line["step"], count] += line[count]
    return sums


def billed(run: Run) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for line in bill(run).lines:
        for count in ("num_requests", *COUNTS):
            sums[line.step, count] += getattr(line.usage, count)
    return sums


def test_bill_sums_to_what_the_llm_saw(counted_run: tuple[Run, list[dict[str, Any]]]) -> None:
    run, asked = counted_run
    assert billed(run) == seen(asked)
    total = bill(run).total.usage
    assert total.num_requests == len(asked)
    assert all(line.usage.engine_seconds > 0 for line in bill(run).lines)


def test_bill_survives_a_lost_ledger(
    counted_run: tuple[Run, list[dict[str, Any]]], tmp_path: Path
) -> None:
    run, asked = counted_run
    copytree(run.uri, tmp_path / "run")
    store = open_store(str(tmp_path / "run"))
    for name in store.list("ledger/"):
        store.delete(name)
    lost = bill(load_run(str(tmp_path / "run")))
    assert billed(load_run(str(tmp_path / "run"))) == seen(asked)
    assert lost.total.usage.engine_seconds == pytest.approx(
        bill(run).total.usage.engine_seconds, rel=0.05
    )


def test_money_is_at_the_price_of_explainer_and_judge(
    counted_run: tuple[Run, list[dict[str, Any]]],
) -> None:
    run, asked = counted_run
    assert not bill(run).is_priced
    assert bill(run).total.money == 0
    explainer = run.config.llm.model_copy(update={"price": PriceSection(prompt=1000.0)})
    judge = LLMSection(
        backend="scripted", script="a:b", price=PriceSection(prompt=5000.0, cached=0.0)
    )
    prices = run.config.model_copy(update={"llm": explainer, "judge": judge})
    made = bill(run, prices)
    by_hand = sum(
        (line["num_prompt_tokens"] - line["num_cached_tokens"]) * 5000.0 / 1e6
        if step_named(line["step"]).pool == "judge"
        else line["num_prompt_tokens"] * 1000.0 / 1e6
        for line in asked
    )
    assert made.is_priced
    assert made.total.money == pytest.approx(by_hand)


def test_table_shows_every_step_the_sum_and_a_latents_share(
    counted_run: tuple[Run, list[dict[str, Any]]],
) -> None:
    run, asked = counted_run
    made = bill(run)
    console = Console(file=io.StringIO(), width=100)
    console.print(bill_table(made))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for line in asked:
        assert line["step"] in shown
    assert f"{len(asked):,}" in shown
    assert f"{len(asked) / made.num_latents:,.1f}" in shown
    assert f"{len(asked):,} requests" in made.sentence


def test_run_without_answers_has_an_empty_bill(
    counted_run: tuple[Run, list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text(
        (Path(counted_run[0].uri) / "manifest.json").read_text()
    )
    made = bill(load_run(str(tmp_path)))
    assert (made.lines, made.num_latents) == ((), 0)
