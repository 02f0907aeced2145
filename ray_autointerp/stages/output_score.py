"""output_score: can a judge tell a latent's steered text by its description?

Two sets with a stranger's description as control: in each unit the judge sees a text set of the
latent and a partner's on the same prompts, under the latent's description and under the stranger's,
both orders, one token each. Partner and stranger are drawn from the panel by hash, the same for
every method but where a description of the stranger failed.
The paper's three-set question is asked where the config wants it (methods 16). Nothing is asked
about a latent whose text its exact logit diffs cannot tell from another's (`output_ceiling`).
Choosing trials have text sets and draws of their own.

Of the control sample some published units are asked again with control texts, under the same two
descriptions; these rows have the control as `kind`, and no score counts them. A text of no latent
is in the target's place, against the same partner, whatever the latent's own text says: the win
rate must be 1/2. The text of the decoder-nearest latent is in the partner's place: the win rate is
what the description says of this latent beyond that one.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from ray_autointerp.methods.output_score import is_unequal_treatment, three_set_success
from ray_autointerp.methods.panel_draw import Unit, draw_opponents
from ray_autointerp.passes.ask import ask_to_choose, choice_status
from ray_autointerp.passes.nearest import Nearest, nearest
from ray_autointerp.passes.text_sets import Completions, TextSets, completions, text_sets
from ray_autointerp.passes.two_sets import choosing_halves, judge_two_sets, win_rate_columns
from ray_autointerp.plan.controls import CONTROL_TARGETS, NEIGHBOUR, is_control, method_of
from ray_autointerp.plan.units import control_units, three_set_texts, two_set_units
from ray_autointerp.prompts import judge
from ray_autointerp.records.keys import hash_order
from ray_autointerp.records.status import Status
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.tables import Row

_TWO_SET = "two_set"
_THREE_SET = Unit(text_set=-1, sign=0, kl_target=0.0)
"""The key of the one three-set trial: its sets span prompts, signs and targets."""


@dataclass(frozen=True)
class _Material:
    """What the judge may be shown: texts by latent, descriptions by latent."""

    texts: Completions
    sets: Mapping[str, TextSets]
    """By kind of trial, what is shown as the target's, or as the partner's of NEIGHBOUR; all other
    sets are steered text."""
    descriptions: Mapping[int, str]
    """Of this method, where it is `ok`."""
    strangers: frozenset[int]
    """Panel latents with an `ok` description of this method: no other method can change them.
    A trial draws from those that have what it shows: what no clamp moves has no effect to describe.
    """
    made_for: Mapping[int, int]
    """Of a control, the latent that each description was made for."""
    panel: tuple[int, ...]
    nearest: Mapping[int, Nearest]
    """Of the control sample, whose text NEIGHBOUR is."""
    not_asked: frozenset[int]
    """Latents whose text even their exact logit diffs cannot tell from another's."""

    def not_judged(self, latent: int, described: Row) -> Status | None:
        """Why nothing is asked about a latent's own texts, whatever the trial."""
        if described["status"] != "ok":
            return "no_evidence"
        return "no_effect_in_text" if latent in self.not_asked else None


async def run(task: Task, context: WorkerContext) -> None:
    """Write one selection shard of `judgements/<method>` and `output_scores/<method>`."""
    assert task.sae is not None and task.method is not None
    latents = context.tables.chosen(task)
    controls = set(latents).intersection(context.tables.controls(task.sae))
    material = _material(task, context, latents, controls)
    described = context.tables.row("descriptions", task.sae, latents, task.method)
    units = two_set_units(task.method, context.run.config)
    of_controls = [(False, unit) for unit in control_units(context.run.config)]
    asks_three = method_of(task.method) in context.run.config.score.three_set_methods

    async def judged_rows(latent: int) -> list[Row]:
        """A row per trial; a trial that cannot be run has its reason as status."""
        row = described[latent]
        kinds = material.sets if latent in controls else (_TWO_SET,)
        trials = [
            _two_set(latent, kind, *unit, row, material, context)
            for kind in kinds
            for unit in (units if kind == _TWO_SET else of_controls)
        ]
        if asks_three:
            trials.append(_three_set(latent, row, material, context))
        return list(await asyncio.gather(*trials))

    judged = await asyncio.gather(*map(judged_rows, latents))
    scores = [_scored(latent, trials) for latent, trials in zip(latents, judged, strict=True)]
    context.write(task, "judgements", [trial for trials in judged for trial in trials])
    context.write(task, "output_scores", scores)


def _material(
    task: Task, context: WorkerContext, latents: Sequence[int], controls: Collection[int]
) -> _Material:
    assert task.sae is not None and task.method is not None
    panel = context.tables.panel(task.sae)
    shown = list(dict.fromkeys([*panel, *latents]))
    texts = completions(context.tables, task.sae, shown)
    sets = {_TWO_SET: text_sets(context.run.config, texts, shown)}
    closest: Mapping[int, Nearest] = {}
    if not is_control(task.method):
        sample = sorted(controls)
        if NEIGHBOUR in context.run.config.score.control_texts:
            closest = nearest(context.tables, task.sae, sample)
        for kind in context.run.config.score.control_texts:
            found = completions(context.tables, task.sae, sample, kind)
            sets[kind] = text_sets(context.run.config, found, sample)
    own = context.tables.row("descriptions", task.sae, shown, task.method)
    descriptions = {
        latent: row["description"] for latent, row in own.items() if row["status"] == "ok"
    }
    strangers = frozenset(panel) & descriptions.keys()
    ceilings = context.tables.row("output_ceilings", task.sae, latents)
    not_asked = frozenset(
        latent for latent, row in ceilings.items() if row["status"] == "no_effect_in_text"
    )
    made_for = {latent: row["source"] for latent, row in own.items() if row["source"] is not None}
    return _Material(
        texts, sets, descriptions, strangers, made_for, tuple(panel), closest, not_asked
    )


async def _two_set(
    latent: int,
    kind: str,
    is_choosing: bool,
    unit: Unit,
    described: Row,
    material: _Material,
    context: WorkerContext,
) -> Row:
    row: Row = {"latent": latent, "kind": kind, **unit._asdict(), "choosing": is_choosing}
    # With a text of no latent any latent is as good a target as the stranger: so both must have
    # texts, and what these say matters for neither.
    reason = material.not_judged(latent, described)
    if reason and (kind not in CONTROL_TARGETS or reason != "no_effect_in_text"):
        return row | {"status": reason}
    steered, special = material.sets[_TWO_SET], material.sets[kind]
    if (latent, unit) not in steered or (latent, unit) not in special:
        return row | {"status": "kl_unreached"}
    panel = [other for other in material.panel if (other, unit) in steered]
    partners = [material.nearest[latent].latent] if kind == NEIGHBOUR else panel
    seed = context.run.config.run.seed
    strangers = material.strangers.intersection(panel)
    against = draw_opponents(latent, unit, partners, strangers, seed, material.made_for)
    if against is None:
        return row | {"status": "no_partner"}
    if kind == NEIGHBOUR:
        shown = steered[latent, unit], special[latent, unit]
    else:
        shown = special[latent, unit], steered[against.partner, unit]
    reached = [text["kl_reached"] for texts in shown for text in texts]
    clamped = [kl for kl in reached if kl is not None]  # unsteered text has none
    if is_unequal_treatment(unit.kl_target, clamped):
        return row | {"status": "unequal_treatment", "partner": against.partner}
    own, other = ([text["text"] for text in texts] for texts in shown)
    row |= {"partner": against.partner, "stranger": against.stranger}
    stranger = material.descriptions[against.stranger]
    return row | await judge_two_sets(
        context, judge.TWO_SETS, described["description"], stranger, own, other
    )


async def _three_set(
    latent: int, described: Row, material: _Material, context: WorkerContext
) -> Row:
    """The paper's question, once: the latent's texts among those of two panel latents."""
    row: Row = {"latent": latent, "kind": "three_set", **_THREE_SET._asdict(), "choosing": False}
    row["status"] = "ok"
    if reason := material.not_judged(latent, described):
        return row | {"status": reason}
    # Only settings that all three reach are shown, so that no set can be told by its size.
    wanted, texts = three_set_texts(), material.texts
    shown = [other for other in material.panel if any((other, text) in texts for text in wanted)]
    drawn = draw_opponents(
        latent,
        _THREE_SET,
        shown,
        material.strangers.intersection(shown),
        context.run.config.run.seed,
        material.made_for,
    )
    if drawn is None:
        return row | {"status": "no_partner"}
    trio = (latent, drawn.partner, drawn.stranger)
    shared = [text for text in wanted if all((one, text) in texts for one in trio)]
    if not shared:
        return row | {"status": "kl_unreached"}
    row |= {"partner": drawn.partner, "stranger": drawn.stranger}
    for text in shared:
        if is_unequal_treatment(text.kl_target, [texts[one, text]["kl_reached"] for one in trio]):
            return row | {"status": "unequal_treatment"}
    order = hash_order(trio, context.run.config.run.seed, "three_set", latent)
    sets = [[texts[one, text]["text"] for text in shared] for one in order]
    messages = judge.ask_three(described["description"], sets)
    answer = await ask_to_choose(context, messages, judge.THREE_SET_CHOICES)
    row["answers"] = [answer.text]
    if answer.choice_logprobs is None:
        return row | {"status": choice_status(answer)}
    logprobs = [answer.choice_logprobs[choice] for choice in judge.THREE_SET_CHOICES]
    return row | {"right": three_set_success(logprobs, order.index(latent))}


def _scored(latent: int, trials: Sequence[Row]) -> Row:
    """By the published trials alone; beside it the win rates of halves of the choosing ones."""
    published = [t for t in trials if not t["choosing"] and not is_control(t["kind"])]
    two = [t for t in published if t["kind"] == _TWO_SET and t["status"] == "ok"]
    three = [t for t in trials if t["kind"] == "three_set" and t["status"] == "ok"]
    failed = next((t["status"] for t in published if t["status"] != "ok"), "no_evidence")
    return {
        "latent": latent,
        "status": "ok" if two else failed,
        **win_rate_columns(two, "text_set"),
        "share_right": fmean(t["right"] for t in two) if two else None,
        "num_units": len(two),
        "three_set_success": three[0]["right"] if three else None,
        "choosing_win_rate": choosing_halves(trials),
    }
