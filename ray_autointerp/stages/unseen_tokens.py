"""unseen_tokens: does a description fit tokens that its latent promotes and no explainer was shown?

The two-set question of the output score (methods 16) with lists of tokens in place of texts: the
target's and a partner's, under the target's description and under a stranger's. Published and
choosing trials have different tokens and draws of their own: a label may be chosen by the latter,
and the published win rate stays unbiased. Nothing is asked about a latent whose steering
KL is unreached: what it promotes is noise.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ray_autointerp.methods.panel_draw import draw_opponents
from ray_autointerp.methods.unseen_tokens import NUM_SHOWN, LatentTokens, latent_tokens, two_lists
from ray_autointerp.passes.two_sets import choosing_halves, judge_two_sets, win_rate_columns
from ray_autointerp.plan.units import unseen_trials
from ray_autointerp.prompts import unseen_tokens
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_LISTS = ("promoted", "suppressed")
_TEXTS = tuple(f"{name}.list.element.text" for name in _LISTS)
_HELD_OUT_COLUMNS = ["latent", "strength", "status", _TEXTS[0]]


@dataclass(frozen=True)
class _Material:
    """What the judge may be shown."""

    tokens: Mapping[int, LatentTokens]
    """Of the latents that have unseen tokens."""
    unmoved: frozenset[int]
    """Latents that no clamp makes move the model as much as steering wants."""
    descriptions: Mapping[int, str]
    """Of this method, where it is `ok`."""
    partners: frozenset[int]
    """Panel latents that have unseen tokens."""
    strangers: frozenset[int]
    """Panel latents with an `ok` description of this method and an effect to describe."""
    made_for: Mapping[int, int]
    """Of a control, the latent that each description was made for."""


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `unseen_judgements/<method>` and `unseen_scores/<method>`."""
    latents = context.tables.chosen(task)
    material = _material(task, context, latents)
    assert task.method is not None
    trials = unseen_trials(task.method, context.run.config)
    judged = await asyncio.gather(
        *(_judged(latent, trials, material, context) for latent in latents)
    )
    scores = [_scored(latent, trials) for latent, trials in zip(latents, judged, strict=True)]
    context.write(task, "unseen_judgements", [trial for trials in judged for trial in trials])
    context.write(task, "unseen_scores", scores)


def _material(task: Task, context: WorkerContext, latents: Sequence[int]) -> _Material:
    assert task.sae is not None and task.method is not None
    tables = context.tables
    panel = tables.panel(task.sae)
    wanted = list(dict.fromkeys([*panel, *latents]))
    held_out = tables.rows("held_out_change", task.sae, wanted, columns=_HELD_OUT_COLUMNS)
    unmoved = frozenset(
        latent
        for latent, rows in held_out.items()
        if any(row["status"] == "kl_unreached" for row in rows)
    )
    moved = {latent: rows for latent, rows in held_out.items() if latent not in unmoved}
    found = _tokens(context, task.sae, moved)
    tokens = {latent: own for latent, own in found.items() if own.unseen}
    described = tables.row("descriptions", task.sae, wanted, task.method)
    descriptions = {
        latent: row["description"] for latent, row in described.items() if row["status"] == "ok"
    }
    return _Material(
        tokens,
        unmoved,
        descriptions,
        frozenset(panel) & tokens.keys(),
        frozenset(panel) & descriptions.keys() - unmoved,
        {latent: row["source"] for latent, row in described.items() if row["source"] is not None},
    )


def _tokens(
    context: WorkerContext, sae: str, held_out: Mapping[int, Sequence[Row]]
) -> dict[int, LatentTokens]:
    """Each latent's held-out ranking, less all that evidence shows of it."""
    latents = list(held_out)
    config = context.run.config
    num_shown = max(NUM_SHOWN, config.describe.num_tokens_shown)
    evidence = [
        context.tables.rows(table, sae, latents, mode, columns=["latent", *_TEXTS])
        for table, mode in (
            ("jacobian_proj", None),
            ("vocab_proj", None),
            ("token_change", config.evidence.change_modes[0]),
        )
    ]
    found = {}
    for latent in latents:
        ranked = next(
            _texts(row["promoted"]) for row in held_out[latent] if row["strength"] == "maximum"
        )
        shown = [
            text
            for rows in evidence
            for row in rows[latent]
            for name in _LISTS
            for text in _texts(row[name])[:num_shown]
        ]
        found[latent] = latent_tokens(ranked, shown)
    return found


def _texts(entries: Sequence[Row] | None) -> list[str]:
    return [entry["text"] for entry in entries or ()]


async def _judged(
    latent: int, trials: Sequence[tuple[bool, int]], material: _Material, context: WorkerContext
) -> list[Row]:
    """A row per trial; a trial that cannot be run has its reason as status."""
    return list(
        await asyncio.gather(*(_trial(latent, *trial, material, context) for trial in trials))
    )


async def _trial(
    latent: int, is_choosing: bool, trial: int, material: _Material, context: WorkerContext
) -> Row:
    row: Row = {"latent": latent, "choosing": is_choosing, "trial": trial}
    if latent not in material.descriptions:
        return row | {"status": "no_evidence"}
    if latent not in material.tokens:
        return row | {"status": "kl_unreached" if latent in material.unmoved else "no_evidence"}
    seed = context.run.config.run.seed
    against = draw_opponents(
        latent,
        ("unseen_tokens", is_choosing, trial),
        material.partners,
        material.strangers,
        seed,
        material.made_for,
    )
    if against is None:
        return row | {"status": "no_partner"}
    lists = two_lists(material.tokens[latent], material.tokens[against.partner], is_choosing)
    # In an order of the trial's own: places say nothing, and no two trials ask the same.
    own, other = (
        sorted(tokens, key=lambda token: derive_seed(seed, "unseen_tokens", latent, trial, token))
        for tokens in lists
    )
    row |= {
        "partner": against.partner,
        "stranger": against.stranger,
        "tokens": own,
        "partner_tokens": other,
    }
    if not own:
        return row | {"status": "no_evidence"}
    return row | await judge_two_sets(
        context,
        unseen_tokens.JUDGEMENT,
        material.descriptions[latent],
        material.descriptions[against.stranger],
        own,
        other,
    )


def _scored(latent: int, trials: Sequence[Row]) -> Row:
    """By the published trials alone; beside it the win rates of two halves of the choosing ones."""
    published = [trial for trial in trials if not trial["choosing"]]
    ok = [trial for trial in published if trial["status"] == "ok"]
    failed = next((t["status"] for t in published if t["status"] != "ok"), "no_evidence")
    return {
        "latent": latent,
        "status": "ok" if ok else failed,
        **win_rate_columns(ok, "trial"),
        "num_trials": len(ok),
        "choosing_win_rate": choosing_halves(trials),
    }
