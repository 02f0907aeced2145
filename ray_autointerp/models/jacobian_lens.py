"""Published Jacobian lenses: a matrix per layer, from a block's output to the last block's.

As TransformerLens and its reference implementation fit and save them: to the residual stream before
the final norm, summed over later positions, averaged over source positions. A file holds `J` by
layer (or the running sums of an unfinished fit); a safetensors file one matrix per layer, named by
its number.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from ray_autointerp.errors import ConfigError
from ray_autointerp.models.hook_point import Site
from ray_autointerp.models.subject_card import SubjectCard, first_line

PREFIX = "lens:"
"""Of a value of `evidence.jacobian` that names a lens."""


@dataclass(frozen=True)
class JacobianLens:
    """The matrices of a lens, and what its file says of how they came about."""

    name: str
    matrices: dict[int, Tensor]
    """By layer: of the block whose output it maps."""
    num_prompts: int
    fitted_for: tuple[str, ...]
    """Names of the model, where known."""
    target_layer: int | None

    def require_fits(self, subject: SubjectCard, hook_point: str) -> None:
        """Raises ConfigError where it is another model's, or has nothing for the hook point."""
        said = f"evidence.jacobian: the lens {self.name}"
        own = Path(subject.model).name.casefold()
        if self.fitted_for and own not in {Path(name).name.casefold() for name in self.fitted_for}:
            raise ConfigError(
                f"{said} was fitted on {self.fitted_for[0]}, and the subject is {subject.model}: "
                'give that model\'s own lens, or say "fit".'
            )
        last = subject.num_layers - 1
        if self.target_layer not in (None, last):
            raise ConfigError(
                f"{said} ends at layer {self.target_layer}, and the subject's last is {last}: "
                'give one that ends there, or say "fit".'
            )
        matrix = self.matrix(subject.blocks.write_site(hook_point), subject)
        if matrix is None:
            layers = ", ".join(map(str, sorted(self.matrices)))
            raise ConfigError(
                f"{said} has no matrix for {hook_point}, only for the outputs of the blocks "
                f'{layers}: say "fit".'
            )
        if matrix.shape != (subject.d_model, subject.d_model):
            raise ConfigError(
                f"{said} has matrices of {' x '.join(map(str, matrix.shape))}, and the subject's "
                f'd_model is {subject.d_model}: give the lens of {subject.model}, or say "fit".'
            )

    def matrix(self, site: Site, subject: SubjectCard) -> Tensor | None:
        """From a site to the last block's output [D, D], float32; None if the lens has none."""
        if site == subject.num_layers:
            return torch.eye(subject.d_model)
        return self.matrices.get(site - 1) if isinstance(site, int) else None


def load_lens(named: str) -> JacobianLens:
    """The lens that `evidence.jacobian` names. Raises ConfigError."""
    file, fitted_for = _found(named.removeprefix(PREFIX))
    try:
        if file.suffix == ".safetensors":
            tensors = load_file(file)
            matrices = {int(key.removeprefix("J.")): tensor for key, tensor in tensors.items()}
            num_prompts, metadata = 0, {}
        else:
            lens = _reader().load(str(file))
            matrices, num_prompts, metadata = lens.jacobians, lens.n_prompts, lens.metadata
    except Exception as error:  # the unpickler's, the reader's and the file's own
        raise ConfigError(
            f"evidence.jacobian: {file} cannot be read as a Jacobian lens: {first_line(error)}"
        ) from error
    if not all(tensor.isfinite().all() for tensor in matrices.values()):
        raise ConfigError(f"evidence.jacobian: the lens {file} holds numbers that are not finite.")
    said: Any = metadata.get("model_name")
    target: Any = metadata.get("target_layer")
    return JacobianLens(
        name=named.removeprefix(PREFIX),
        matrices={layer: tensor.float() for layer, tensor in matrices.items()},
        num_prompts=num_prompts,
        fitted_for=(said,) if said else fitted_for,
        target_layer=None if target is None else int(target),
    )


def lens_digest(named: str) -> str:
    """sha256 of the lens's file. Raises ConfigError."""
    with _found(named.removeprefix(PREFIX))[0].open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def _reader() -> Any:
    from transformer_lens.tools.analysis import JacobianLens as Reader

    return Reader


def _found(name: str) -> tuple[Path, tuple[str, ...]]:
    """The file of a path or of a name in TransformerLens' registry, and whose lens that says it
    is. Raises ConfigError.
    """
    if (path := Path(name)).is_file():
        return path, ()
    from huggingface_hub import hf_hub_download
    from transformer_lens.tools.analysis import jacobian_lens

    registry = jacobian_lens._load_registry()
    entries = {key: entry for key, entry in registry.items() if isinstance(entry, dict)}
    for key, entry in entries.items():
        if name in (key, *entry.get("aliases", ())):
            try:
                found = hf_hub_download(entry["repo_id"], entry["filename"])
            except Exception as error:  # whatever a hub or a proxy says
                raise ConfigError(
                    f"evidence.jacobian: the lens {name} cannot be fetched: {first_line(error)}"
                ) from error
            return Path(found), (*entry.get("aliases", ()), key)
    raise ConfigError(
        f"evidence.jacobian: {name} is neither a file nor one of TransformerLens' published "
        f"lenses, which are {', '.join(entries)}."
    )
