"""The trials that choose the labels of an SAE, of every step that declares some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.choice import Array, estimates, pooled
from ray_autointerp.plan.evidence import label_methods
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.runs.tables import Tables


@dataclass(frozen=True)
class ChoosingTrials:
    """Of each chosen latent and method that may become its label: half scores, and what is
    expected.
    """

    row: Mapping[int, int]
    """By latent, its place in the arrays."""
    halves_HLM: Array
    expected_LM: Array
    reliability: float
    needed_M: Array
    """By method, the lead that its description needs (methods/choice.py)."""

    def expected(self, latent: int) -> Sequence[float]:
        """By method in the config's order; NaN where there are no trials."""
        if latent not in self.row:
            return [np.nan] * self.expected_LM.shape[1]
        found: list[float] = self.expected_LM[self.row[latent]].tolist()
        return found

    def halves(self, latent: int, method: int) -> list[float | None]:
        """The two half scores of one description; none without trials."""
        if latent not in self.row or np.isnan(self.expected_LM[self.row[latent], method]):
            return []
        found = self.halves_HLM[:, self.row[latent], method].tolist()
        return [None if np.isnan(half) else half for half in found]


def choosing_trials(tables: Tables, sae: str) -> ChoosingTrials:
    """Read once by each worker. A half score is the mean of what inputs and what outputs give.
    Empty where labels go by the config's order.
    """

    def read() -> ChoosingTrials:
        config = tables.run.config
        methods = label_methods(config)
        scored = [method for method in methods if method in config.score.methods]
        by_trials = bool(scored) and config.describe.label_by == "trials"
        if not by_trials:
            nothing_HLM = np.empty((2, 0, len(methods)))
            return ChoosingTrials({}, nothing_HLM, nothing_HLM[0], 0.0, np.zeros(len(methods)))
        latents = sorted(tables.selection(sae))
        by_side: dict[str, list[Array]] = {}
        for step in FLOW:
            if step.choosing and step.is_wanted(config):
                scored_HLM = np.full((2, len(latents), len(methods)), np.nan)
                for method in scored:
                    rows_N, halves_N2 = _halves(
                        tables, step.writes[-1], step.choosing.column, sae, method
                    )
                    places_N = np.searchsorted(latents, rows_N)
                    scored_HLM[:, places_N, methods.index(method)] = halves_N2.T
                by_side.setdefault(step.choosing.of, []).append(scored_HLM)
        halves_HLM = pooled([pooled(side) for side in by_side.values()])
        reference = "keywords" if "keywords" in scored else scored[0]
        made = estimates(halves_HLM, methods.index(reference))
        row = {latent: place for place, latent in enumerate(latents)}
        return ChoosingTrials(row, halves_HLM, made.expected_LM, made.reliability, made.needed_M)

    return tables.kept(("choosing_trials", sae), read)


def _halves(
    tables: Tables, name: str, column: str, sae: str, method: str
) -> tuple[npt.NDArray[np.int32], Array]:
    """Latents [N] with half scores [N, 2] by one step."""
    table = tables.read(name, sae, method, columns=["latent", column])
    table = table.filter(pc.list_value_length(pc.field(column)) == pa.scalar(2))
    values = pc.list_flatten(table[column].combine_chunks()).cast(pa.float64())
    return table["latent"].to_numpy(), values.to_numpy(zero_copy_only=False).reshape(-1, 2)
