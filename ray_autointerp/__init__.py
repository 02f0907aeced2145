"""Label the latents of sparse autoencoders. For Python: `label` makes a run, `read_run` reads one.

Each name is imported when it is first used: reading a run loads neither torch nor Ray.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ray_autointerp.config import Config
    from ray_autointerp.config_file import read_config
    from ray_autointerp.errors import AutointerpError, UserError
    from ray_autointerp.labelling import label
    from ray_autointerp.models.text_embedding import TextEmbedding
    from ray_autointerp.reports.labelled_run import LabelledRun, read_run
    from ray_autointerp.reports.latent_card import LatentCard

__all__ = [
    "AutointerpError",
    "Config",
    "LabelledRun",
    "LatentCard",
    "TextEmbedding",
    "UserError",
    "label",
    "read_config",
    "read_run",
]

_MODULES = {
    "AutointerpError": "errors",
    "Config": "config",
    "LabelledRun": "reports.labelled_run",
    "LatentCard": "reports.latent_card",
    "TextEmbedding": "models.text_embedding",
    "UserError": "errors",
    "label": "labelling",
    "read_config": "config_file",
    "read_run": "reports.labelled_run",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
