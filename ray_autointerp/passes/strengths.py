"""The two strengths at which latents are raised where estimates and labels are judged."""

from collections.abc import Sequence

from ray_autointerp.passes.reference_activations import reference_activations
from ray_autointerp.runs.tables import Tables

STRENGTHS = ("maximum", "steering")
"""The latent's reference activation; the clamp that reaches steering's highest KL target."""


def raised_values(
    tables: Tables, sae: str, latents: Sequence[int], strength: str
) -> dict[int, float | None]:
    """By latent, the value it is clamped to at one strength; None where the KL is unreached."""
    if strength == "maximum":
        scale = reference_activations(tables, sae)
        return {latent: scale[latent] for latent in latents}
    target = max(tables.run.config.steering.kl_targets)
    clamps = tables.rows("clamps", sae, latents)
    return {
        latent: next(
            row["clamp_value"] if row["status"] == "ok" else None
            for row in clamps[latent]
            if row["sign"] == 1 and abs(row["kl_target"] - target) < 1e-6
        )
        for latent in latents
    }
