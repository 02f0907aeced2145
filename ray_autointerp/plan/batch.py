"""How many windows go through the subject at once, from its dimensions and a memory limit.

Arithmetic alone, so that the same machine always finds the same number: batch shape is part of a
run's identity. An upper bound is aimed at, for the largest pass there is: the Jacobian's, which
keeps every layer's intermediate states for its backward sweeps.
"""

_LARGEST = 256
"""Windows beyond which no processor gets faster."""

_STATES_PER_LAYER = 24
"""Intermediate numbers of a layer that a backward sweep keeps, per token and d_model: norms,
queries, keys, values, attention's output, and an MLP of four times the width with its gate."""

_SHARE = 0.5
"""Of the limit that the passes may take: the rest is weights, dictionaries and the allocator's."""

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


def micro_batch(
    memory_bytes: int, dtype: str, d_model: int, num_layers: int, window: int, d_sae: int
) -> int:
    """The largest power of two of windows that stays below the limit; at least 1."""
    kept = num_layers * _STATES_PER_LAYER * d_model * _BYTES[dtype]
    encoded = 3 * d_sae * 4  # activations, their mask and their product, in float32
    fits = int(_SHARE * memory_bytes / (window * (kept + encoded)))
    return min(_LARGEST, 1 << max(fits.bit_length() - 1, 0))
