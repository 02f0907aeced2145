"""The whole product, top to bottom: check, open the run, execute what is missing, publish.

    label(config)  =  check  ->  open_run  ->  runner: every task of plan/flow.py  ->  labels

Knows no Ray: a runner is passed in (execution/run_local.py, cluster/run_ray.py).
"""

from collections.abc import Callable

from ray_autointerp.config import Config
from ray_autointerp.execution.tracker import Observer
from ray_autointerp.preflight.check import check
from ray_autointerp.runs.manifest import open_run
from ray_autointerp.runs.run import Run
from ray_autointerp.stages.publish import publish_labels

Runner = Callable[[Run, Observer], None]
"""Executes every missing task of a run; returns when none is missing."""


def label(config: Config, runner: Runner, observer: Observer) -> Run:
    """Label the SAEs of a config; a killed or finished run of the same name is continued.

    Everything that can be refused is refused before the first heavy step and before anything is
    written (UserError). Returns the run, whose `labels.parquet` files then exist.
    """
    checked = check(config)
    run = open_run(checked.config, checked.axes, checked.inputs, checked.micro_batch)
    runner(run, observer)
    for sae in run.saes:
        publish_labels(run, sae)
    return run
