"""manifest.json: what a run is. Written once; a resumed run must agree with it on identity.

Identity decides results; growth (methods, scorers) may grow until labels exist; operations are
free (architecture, section 5). The code's version is recorded, not compared.
"""

import json
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError, RunMismatch, StoreError
from ray_autointerp.plan.identity import (
    Inputs,
    differs_by_selection_alone,
    digest,
    first_difference,
    identity,
)
from ray_autointerp.plan.shards import Axes, LatentRange
from ray_autointerp.records.layout import MANIFEST, table_folder
from ray_autointerp.records.schemas import SCHEMA_VERSION
from ray_autointerp.runs.inheritance import answered_steps, finished_nodes, inherited_steps
from ray_autointerp.runs.progress import has_labels
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.store import Store, open_store


def run_uri(config: Config) -> str:
    """The run's folder: its name under the root."""
    return uri_under_root(config, config.run.name)


def uri_under_root(config: Config, name: str) -> str:
    """The folder of another run under the config's root."""
    return f"{config.run.root.rstrip('/')}/{name}"


def open_run(config: Config, axes: Axes, inputs: Inputs, micro_batch: int) -> Run:
    """Begin the run, or continue the one of that name.

    Where that one is finished and the config differs in growth or selection alone, a run of its own
    follows it, as `<name>-2`, whose parent it is. `micro_batch` is used where the config leaves it
    open and neither the run nor its parent has one.

    Raises RunMismatch, which names step and field, where the store holds a run whose results
    were decided otherwise.
    """
    name, number = config.run.name, 1
    while (run := _begun_or_continued(config, axes, inputs, micro_batch)) is None:
        number += 1
        update = {"name": f"{name}-{number}", "parent": config.run.name}
        config = config.model_copy(update={"run": config.run.model_copy(update=update)})
    return run


def _begun_or_continued(config: Config, axes: Axes, inputs: Inputs, micro_batch: int) -> Run | None:
    """None where the run of that name is finished and to be followed."""
    uri = run_uri(config)
    store = open_store(uri)
    config = _with_micro_batch(config, micro_batch)
    decided = identity(config, axes, inputs)
    if not store.exists(MANIFEST):
        run = _begun(config, axes, uri, decided)
        manifest = {
            "run": config.run.name,
            "schema_version": SCHEMA_VERSION,
            "code_version": version("ray_autointerp"),
            "parent": config.run.parent,
            "inherits": run.inherits,
            "answered_by": run.answered_by,
            "config": config.model_dump(mode="json"),
            "axes": _axes_json(axes),
            "identity": decided,
        }
        text = json.dumps(manifest, indent=1, sort_keys=True)
        if store.put_if_absent(MANIFEST, text.encode()):
            return run
    known = _read(store)
    _require_same_schema(store, known)
    other_saes = _other_saes(known["axes"], axes)
    difference = other_saes or first_difference(known["identity"], decided)
    has_grown = _has_grown(config, known["config"])
    if difference or has_grown:
        is_like = not other_saes and differs_by_selection_alone(known["identity"], decided)
        if is_like and has_labels(store, axes.latents):
            return None
    if difference:
        raise RunMismatch(
            f"The run {uri} cannot be continued: {difference}. Put the old setting back, or give "
            f"{_new_name(config.run.name)}"
        )
    if has_grown and any(store.list(table_folder("labels", sae, None)) for sae in axes.latents):
        raise ConfigError(
            f"Labels of {uri} are published, and `{has_grown}` differs from what made them: give "
            f"{_new_name(config.run.name)}"
        )
    run = _run(config, axes, uri, decided)
    return replace(run, inherits=known["inherits"], answered_by=known["answered_by"])


def _new_name(run: str) -> str:
    return f'run.name another value, with `run.parent = "{run}"` to keep what does not differ.'


def _begun(config: Config, axes: Axes, uri: str, decided: dict[str, Any]) -> Run:
    """A new run, with what it takes over from its parent."""
    run = _run(config, axes, uri, decided)
    if config.run.parent is None:
        return run
    known = _parent(run, config.run.parent)
    parent = _loaded(run.sibling(config.run.parent), known)
    finished = finished_nodes(parent)
    inherits = inherited_steps(parent, finished, run.identity)
    answered = answered_steps(parent, finished, known["identity"], decided)
    answered_by = {node: folder for node, folder in answered.items() if node not in inherits}
    return replace(run, inherits=inherits, answered_by=answered_by)


def _parent(run: Run, name: str) -> dict[str, Any]:
    """The manifest of the run that another is to follow."""
    if name == run.config.run.name:
        raise ConfigError(f"run.parent is `{name}`, the run itself: give run.name another value.")
    if not open_store(run.sibling(name)).exists(MANIFEST):
        raise ConfigError(
            f"run.parent names `{name}`, and there is no run at {run.sibling(name)}: name a run "
            "under the same run.root."
        )
    return _read(open_store(run.sibling(name)))


def _other_saes(known: dict[str, Any], axes: Axes) -> str | None:
    before, now = [sae for sae, _ in known["latents"]], list(axes.latents)
    if before == now:
        return None
    return f"it labels the SAEs {', '.join(before)}, and the config now names {', '.join(now)}"


def _with_micro_batch(config: Config, size: int) -> Config:
    """Where the config leaves it open, the run's own, or its parent's, so that the tables which it
    decides are the same; else what fits into memory.
    """
    operations = config.operations
    if operations.micro_batch:
        return config
    for name in filter(None, (config.run.name, config.run.parent)):
        store = open_store(uri_under_root(config, name))
        if store.exists(MANIFEST):
            size = _read(store)["config"]["operations"]["micro_batch"]
            break
    settled = operations.model_copy(update={"micro_batch": size})
    return config.model_copy(update={"operations": settled})


def load_run(uri: str) -> Run:
    """A run that exists, from its manifest. Raises StoreError if there is none at the URI."""
    return _loaded(uri, _read(open_store(uri)))


def _loaded(uri: str, manifest: dict[str, Any]) -> Run:
    axes = Axes(
        num_token_shards=manifest["axes"]["num_token_shards"],
        latents={sae: LatentRange(*ends) for sae, ends in manifest["axes"]["latents"]},
        latents_per_shard=manifest["axes"]["latents_per_shard"],
        selected_per_shard=manifest["axes"]["selected_per_shard"],
        hook_points=manifest["axes"]["hook_points"],
        d_model=manifest["axes"]["d_model"],
        directions_per_shard=manifest["axes"]["directions_per_shard"],
        read_points=manifest["axes"].get("read_points", {}),
        later_hook_points={
            sae: tuple(points)
            for sae, points in manifest["axes"].get("later_hook_points", {}).items()
        },
    )
    run = _run(Config.model_validate(manifest["config"]), axes, uri, manifest["identity"])
    return replace(run, inherits=manifest["inherits"], answered_by=manifest["answered_by"])


def _run(config: Config, axes: Axes, uri: str, decided: dict[str, Any]) -> Run:
    digests = {node: digest(record) for node, record in decided.items()}
    return Run(config, axes, uri, digests)


def _axes_json(axes: Axes) -> dict[str, Any]:
    return {
        "num_token_shards": axes.num_token_shards,
        "latents": [[sae, [r.start, r.stop]] for sae, r in axes.latents.items()],
        "latents_per_shard": axes.latents_per_shard,
        "selected_per_shard": axes.selected_per_shard,
        "hook_points": dict(axes.hook_points),
        "d_model": axes.d_model,
        "directions_per_shard": axes.directions_per_shard,
        "read_points": dict(axes.read_points),
        "later_hook_points": dict(axes.later_hook_points),
    }


def _read(store: Store) -> dict[str, Any]:
    if not store.exists(MANIFEST):
        raise StoreError(f"There is no run at {store.uri}: it has no {MANIFEST}.")
    manifest: dict[str, Any] = json.loads(store.get(MANIFEST))
    if manifest["schema_version"] > SCHEMA_VERSION:
        raise RunMismatch(
            f"The run at {store.uri} has schema version {manifest['schema_version']}, and this "
            f"ray_autointerp knows those up to {SCHEMA_VERSION}: read it with the version that "
            f"made it ({manifest['code_version']}), or a later one."
        )
    return manifest


def _require_same_schema(store: Store, manifest: dict[str, Any]) -> None:
    """Tables of an older version are read; another's are not written beside them."""
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise RunMismatch(
            f"The run {store.uri} has schema version {manifest['schema_version']}, and this "
            f"ray_autointerp writes {SCHEMA_VERSION}: continue it with the version that began it "
            f"({manifest['code_version']}), or give "
            f"{_new_name(manifest['run'])}"
        )


def _has_grown(config: Config, known: dict[str, Any]) -> str | None:
    """The section whose methods or scorers are others than the run began with, if any.

    They may be added until labels exist, which would not show them.
    """
    before = Config.model_validate(known)  # with the defaults of fields that are newer than it
    sections = ("describe", "score")
    return next((one for one in sections if getattr(config, one) != getattr(before, one)), None)
