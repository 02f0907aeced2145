"""What a run knows of one latent: the rows of its tables, as far as the run has come.

The terminal's card and the viewer's page show them; neither reads tables of its own for them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ray_autointerp.errors import UserError
from ray_autointerp.passes.revivals import revivals
from ray_autointerp.plan.flow import step_named
from ray_autointerp.reports.carried_label import is_carried
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.storage.names import MissingObject

T = TypeVar("T")

SCORES = ("input_score", "output_score", "unseen_tokens", "detection", "fuzzing")
"""Steps that score a description."""


@dataclass(frozen=True)
class Description:
    """A row of `descriptions`, with the rows of its scores where it was scored."""

    method: str
    row: Row
    scores: Mapping[str, Row] = field(default_factory=dict)
    """By step; of `output_ceiling` and `keyword_score` the latent's own row."""
    choice: Row | None = None
    """Of the label's own description: its row of `choices`, once labels are there."""
    is_repeated: bool = False
    """Whether several latents have the text: `lint`, though its own table cannot know."""


@dataclass(frozen=True)
class LatentRows:
    """The rows of one latent."""

    sae: str
    latent: int
    is_chosen: bool
    stats: Row
    free_scores: Row
    examples: Sequence[Row]
    """Excerpts of the explain side, strongest first."""
    lists: Sequence[tuple[str, Sequence[Row]]]
    """The name and the rows of each table with token lists."""
    descriptions: Sequence[Description]
    neighbours: Sequence[Row]
    label: Row | None = None
    """Its row of `labels`, once they are there."""
    revivals: Mapping[str, Row] = field(default_factory=dict)
    """Of a dead chosen latent, what came of each source of texts."""
    example_rows: Sequence[Row] = ()
    """Its rows of `top_examples`, of both sides of the document split."""
    missing: Mapping[str, MissingObject] = field(default_factory=dict)
    """By table, why there are no rows of it: the run has not come so far, or is of an older
    version. `stats` and `free_scores` are empty then."""

    @property
    def missing_sentence(self) -> str:
        """Which tables the run lacks."""
        return (
            f"This run has no {', '.join(self.missing)} of this latent: it has not come so far, or "
            "is of an older version."
        )


def latent_rows(tables: Tables, sae: str, latent: int) -> LatentRows:
    """Read what there is. Raises UserError if the latent is not among those the run labels."""
    whole = tables.run.axes.latents[sae]
    if not whole.start <= latent < whole.stop:
        raise UserError(
            f"Latent {latent} is not among {whole.start}:{whole.stop}, the latents of {sae} in "
            "this run."
        )
    reader = _Reader(tables, sae, latent)
    is_chosen = reader.tried("selection", lambda: latent in tables.selection(sae)) or False
    lists = [
        (name, reader.rows(table))
        for name, table in (("VocabProj", "vocab_proj"), ("JacobianProj", "jacobian_proj"))
    ]
    if is_chosen:
        lists += [
            (f"TokenChange ({mode})", reader.rows("token_change", mode))
            for mode in tables.run.config.evidence.change_modes
        ]
    label, choice = _published(tables, sae, latent)
    examples = reader.rows("top_examples")
    explained = [row["examples"] or [] for row in examples if row["split"] == "explain"]
    near = reader.row("neighbours")
    found = {}
    if is_chosen:
        found = reader.tried("revivals", lambda: revivals(tables, sae, [latent])) or {}
    return LatentRows(
        sae,
        latent,
        is_chosen,
        reader.row("latent_stats") or {},
        reader.row("free_scores") or {},
        explained[0] if explained else [],
        [(name, rows) for name, rows in lists if rows],
        list(_descriptions(reader, is_chosen, label, choice)),
        (near and near["neighbours"]) or [],
        label=label,
        revivals=found.get(latent, {}),
        example_rows=examples,
        missing=reader.missing,
    )


class _Reader:
    """Reads rows of one latent, and remembers which tables are not there."""

    def __init__(self, tables: Tables, sae: str, latent: int) -> None:
        self.tables, self.sae, self.latent = tables, sae, latent
        self.missing: dict[str, MissingObject] = {}

    def tried(self, table: str, read: Callable[[], T]) -> T | None:
        """What is read; None where it is not there."""
        try:
            return read()
        except MissingObject as error:
            self.missing.setdefault(table, error)
            return None

    def rows(self, table: str, method: str | None = None) -> list[Row]:
        """Its rows of a table; none where it is not there."""
        name = table if method is None else f"{table}/{method}"
        wanted = [self.latent]
        found = self.tried(name, lambda: self.tables.rows(table, self.sae, wanted, method))
        return found[self.latent] if found else []

    def row(self, table: str, method: str | None = None) -> Row | None:
        """Its only row of a table."""
        rows = self.rows(table, method)
        return rows[0] if rows else None


def _descriptions(
    reader: _Reader, is_chosen: bool, label: Row | None, choice: Row | None
) -> Iterator[Description]:
    config = reader.tables.run.config
    repeated = (label and label["repeated"]) or ()
    for method in config.describe.methods:
        if method != "keywords" and not is_chosen:
            continue
        row = reader.row("descriptions", method)
        if row is None:
            continue
        steps: list[tuple[str, str | None]] = []
        if method == "keywords":
            steps.append(("keyword_score", None))
        if is_chosen and method in config.score.methods:
            steps += [("output_ceiling", None), *((name, method) for name in SCORES)]
        scores = {}
        for name, variant in steps:
            if step_named(name).is_wanted(config):
                scored = reader.row(step_named(name).writes[-1], variant)
                if scored is not None:
                    scores[name] = scored
        is_own = label is not None and not is_carried(label)
        is_label = is_own and choice is not None and choice["method"] == method
        yield Description(method, row, scores, choice if is_label else None, method in repeated)


def _published(tables: Tables, sae: str, latent: int) -> tuple[Row | None, Row | None]:
    """The latent's rows of `labels` and of `choices`; None before labels are there."""
    try:
        label, choice = (tables.row(name, sae, [latent])[latent] for name in ("labels", "choices"))
        return label, choice
    except MissingObject:
        return None, None
