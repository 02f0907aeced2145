"""What a person watches while a run goes on."""

import io
from dataclasses import replace
from datetime import UTC, datetime

from rich.console import Console

from ray_autointerp.cluster.progress import Progress
from ray_autointerp.execution.tracker import Receipt
from ray_autointerp.plan.schedule import StepProgress
from ray_autointerp.records.task import Task
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
    with Progress(console) as progress:
        progress.begun(run)
        progress.begun(quick_run)
    first, more = " ".join(text(console).split()).split(" times; ")
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
