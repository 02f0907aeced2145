"""The tensors that an SAE of each architecture has, as SAELens and sparsify store them.

Weights of another architecture than cfg.json names are refused by their names and shapes alone,
with the architecture or sizes that they look like.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors import safe_open

from ray_autointerp.errors import SaeError

Shape = tuple[int, ...]

_STANDARD = {"W_enc": "IL", "b_enc": "L", "W_dec": "LO", "b_dec": "O"}
_THRESHOLD, _SKIP = {"threshold": "L"}, {"W_skip": "OI"}

_TENSORS: dict[str, dict[str, str]] = {
    "standard": _STANDARD,
    "topk": _STANDARD,
    "abstopk": _STANDARD,
    "gated": {
        "W_enc": "IL",
        "b_gate": "L",
        "b_mag": "L",
        "r_mag": "L",
        "W_dec": "LO",
        "b_dec": "O",
    },
    "jumprelu": _STANDARD | _THRESHOLD,
    "matching_pursuit": {"W_dec": "LO", "b_dec": "O"},
    "batchtopk": _STANDARD | {"topk_threshold": ""},
    "matryoshka_batchtopk": _STANDARD | {"topk_threshold": ""},
    "transcoder": _STANDARD,
    "skip_transcoder": _STANDARD | _SKIP,
    "jumprelu_transcoder": _STANDARD | _THRESHOLD,
    "jumprelu_skip_transcoder": _STANDARD | _THRESHOLD | _SKIP,
}
"""By architecture the dimensions of each tensor: I is d_in, L d_sae, O d_out."""

_SPARSIFY = {"encoder.weight": "LI", "encoder.bias": "L", "W_dec": "LO", "b_dec": "O"}

_IGNORED = frozenset({"scaling_factor"})
"""Written by old versions of SAELens; dropped on loading, where it is all ones."""

_LOOKS = {
    "topk": '"topk" (with its k)',
    "abstopk": '"abstopk" (with its k)',
    "jumprelu": '"jumprelu" (as which BatchTopK SAEs are saved for use)',
}
"""Architectures of which more is to be said than their name."""

_SIZES = {"I": "d_in", "L": "d_sae", "O": "d_out"}


def shapes_of(file: Path) -> dict[str, Shape]:
    """By name, the shapes of a safetensors file's tensors, none of which is read."""
    with safe_open(file, "pt") as tensors:
        return {name: tuple(tensors.get_slice(name).get_shape()) for name in tensors.keys()}  # noqa: SIM118


def require_tensors(
    source: str, architecture: str, sizes: Mapping[str, int], shapes: Mapping[str, Shape]
) -> None:
    """Raises SaeError unless a SAELens file's tensors are those of its architecture.

    `sizes`: d_in, d_sae and d_out by cfg.json. An architecture that is not known here is let pass.
    """
    expected = _TENSORS.get(architecture)
    if expected is None:
        return
    names = set(shapes) - _IGNORED
    if names != set(expected):
        raise SaeError(
            f"{source} says architecture `{architecture}`, and its weights "
            f"{_difference(set(expected), names)}: {_advice(architecture, names)}."
        )
    _require_shapes(source, expected, sizes, shapes)


def require_sparsify_tensors(
    source: str, sizes: Mapping[str, int], shapes: Mapping[str, Shape]
) -> None:
    """Raises SaeError unless a sparsify file has the tensors that are read, in these sizes."""
    absent = sorted(set(_SPARSIFY) - set(shapes))
    if absent:
        raise SaeError(
            f"{source} is a sparsify checkpoint without {' and '.join(absent)}: take a whole copy."
        )
    _require_shapes(source, _SPARSIFY, sizes, shapes)


def _difference(expected: set[str], names: set[str]) -> str:
    parts = []
    for verb, found in (("lack", expected - names), ("have", names - expected)):
        if found:
            parts.append(f"{verb} {' and '.join(f'`{name}`' for name in sorted(found))}")
    return " and ".join(parts)


def _advice(architecture: str, names: set[str]) -> str:
    """What to do, by the architectures that have these tensors; transcoders only for one."""
    if "log_threshold" in names:
        return "they are of a training checkpoint, save it with SAELens' save_inference_model"
    fitting = [other for other, expected in _TENSORS.items() if set(expected) == names]
    is_transcoder = "transcoder" in architecture
    alike = [other for other in fitting if ("transcoder" in other) == is_transcoder] or fitting
    if not alike:
        return "they look like no architecture that can be read, take another copy of it"
    shown = " or ".join(_LOOKS.get(other, f'"{other}"') for other in alike)
    lost = set(_TENSORS[architecture]) - names
    copy = f", or take a copy with {' and '.join(sorted(lost))}" if lost else ""
    return f'they look like {shown}: set "architecture" in its cfg.json to what it is{copy}'


def _require_shapes(
    source: str,
    expected: Mapping[str, str],
    sizes: Mapping[str, int],
    shapes: Mapping[str, Shape],
) -> None:
    for name, dims in expected.items():
        wanted = tuple(sizes[_SIZES[dim]] for dim in dims)
        if shapes[name] != wanted:
            raise SaeError(
                f"{source} says {' and '.join(_said(dims, sizes))}, which makes {name} "
                f"{shown(wanted)}, and it is {shown(shapes[name])}: "
                f"{_sizes_advice(expected, sizes, shapes)}."
            )


def _said(dims: str, sizes: Mapping[str, int]) -> Iterator[str]:
    return (f"{_SIZES[dim]} = {sizes[_SIZES[dim]]}" for dim in dims)


def shown(shape: Shape) -> str:
    """A shape in words: `40 x 32`."""
    return " x ".join(map(str, shape)) or "a single number"


def _sizes_advice(
    expected: Mapping[str, str], sizes: Mapping[str, int], shapes: Mapping[str, Shape]
) -> str:
    """The sizes that all tensors agree on; a damaged file has none."""
    found: dict[str, set[int]] = {}
    for name, dims in expected.items():
        if len(shapes[name]) != len(dims):
            return "take another copy of it"
        for dim, size in zip(dims, shapes[name], strict=True):
            found.setdefault(_SIZES[dim], set()).add(size)
    if any(len(values) > 1 for values in found.values()):
        return "its tensors do not fit each other either, take another copy of it"
    changed = {name: size for name, (size,) in found.items() if size != sizes[name]}
    if sizes["d_out"] == sizes["d_in"] and changed.get("d_out") == changed.get("d_in"):
        changed.pop("d_out", None)  # cfg.json has it for transcoders alone
    return f"set {' and '.join(f'{k} = {v}' for k, v in changed.items())} in its cfg.json"
