"""The plan as people read it: what the LLM will use, what that costs, what the ceiling does.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/reports/test_plan_table.py`, then read the
diff.
"""

import io
import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ray_autointerp.config import Config
from ray_autointerp.plan.first_window import FirstWindow, WindowToken
from ray_autointerp.plan.forecast import Forecast
from ray_autointerp.records.usage import Usage
from ray_autointerp.reports.plan_table import plan_table
from ray_autointerp.runs.run import Run

GOLDEN = Path(__file__).parent / "golden" / "plan_table.txt"

FORESEEN = Forecast(
    {
        "explain": Usage(18, 9_000, 4_500, 600),
        "write_sentences": Usage(12, 4_000, 3_000, 1_000),
        "output_score": Usage(198, 50_000, 30_000, 198),
    },
    ("Tokens of small are counted by guess.",),
)
"""64,798 tokens in all."""

WINDOW = FirstWindow(
    "0",
    "column text",
    (
        WindowToken("<s>", True, False),
        WindowToken("<|user|>", True, True),
        WindowToken(" \x1b[31m[red]\n\u4e2d", False, True),
        *[WindowToken(f" w{n}", False, True) for n in range(120)],
    ),
)

EXPLAINER = {
    "backend": "vllm",
    "model": "somebody/small",
    "price": {"prompt": 10.0, "cached": 1.0, "generated": 100.0},
}
JUDGE = {"backend": "vllm", "model": "somebody/large", "price": {"prompt": 100.0}}


def shown(run: Run, **sections: Any) -> str:
    config = Config.model_validate(run.config.model_dump() | sections)
    console = Console(width=100, file=io.StringIO(), color_system=None)
    console.print(plan_table(config, run.axes, 4, 1, 1_700_000_000, FORESEEN, WINDOW))
    assert isinstance(console.file, io.StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines()) + "\n"


def test_table_of_two_priced_models_under_a_ceiling_is_the_golden_one(quick_run: Run) -> None:
    ceiling = {"max_tokens": 60_000, "max_cost": 8.0}
    text = shown(quick_run, llm=EXPLAINER, judge=JUDGE, budget=ceiling)
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.parent.mkdir(exist_ok=True)
        GOLDEN.write_text(text, encoding="utf-8")
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_every_step_is_priced_by_the_model_that_it_asks(quick_run: Run) -> None:
    """Explainer: 5,500 at 10, 7,500 at 1 and 1,600 at 100. Judge: 50,000 at 100, cached or not."""
    text = shown(quick_run, llm=EXPLAINER, judge=JUDGE)
    cost = {line.split()[0]: line.split()[-1] for line in bill_of(text)}
    assert cost["explain"] == "0.1095"
    assert cost["write_sentences"] == "0.113"
    assert cost["output_score"] == "5"
    assert cost["in"] == "5.223"


def bill_of(text: str) -> list[str]:
    lines = text.partition("what the LLM is asked")[2].splitlines()
    return [line for line in lines if line.split() and line.split()[-1][0].isdigit()]


def test_without_a_price_there_is_no_money(quick_run: Run) -> None:
    text = shown(quick_run)
    assert "cost" not in text
    assert "63,000" in text
    assert "1,798" in text


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"max_tokens": 64_798}, "would be reached, 100% of it is foreseen: the run would stop"),
        ({"max_tokens": 64_799}, "would not be reached"),
        ({"max_cost": 5.2}, "would be reached"),
        ({"max_cost": 5.3}, "would not be reached"),
        ({"max_tokens": 1, "when_reached": "finish"}, "over_budget"),
    ],
)
def test_ceiling_is_compared_with_what_is_foreseen(
    quick_run: Run, budget: dict[str, Any], said: str
) -> None:
    text = " ".join(shown(quick_run, llm=EXPLAINER, judge=JUDGE, budget=budget).split())
    assert said in text
    assert "ceiling budget" not in shown(quick_run, llm=EXPLAINER, judge=JUDGE)


def test_engine_hours_are_said_to_be_left_out(quick_run: Run) -> None:
    llm = {**EXPLAINER, "price": {"engine_hour": 2.0}}
    assert "Engine hours" in shown(quick_run, llm=llm)
    assert "Engine hours" not in shown(quick_run, llm=EXPLAINER)


def test_bytes_of_the_subjects_weights_are_said_in_the_runs_dtype(quick_run: Run) -> None:
    assert "Its weights take 6.8 GB in float32." in shown(quick_run)
    subject = quick_run.config.subject.model_copy(update={"dtype": "bfloat16"})
    operations = quick_run.config.operations.model_copy(update={"subject_gpus": 2.0})
    text = shown(quick_run, subject=subject.model_dump(), operations=operations.model_dump())
    assert "Its weights take 3.4 GB in bfloat16, spread over 2 GPUs." in text
