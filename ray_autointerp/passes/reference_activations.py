"""The activation that sets a latent's scale: its maximum, or for a silent one the SAE's median.

Clamp sizes and the search for KL targets are multiples of it (methods 16).
"""

import numpy as np

from ray_autointerp.methods.steering import start_activations
from ray_autointerp.runs.tables import Tables


def reference_activations(tables: Tables, sae: str) -> dict[int, float]:
    """By latent, for the whole range of the run; always positive."""

    def read() -> dict[int, float]:
        stats = tables.read("latent_stats", sae, columns=["latent", "max_activation"]).to_pylist()
        maxima = np.array([row["max_activation"] or 0.0 for row in stats], np.float32)
        starts = start_activations(maxima).tolist()
        return {row["latent"]: start for row, start in zip(stats, starts, strict=True)}

    return tables.kept(("reference_activations", sae), read)
