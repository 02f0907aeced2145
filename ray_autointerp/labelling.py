"""Labelling from Python and from the command line: on Ray, or in one process."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console

from ray_autointerp.cluster.nodes import require_placement
from ray_autointerp.cluster.progress import Progress, Silent
from ray_autointerp.cluster.run_ray import run_ray
from ray_autointerp.config import Config
from ray_autointerp.config_file import read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.execution.tracker import Observer
from ray_autointerp.pipeline import label as label_saes
from ray_autointerp.reports.labelled_run import LabelledRun
from ray_autointerp.runs.run import Run


def label(config: Config | str | Path, *, local: bool = False, quiet: bool = False) -> LabelledRun:
    """Label whole SAEs, as the command `label` does; called again it continues a run that stopped.

    `config` is a TOML file or a Config. On the Ray cluster at hand or one of this machine's own, or
    in this process with `local`; `quiet` shows no progress. Raises UserError for what cannot work.
    """
    read = config if isinstance(config, Config) else read_config(config)
    shown: AbstractContextManager[Observer] = (
        nullcontext(Silent()) if quiet else Progress(Console())
    )
    with shown as observer:
        return LabelledRun(label_with(read, local, observer))


def label_with(config: Config, local: bool, observer: Observer) -> Run:
    """Label with an observer of one's own."""
    if local:
        return label_saes(config, run_local, observer)
    return label_saes(config, run_ray, observer, require_placement)
