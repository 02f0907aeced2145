"""sae_fit: whether an SAE fits the subject as loaded, measured on the corpus's first tokens.

Before anything is paid for: how many latents are active at a token, beside what the SAE's metadata
says, and how much of the variance it leaves unexplained. An SAE that explains nearly nothing is
another model's, layer's, architecture's or scale's, and its labels would be of noise.
"""

import logging

from ray_autointerp.errors import SaeError
from ray_autointerp.passes.sae_fit import measured_fit
from ray_autointerp.plan.fit_verdict import fit_verdict
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext

_log = logging.getLogger(__name__)


def run(task: Task, context: WorkerContext) -> None:
    """Write `sae_fit`: one row. Raises SaeError where more is unexplained than the config lets."""
    assert task.sae is not None
    fit = measured_fit(task.sae, context)
    verdict = fit_verdict(fit.row, context.run.config.sae_fit, fit.elsewhere)
    if verdict.outcome == "stop":
        raise SaeError(" ".join(verdict.sentences))
    for sentence in verdict.sentences:
        _log.warning("%s", sentence)
    context.write(task, "sae_fit", [fit.row])
