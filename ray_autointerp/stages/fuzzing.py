"""fuzzing: can a judge tell by a description whether the right tokens of a text are marked?

Every held-out text of a latent is shown in two cuts: one with the active tokens marked, one with
the marks at the same places, where the latent is silent (methods/fuzzing.py).
"""

from collections.abc import Iterator, Sequence

from ray_autointerp.methods.fuzzing import MarkedCuts, marked_cuts
from ray_autointerp.passes.judged_texts import (
    ACTIVE,
    JudgedText,
    active_examples,
    held_out,
    judge_texts,
    text_scores,
)
from ray_autointerp.prompts.fuzzing import JUDGEMENT
from ray_autointerp.prompts.max_act import marked
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.split_characters import cut_texts, whole_characters
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

INACTIVE = "inactive"


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `fuzzings/<method>` and `fuzzing_scores/<method>`."""
    latents = context.tables.chosen(task)
    excerpts_of = held_out(task, context, latents)
    texts = {latent: list(_texts(latent, excerpts_of[latent], context)) for latent in latents}
    rows = await judge_texts(task, context, texts, INACTIVE, JUDGEMENT)
    context.write(task, "fuzzings", [row for judged in rows.values() for row in judged])
    context.write(
        task,
        "fuzzing_scores",
        [text_scores(latent, judged, INACTIVE) for latent, judged in rows.items()],
    )


def _texts(latent: int, row: Row, context: WorkerContext) -> Iterator[JudgedText]:
    """Both cuts of each text; texts that cannot be cut in two ways are left out."""
    config = context.run.config
    length = config.evidence.excerpt_tokens // 2

    def cuts(example: Row) -> MarkedCuts | None:
        seed = derive_seed(config.run.seed, "marked cuts", latent, example["window"])
        # Of a character in pieces all are active or none: it is marked as a whole.
        _, largest, places = whole_characters(example["texts"], example["activations"])
        return marked_cuts([largest[place] for place in places], example["peak"], length, seed)

    for example in active_examples(
        row, config.score.fuzzing_texts, lambda example: cuts(example) is not None
    ):
        found = cuts(example)
        assert found is not None
        for kind, start, strength in (
            (ACTIVE, found.active, example["activation"]),
            (INACTIVE, found.inactive, 0.0),
        ):
            tokens = cut_texts(example["texts"], start, start + length)
            text = _marked(tokens, found.places)
            yield JudgedText(kind, example["window"], strength, text)


def _marked(tokens: Sequence[str], places: Sequence[int]) -> str:
    return marked(tokens, [int(place in places) for place in range(len(tokens))])
