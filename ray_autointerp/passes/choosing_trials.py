"""The trials that choose the labels of an SAE, of every step that declares some."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ray_autointerp.methods.choice import Array, estimates
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.runs.tables import Tables


@dataclass(frozen=True)
class ChoosingTrials:
    """Of each chosen latent and method of the config: half scores, and what is expected."""

    row: Mapping[int, int]
    """By latent, its place in the arrays."""
    halves_HLM: Array
    expected_LM: Array
    reliability: float

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
    """Read once by each worker. A half score is the mean of those of the steps that have one, so
    that inputs and outputs count alike. Empty where labels go by the config's order.
    """

    def read() -> ChoosingTrials:
        config = tables.run.config
        methods = config.describe.methods
        by_trials = config.describe.label_by == "trials"
        latents = sorted(tables.selection(sae)) if by_trials else []
        columns = [
            (step.writes[-1], step.choosing_column)
            for step in FLOW
            if step.choosing_column and step.is_wanted(config)
        ]
        found_SHLM = np.full((len(columns), 2, len(latents), len(methods)), np.nan)
        for of_step_HLM, (name, column) in zip(found_SHLM, columns, strict=True):
            for method in config.score.methods if latents else ():
                table = tables.read(name, sae, method, columns=["latent", column])
                table = table.filter(pc.list_value_length(pc.field(column)) == pa.scalar(2))
                rows_N = np.searchsorted(latents, table["latent"].to_numpy())
                values = pc.list_flatten(table[column].combine_chunks()).cast(pa.float64())
                halves_N2 = values.to_numpy(zero_copy_only=False).reshape(-1, 2)
                of_step_HLM[:, rows_N, methods.index(method)] = halves_N2.T
        count_HLM = (~np.isnan(found_SHLM)).sum(0)
        with np.errstate(invalid="ignore"):
            halves_HLM = np.nansum(found_SHLM, 0) / count_HLM
        made = estimates(halves_HLM)
        row = {latent: place for place, latent in enumerate(latents)}
        return ChoosingTrials(row, halves_HLM, made.expected_LM, made.reliability)

    return tables.kept(("choosing_trials", sae), read)
