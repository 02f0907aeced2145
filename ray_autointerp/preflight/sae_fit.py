"""Whether each SAE fits the subject, measured before a run is begun, as its first steps will.

The subject and the SAEs are loaded on this machine's devices. The corpus's first windows lie in a
temporary folder meanwhile; nothing of it is kept.
"""

from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryDirectory

from ray_autointerp.config import Config
from ray_autointerp.passes.sae_fit import MeasuredFit, measured_fit
from ray_autointerp.preflight.check import Checked
from ray_autointerp.preflight.worker_memory import require_weights_here
from ray_autointerp.records.task import Task
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.stages import corpus


def sae_fits(checked: Checked) -> Iterator[MeasuredFit]:
    """What the run would find, SAE by SAE. Raises UserError."""
    require_weights_here(checked.config, checked.subject)
    with TemporaryDirectory() as folder:
        axes = replace(checked.axes, num_token_shards=1)
        run = Run(_first_tokens(checked), axes, folder)
        context = WorkerContext(run)
        tokens = Task("corpus", None, None, 0, 1)
        corpus.run(tokens, context.for_task(tokens))
        for sae in run.saes:
            yield measured_fit(sae, context.for_task(Task("sae_fit", sae, None, 0, 1)))


def _first_tokens(checked: Checked) -> Config:
    """The config with as much of the corpus as the step looks at: of the first shard at most."""
    config = checked.config
    shard = -(-config.corpus.num_tokens // checked.axes.num_token_shards)
    tokens = min(config.sae_fit.num_tokens, shard)
    operations = config.operations
    size = operations.micro_batch or checked.micro_batch
    return config.model_copy(
        update={
            "corpus": config.corpus.model_copy(update={"num_tokens": tokens}),
            "operations": operations.model_copy(update={"micro_batch": size}),
        }
    )
