"""The whole product, top to bottom: check, open the run, execute what is missing, publish.

    label(config)  =  check  ->  require_placement  ->  open_run
                   ->  runner: every task of plan/flow.py  ->  labels

    relabel(config)  =  each new checkpoint of a series  ->  label, with the last one as parent

Knows no Ray: a runner is passed in (execution/run_local.py, cluster/run_ray.py), and who
says whether the cluster can hold the run.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ray_autointerp.config import Config, SaeSection
from ray_autointerp.errors import ConfigError, RunIsDriven, UserError
from ray_autointerp.execution.tracker import Observer
from ray_autointerp.preflight.check import check
from ray_autointerp.runs.checkpoints import checkpoints
from ray_autointerp.runs.manifest import open_run, run_uri
from ray_autointerp.runs.progress import has_labels
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.series import Entry, Series
from ray_autointerp.stages.publish import publish_labels
from ray_autointerp.storage.store import Store, open_store

Runner = Callable[[Run, Observer], None]
"""Executes every missing task of a run; returns when none is missing."""


Placement = Callable[[Config], None]
"""Raises UserError where a worker of the run could never be placed (cluster/nodes.py)."""


def label(
    config: Config, runner: Runner, observer: Observer, require_placement: Placement | None = None
) -> Run:
    """Label the SAEs of a config; a killed or finished run of the same name is continued.

    Everything that can be refused is refused before the first heavy step and before anything is
    written (UserError). Returns the run, whose `labels.parquet` files then exist.
    """
    checked = check(config)
    if require_placement and not has_labels(open_store(run_uri(config)), checked.axes.latents):
        require_placement(checked.config)
    run = open_run(checked.config, checked.axes, checked.inputs, checked.micro_batch)
    runner(run, observer)
    for sae in run.saes:
        publish_labels(run, sae)
    return run


@dataclass(frozen=True)
class Poll:
    """What one look for new checkpoints came to."""

    runs: tuple[Run, ...]
    """Those that have labels now and had none before."""
    num_refused: int
    """Checkpoints that cannot be labelled."""


def relabel(config: Config, label_one: Callable[[Config], Run], say: Callable[[str], None]) -> Poll:
    """One poll of a series: label every checkpoint that is whole and has no labels, oldest first;
    those that were begun go first.

    `label_one` labels the config of one checkpoint. A checkpoint that cannot be labelled is passed
    over, with its reason, without a place in the series unless it has begun; the next poll tries
    again. Where another poller is at work, this one ends. Raises UserError where nothing can be
    polled.
    """
    sae, prefix = _polled(config)
    root = open_store(config.run.root)
    series = Series(root, config.run.name, prefix)
    begun = [entry.checkpoint for entry in series.entries()]
    new = []
    for checkpoint in checkpoints(prefix, sae.layer):
        if checkpoint.name in begun:
            continue
        if checkpoint.missing is None:
            new.append(checkpoint.name)
        else:
            say(f"Waiting for {checkpoint.uri}: {checkpoint.missing}.")
    runs, num_refused = [], 0
    for name in (*begun, *new):
        try:
            entry = _entry(config, root, series, name)
            if not _has_labels(root, entry, sae):
                runs.append(label_one(_config_of(config, entry)))
        except RunIsDriven as error:
            say(f"{error} What comes after it waits.")
            break
        except UserError as error:
            say(f"Passed over: {error}")
            num_refused += 1
    return Poll(tuple(runs), num_refused)


def _entry(config: Config, root: Store, series: Series, checkpoint: str) -> Entry:
    """The checkpoint's place in the series. A new one is checked before it is given a place."""
    entries = series.entries()
    if known := next((entry for entry in entries if entry.checkpoint == checkpoint), None):
        return known
    labelled = [entry.run for entry in entries if _has_labels(root, entry, config.sae[0])]
    entry = series.next(checkpoint, len(entries), labelled[-1] if labelled else None)
    check(_config_of(config, entry))
    if not series.claim(entry, len(entries)):
        raise RunIsDriven(f"Another poller of `{config.run.name}` has just begun a checkpoint.")
    return entry


def _polled(config: Config) -> tuple[SaeSection, str]:
    sae = config.sae[0]
    if len(config.sae) > 1 or sae.checkpoints is None:
        raise ConfigError(
            "relabel takes a config with one [[sae]], whose `checkpoints` names the folder, or "
            "s3://bucket/prefix, below which each checkpoint is a folder."
        )
    return sae, sae.checkpoints


def _has_labels(root: Store, entry: Entry, sae: SaeSection) -> bool:
    return has_labels(root.child(entry.run), [sae.id])


def _config_of(config: Config, entry: Entry) -> Config:
    """The config of one checkpoint's run."""
    run = config.run.model_copy(update={"name": entry.run, "parent": entry.parent})
    path = f"{entry.checkpoints.rstrip('/')}/{entry.checkpoint}"
    sae = config.sae[0].model_copy(update={"path": path, "checkpoints": None})
    return config.model_copy(update={"run": run, "sae": (sae,)})
