"""How much memory a subject's weights take, and how many GPUs hold them. Arithmetic alone."""

import math

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}
"""Of one number."""

_SHARE = 0.8
"""Of a GPU that weights may take: the rest is for SAEs and passes."""


def weight_bytes(num_parameters: int, dtype: str) -> int:
    """Bytes of a model's weights in a dtype."""
    return num_parameters * BYTES[dtype]


def gpus_needed(weights: int, gpu_bytes: int) -> int:
    """GPUs of a size over which the weights can be spread, with room beside them."""
    return max(1, math.ceil(weights / (_SHARE * gpu_bytes)))


def in_gb(num_bytes: int) -> str:
    """With two digits where it is small: `0.54 GB`, `54 GB`."""
    number = num_bytes / 1e9
    return f"{number:.0f} GB" if number >= 9.5 else f"{number:.2g} GB"
