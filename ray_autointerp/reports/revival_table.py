"""How many dead latents any text fires, by where the texts came from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ray_autointerp.passes.revivals import revivals
from ray_autointerp.plan.evidence import REVIVAL_LISTS
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

ANY = "any text"
PAPER = "62 % of residual, 9 % of MLP latents"
"""Gur-Arieh et al., 2025: by about 1,600 texts a latent, sentences and tokens together."""


@dataclass(frozen=True)
class Revived:
    """One source of texts."""

    source: str
    num_tried: int
    """Dead latents that had a text of it."""
    num_revived: int
    num_texts: int
    """Tried in all."""

    @property
    def share(self) -> float:
        """Revived of those tried."""
        return self.num_revived / self.num_tried


def revived_by_source(found: Mapping[int, Mapping[str, Row]]) -> Iterator[Revived]:
    """Of the rows by latent and source: all sources together, then one by one; none if no latent
    was tried.
    """
    sources = dict.fromkeys(source for rows in found.values() for source in rows)
    groups = {ANY: [list(rows.values()) for rows in found.values()]}
    groups |= {
        source: [[rows[source]] for rows in found.values() if source in rows] for source in sources
    }
    for name, latents in groups.items():
        if latents:
            num_revived = sum(any(row["revived"] for row in rows) for rows in latents)
            num_texts = sum(row["num_texts"] for rows in latents for row in rows)
            yield Revived(name, len(latents), num_revived, num_texts)


def source_in_words(source: str) -> str:
    """Where the texts came from, for eyes."""
    if source in REVIVAL_LISTS:
        table, column = REVIVAL_LISTS[source]
        return "tokens that its encoder reads" if column == "reads" else f"tokens of {table}"
    return source if source == ANY else f"sentences from {source}"


def revival_sentence(run: Run) -> str | None:
    """How many of a run's dead latents some text fires; None where none was tried."""
    tables = Tables(run)
    found: dict[int, dict[str, Row]] = {}
    for sae in run.saes:
        rows = revivals(tables, sae, sorted(tables.selection(sae)))
        found |= {len(found) + place: of for place, of in enumerate(rows.values())}
    made = list(revived_by_source(found))
    if not made:
        return None
    whole, *parts = made
    each = ", ".join(f"{one.num_revived:,} by {source_in_words(one.source)}" for one in parts)
    return (
        f"Of {whole.num_tried:,} dead latents, {whole.num_revived:,} ({whole.share:.0%}) fire on "
        f"a text made for them: {each}. In the paper {PAPER}."
    )
