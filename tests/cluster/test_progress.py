"""What a person watches while a run goes on."""

import io
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console, ConsoleDimensions

from ray_autointerp.cluster import progress as progress_module
from ray_autointerp.cluster.progress import Progress
from ray_autointerp.config import PriceSection
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.plan.time_left import MeasuredStep, Outlook
from ray_autointerp.preflight.forecast import forecast
from ray_autointerp.records.task import Task
from ray_autointerp.records.usage import Usage
from ray_autointerp.runs.ledger import attempts
from ray_autointerp.runs.run import Run

CORPUS = Task("corpus", None, None, 0, 2)


def screen(*, terminal: bool) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, color_system=None)


def text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def receipt(outcome: str = "done") -> Receipt:
    return Receipt(CORPUS, datetime.now(UTC), 1.5, outcome, "worker")


def test_terminal_shows_shards_rate_and_time_left_of_each_step() -> None:
    console = screen(terminal=True)
    with Progress(console) as progress:
        progress.progress(
            [StepProgress("corpus", "cpu", 0, 2), StepProgress("explain", "llm", 0, None)]
        )
        progress.started(CORPUS)
        progress.ended(receipt())
        progress.progress(
            [StepProgress("corpus", "cpu", 1, 2), StepProgress("explain", "llm", 0, None)]
        )
    last = text(console).rpartition("step")[2].splitlines()
    corpus = next(line for line in last if line.startswith("corpus"))
    assert "1/2" in corpus and "1.5 s a shard" in corpus and corpus.rstrip().endswith("2 s")
    assert "0/?" in next(line for line in last if line.startswith("explain"))


def test_log_gets_one_line_when_a_step_begins_and_one_when_it_ends() -> None:
    console = screen(terminal=False)
    with Progress(console) as progress:
        for done in (1, 2):
            progress.started(CORPUS)
            progress.ended(receipt())
            progress.progress([StepProgress("corpus", "cpu", done, 2)])
    lines = text(console).splitlines()
    assert len(lines) == 2
    assert lines[0].endswith("corpus begins") and "corpus done, 2 shard(s)" in lines[1]


def test_run_that_follows_says_what_it_takes_over_and_may_cost(quick_run: Run) -> None:
    section = quick_run.config.run.model_copy(update={"parent": "old"})
    config = quick_run.config.model_copy(update={"run": section})
    asked = [node for node in quick_run.identity if node.startswith("detection/")]
    inherits = dict.fromkeys(set(quick_run.identity) - set(asked), "old")
    run = replace(quick_run, config=config, inherits=inherits | {"corpus": "older"})
    console = screen(terminal=False)
    away = {"uri": quick_run.uri.replace("/planted", "/elsewhere/planted")}
    with Progress(console) as progress:
        progress.begun(replace(run, **away))
    said = " ".join(text(console).split()).partition("continues. ")[2]
    first, more = said.split(" times; ")
    num_asked = 6 * len(config.score.methods) * 2 * config.score.detection_texts
    assert first == (
        f"planted follows old. Beyond what it takes over it asks the LLM at most {num_asked:,}"
    )
    assert more.startswith("what old asked the same LLM is not asked again. Taken over from")
    assert "old: overlap, sae_fit, neighbours, jacobian," in more and more.endswith(
        "older: corpus."
    )


def test_failed_attempt_is_told_at_once_with_the_task() -> None:
    console = screen(terminal=False)
    with Progress(console) as progress:
        progress.started(CORPUS)
        progress.ended(receipt("worker died"))
    assert f"{CORPUS.name}: worker died" in text(console)


def test_run_says_first_what_it_will_do_and_cost_in_at_most_five_lines(quick_run: Run) -> None:
    console = screen(terminal=False)
    priced = quick_run.config.llm.model_copy(update={"price": PriceSection(prompt=1000.0)})
    config = quick_run.config.model_copy(update={"llm": priced})
    with Progress(console) as progress:
        progress.begun(replace(quick_run, config=config, uri=f"{quick_run.uri}-elsewhere"))
    lines = text(console).splitlines()
    total = sum(forecast(config, quick_run.axes).steps.values(), Usage())
    assert len(lines) <= 5
    assert "latents of planted, of which at most 6 are described" in lines[0]
    assert f"about {total.num_requests:,} times, with {total.num_prompt_tokens:,}" in lines[1]
    assert f"which costs about {total.num_prompt_tokens / 1000:,.4g}" in lines[1]
    assert lines[2].endswith("-elsewhere")
    assert lines[3].startswith("Ctrl-C is safe")


def test_run_that_goes_on_or_whose_tokenizer_is_missing_begins_without_its_cost(
    quick_run: Run, tmp_path: Path
) -> None:
    going_on = replace(quick_run, uri=str(tmp_path))
    shutil.copytree(Path(quick_run.uri) / "ledger", tmp_path / "ledger")
    subject = quick_run.config.subject.model_copy(update={"model": str(tmp_path / "nothing")})
    config = quick_run.config.model_copy(update={"subject": subject})
    for run in (going_on, replace(quick_run, config=config, uri=f"{tmp_path}-elsewhere")):
        console = screen(terminal=False)
        with Progress(console) as progress:
            progress.begun(run)
        lines = text(console).splitlines()
        assert "of which at most 6 are described" in lines[0]
        assert lines[1] == f"Its folder: {run.uri}"


def test_finished_run_announces_nothing(quick_run: Run) -> None:
    console = screen(terminal=False)
    with Progress(console) as progress:
        progress.begun(quick_run)
    assert text(console) == ""


def test_whole_run_is_reckoned_and_in_a_log_said_at_most_every_minute(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    console = screen(terminal=False)
    with Progress(console) as progress:
        progress.begun(replace(quick_run, uri=f"{quick_run.uri}-elsewhere"))
        for done in range(10):
            progress.started(CORPUS)
            clock[0] += 20
            progress.ended(replace(receipt(), seconds=20.0))
            progress.progress([StepProgress("corpus", "cpu", done, 100)])
    whole = [line for line in text(console).splitlines() if " elapsed" in line]
    assert whole == [
        "0:01:00 elapsed, about 0:32:40 left (2 of 100 tasks)",
        "0:02:00 elapsed, about 0:31:40 left (5 of 100 tasks)",
        "0:03:00 elapsed, about 0:30:40 left (8 of 100 tasks)",
    ]


def test_run_that_goes_on_is_reckoned_by_what_was_done_before(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(Path(quick_run.uri) / "ledger", tmp_path / "ledger")
    clock = [1000.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: clock[0])
    explained = [
        (row["step"], row["started"].timestamp(), row["seconds"]) for row in attempts(quick_run)
    ]
    seconds = fmean(seconds for step, _, seconds in explained if step == "explain")
    steps = [StepProgress("corpus", "cpu", 2, 2), StepProgress("explain", "llm", 4, 10)]
    outlook = Outlook(quick_run.config, quick_run.axes)
    ended = outlook.replay(explained)
    measured = [MeasuredStep(steps[0], None), MeasuredStep(steps[1], seconds)]
    console = screen(terminal=False)
    with Progress(console) as progress:
        progress.begun(replace(quick_run, uri=str(tmp_path)))
        clock[0] += 61
        progress.progress(steps)
    assert text(console).splitlines()[-1] == (
        f"0:01:01 elapsed, {outlook.left(measured, ended).sentence}"
    )


@pytest.mark.parametrize(("height", "num_shown"), [(24, 19), (50, 30)])
def test_display_has_no_more_rows_than_the_terminal(height: int, num_shown: int) -> None:
    """Thirty steps: the first ten done, the next twenty under way where there is room."""
    names = [step.name for step in FLOW[:30]]
    assert len(names) == 30
    console = screen(terminal=True)
    console.size = ConsoleDimensions(100, height)
    steps = [
        StepProgress(name, "cpu", 5 if number < 10 else 1, 5) for number, name in enumerate(names)
    ]
    with Progress(console) as progress:
        progress.progress(steps)
    last = text(console).rpartition("step  ")[2].splitlines()
    assert len(last) <= height
    assert sum("/5" in line for line in last) == num_shown
    if num_shown < 30:
        assert "steps not shown: 10 done, 1 under way" in text(console)


def test_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    console = screen(terminal=True)
    with Progress(console) as progress:
        progress.started(CORPUS)
    (line,) = text(console).splitlines()
    assert line.endswith("corpus begins") and "\x1b" not in line
