"""Held-out texts of a latent, put before the judge one by one: what detection and fuzzing share.

By choice the judge says whether a description fits a text. By likelihood the log-odds are how much
likelier the description makes it, as by Bayes' rule, up to a constant.

The texts of a latent come in an order by seeded hash, so that neither its place nor its prompt
tells of what kind a text is. Nothing depends on the description: all methods meet the same texts.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import pyarrow.compute as pc

from ray_autointerp.config import FEWEST_TEXTS
from ray_autointerp.methods.detection import detection_score, evenly
from ray_autointerp.methods.output_score import ChoiceLogprobs
from ray_autointerp.passes.ask import ask_gains, ask_to_choose, choice_status
from ray_autointerp.prompts.detection import CHOICES
from ray_autointerp.prompts.judgement import TextJudgement
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

ACTIVE = "active"
"""The kind of text to which the judge should say yes."""

_EXAMPLES = ("latent", "split", "examples", "stratified", "near_misses")


@dataclass(frozen=True)
class JudgedText:
    """A text to ask about."""

    kind: str
    window: int
    strength: float
    """The latent's maximum over what is asked about."""
    text: str


def held_out(task: Task, context: WorkerContext, latents: Sequence[int]) -> dict[int, Row]:
    """The score side's excerpts by latent."""
    assert task.sae is not None
    found = context.tables.of_latents("top_examples", task.sae, latents, columns=_EXAMPLES)
    rows = found.filter(pc.field("split") == "score").to_pylist()
    return {row["latent"]: row for row in rows}


def active_examples(row: Row, num_kept: int, is_usable: Callable[[Row], bool]) -> list[Row]:
    """Excerpts in which the latent is active: of every strength in turn, and where those are too
    few, others evenly from the strongest to the weakest.
    """
    kept = [example for example in row["stratified"] if is_usable(example)][:num_kept]
    if len(kept) < num_kept:
        windows = {example["window"] for example in kept}
        others = [e for e in row["examples"] if e["window"] not in windows and is_usable(e)]
        kept += evenly(others, num_kept - len(kept))
    return kept


async def judge_texts(
    task: Task,
    context: WorkerContext,
    texts: Mapping[int, Sequence[JudgedText]],
    contrast: str,
    judgement: TextJudgement,
) -> dict[int, list[Row]]:
    """By latent a row for each of its texts; nothing is asked where `is_enough` says no."""
    assert task.sae is not None and task.method is not None
    described = context.tables.row("descriptions", task.sae, list(texts), task.method)
    config = context.run.config
    seed = config.run.seed
    ask_all = _choose if config.score.judged_by == "choice" else _read_likelihoods

    async def judged(latent: int) -> list[Row]:
        ordered = sorted(
            texts[latent],
            key=lambda text: derive_seed(seed, task.step, latent, text.kind, text.window),
        )
        rows: list[Row] = [
            {"latent": latent, "number": number, **asdict(text), "status": "no_evidence"}
            for number, text in enumerate(ordered)
        ]
        if described[latent]["status"] == "ok" and _is_enough(rows, contrast):
            await ask_all(rows, described[latent]["description"], judgement, context)
        return rows

    found = await asyncio.gather(*(judged(latent) for latent in texts))
    return dict(zip(texts, found, strict=True))


def text_scores(latent: int, rows: Sequence[Row], contrast: str) -> Row:
    """The row of scores: active texts against those of the kind `contrast`."""
    judged = [row for row in rows if row["status"] == "ok"]
    counts = {f"num_{kind}": len(_of(judged, kind)) for kind in (ACTIVE, contrast)}
    if not _is_enough(judged, contrast):
        failed = next((row["status"] for row in rows if row["status"] != "ok"), "no_evidence")
        return {"latent": latent, "status": failed, **counts}
    score = detection_score(
        log_odds_of(judged, ACTIVE),
        log_odds_of(judged, contrast),
        [row["strength"] for row in _of(judged, ACTIVE)],
    )
    return {"latent": latent, "status": "ok", **asdict(score), **counts}


def log_odds_of(rows: Sequence[Row], kind: str) -> list[float]:
    """Of the texts of a kind that were judged."""
    return [row["log_odds"] for row in _of(rows, kind) if row["status"] == "ok"]


async def _choose(
    rows: Sequence[Row], description: str, judgement: TextJudgement, context: WorkerContext
) -> None:
    """Ask about each text in its prompt, and fill in what the judge says."""
    size = context.run.config.score.texts_per_prompt
    asked = []
    for start in range(0, len(rows), size):
        shown = [row["text"] for row in rows[start : start + size]]
        numbers = range(1, len(shown) + 1)
        asked += [judgement.ask(shown, description, number) for number in numbers]
    answers = await asyncio.gather(*(ask_to_choose(context, one, CHOICES) for one in asked))
    for row, answer in zip(rows, answers, strict=True):
        row["status"] = choice_status(answer)
        if answer.choice_logprobs is not None:
            logprobs = (answer.choice_logprobs[choice] for choice in CHOICES)
            row["log_odds"] = ChoiceLogprobs(*logprobs).log_odds


async def _read_likelihoods(
    rows: Sequence[Row], description: str, judgement: TextJudgement, context: WorkerContext
) -> None:
    """Fill in how much likelier the description makes each text."""
    texts = [" ".join(row["text"].split()) for row in rows]
    gains = await ask_gains(context, judgement.write, description, texts)
    for row, (status, gain) in zip(rows, gains, strict=True):
        row.update(status=status, log_odds=gain)


def _of(rows: Sequence[Row], kind: str) -> list[Row]:
    return [row for row in rows if row["kind"] == kind]


def _is_enough(rows: Sequence[Row], contrast: str) -> bool:
    """Whether there are texts enough to compare."""
    return all(len(_of(rows, kind)) >= FEWEST_TEXTS for kind in (ACTIVE, contrast))
