"""input_score: the written sentences through the subject, and the graded score per latent.

A sentence's activation is the latent's maximum over its tokens. Rows without sentences keep the
reason as their status.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ray_autointerp.methods.input_score import SentenceActivation, half_aurocs, input_score
from ray_autointerp.passes.peak_activations import LatentText, Peak, encoded, peak_activations
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row


@dataclass(frozen=True)
class _Sentence:
    latent: int
    draw: int
    side: str
    text: str


def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `input_scores/<method>`."""
    assert task.sae is not None and task.method is not None
    latents = context.tables.chosen(task)
    written = context.tables.rows("sentences", task.sae, latents, task.method)
    stats = context.tables.row("latent_stats", task.sae, latents)
    sentences = [
        _Sentence(latent, row["draw"], side, text)
        for latent in latents
        for row in written[latent]
        if row["status"] == "ok"
        for side in ("activating", "neutral")
        for text in row[side]
    ]
    texts = [LatentText(s.latent, encoded(context, s.text)) for s in sentences]
    peaks = peak_activations(context, context.sae(task.sae), texts)
    read = dict(zip(sentences, peaks, strict=True))
    context.write(
        task,
        "input_scores",
        [
            _scored(
                latent,
                [s for s in sentences if s.latent == latent],
                read,
                stats[latent]["max_activation"],
                written[latent],
                context,
            )
            for latent in latents
        ],
    )


def _scored(
    latent: int,
    sentences: Sequence[_Sentence],
    read: dict[_Sentence, Peak],
    maximum: float | None,
    written: Sequence[Row],
    context: WorkerContext,
) -> Row:
    """Published are the sentences of the first draws; the others choose the label."""
    num_published = context.run.config.score.num_draws
    found = [
        SentenceActivation(s.draw, s.side == "activating", read[s].activation) for s in sentences
    ]
    published = [s for s in found if s.draw < num_published]
    score = input_score(published, maximum)
    asked = (row["status"] for row in written if row["draw"] < num_published)
    failed = next((status for status in asked if status != "ok"), "no_evidence")
    return {
        "latent": latent,
        "status": "ok" if published else failed,
        "difference": score.difference,
        "difference_over_max": score.difference_over_max,
        "auroc": score.auroc,
        "average_precision": score.average_precision,
        "hit_rate": score.hit_rate,
        "paper_success": score.paper_success,
        "num_activating": score.num_activating,
        "num_neutral": score.num_neutral,
        "choosing_auroc": half_aurocs([s for s in found if s.draw >= num_published]),
        "activations": [
            {
                "draw": s.draw,
                "side": s.side,
                "activation": read[s].activation,
                "token": read[s].token_text,
            }
            for s in sentences
        ],
    }
