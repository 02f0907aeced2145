"""A latent's steered texts as the units of the output score show them: whole sets or none."""

from collections.abc import Iterable, Sequence

from ray_autointerp.config import Config
from ray_autointerp.methods.panel_draw import Unit
from ray_autointerp.plan.units import Text, all_units, texts_of
from ray_autointerp.runs.tables import Row, Tables

Completions = dict[tuple[int, Text], Row]
"""Rows of `completions`, or of `control_texts/<kind>`, that are `ok`, by latent and text."""

TextSets = dict[tuple[int, Unit], Sequence[Row]]
"""The same rows by latent and unit, in the order of their prompts."""


def completions(
    tables: Tables, sae: str, latents: Sequence[int], control: str | None = None
) -> Completions:
    """The texts that these latents have; of a kind of control, those in their place."""
    table = "control_texts" if control else "completions"
    rows = tables.rows(table, sae, latents, control)
    return {
        (latent, _text(row)): row
        for latent in latents
        for row in rows[latent]
        if row["status"] == "ok"
    }


def text_sets(config: Config, texts: Completions, latents: Iterable[int]) -> TextSets:
    """The sets of these latents; one that lacks a text is left out."""
    wanted = {unit: texts_of(unit, config) for unit in all_units(config)}
    return {
        (latent, unit): [texts[latent, text] for text in members]
        for latent in latents
        for unit, members in wanted.items()
        if all((latent, text) in texts for text in members)
    }


def _text(row: Row) -> Text:
    """KL targets are float32 in tables; six digits tell them apart."""
    return Text(row["prompt"], row["sign"], round(row["kl_target"], 6), row["draw"])
