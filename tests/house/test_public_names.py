"""What `import ray_autointerp` offers: names and signatures that others' code rests on."""

import inspect
from typing import Any

import pytest

import ray_autointerp

NAMES = {
    "AutointerpError": None,
    "Config": None,
    "LabelledRun": None,
    "LatentCard": None,
    "TextEmbedding": None,
    "UserError": None,
    "label": "(config: ray_autointerp.config.Config | str | pathlib.Path, *, local: bool = False, "
    "quiet: bool = False) -> ray_autointerp.reports.labelled_run.LabelledRun",
    "read_config": "(path: str | pathlib.Path) -> ray_autointerp.config.Config",
    "read_run": "(uri: str | pathlib.Path) -> ray_autointerp.reports.labelled_run.LabelledRun",
}
METHODS = {
    "labels": "(sae: str | None = None) -> pyarrow.lib.Table",
    "scores": "(sae: str | None = None) -> pyarrow.lib.Table",
    "search": "(text: str, sae: str | None = None, embed: collections.abc.Callable["
    "[collections.abc.Sequence[str]], numpy.ndarray] | None = None) -> pyarrow.lib.Table",
    "latent": "(latent: int, sae: str | None = None) -> "
    "ray_autointerp.reports.latent_card.LatentCard",
    "examples": "(latent: int, sae: str | None = None) -> pyarrow.lib.Table",
}
PROPERTIES = {"uri", "saes"}


def signature(function: Any) -> str:
    shown = str(inspect.signature(function)).replace("(self, ", "(").replace("(self)", "()")
    return shown.replace("pathlib._local.Path", "pathlib.Path")


def test_names_and_signatures_are_these() -> None:
    assert set(ray_autointerp.__all__) == set(NAMES) == set(dir(ray_autointerp))
    for name, expected in NAMES.items():
        value = getattr(ray_autointerp, name)
        assert expected is None or signature(value) == expected
    offered = {name for name in vars(ray_autointerp.LabelledRun) if not name.startswith("_")}
    assert offered == {*METHODS, *PROPERTIES}
    for name, expected in METHODS.items():
        assert signature(getattr(ray_autointerp.LabelledRun, name)) == expected


def test_every_name_is_documented() -> None:
    for name in NAMES:
        assert inspect.getdoc(getattr(ray_autointerp, name)), name


def test_name_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'read_runs'"):
        ray_autointerp.read_runs  # noqa: B018
