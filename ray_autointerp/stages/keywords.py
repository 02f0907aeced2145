"""keywords: a description of every latent without any LLM, from what it fires on and promotes."""

from ray_autointerp.methods.keywords import FiredToken, keyword_description
from ray_autointerp.records.task import Task
from ray_autointerp.runs.tables import Row, Tables

_EXAMPLES_READ = 20
"""Top examples looked at: more adds weak ones."""

_EXAMPLE_COLUMNS = ("latent", "split", "examples")
_LIST_COLUMNS = ("latent", "promoted")


def run(task: Task, context: Tables) -> None:
    """Write one latent shard of `descriptions/keywords`."""
    assert task.sae is not None
    latents = list(context.latents(task))
    # By name: the columns that are not needed here are most of these rows.
    examples = context.rows("top_examples", task.sae, latents, columns=_EXAMPLE_COLUMNS)
    lists = context.rows("jacobian_proj", task.sae, latents, columns=_LIST_COLUMNS)
    rows = []
    for latent in latents:
        explain = next(row for row in examples[latent] if row["split"] == "explain")
        text = keyword_description(
            [_fired(example) for example in explain["examples"][:_EXAMPLES_READ]],
            [entry["text"] for entry in lists[latent][0]["promoted"] or ()],
        )
        rows.append(
            {
                "latent": latent,
                "status": "no_evidence" if text is None else "ok",
                "description": text,
            }
        )
    context.write(task, "descriptions", rows)


def _fired(example: Row) -> list[FiredToken]:
    pairs = zip(example["texts"], example["activations"], strict=True)
    return [FiredToken(text, activation) for text, activation in pairs if activation > 0]
