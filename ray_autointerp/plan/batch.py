"""How many windows go through the subject at once, from its dimensions and a memory limit.

Arithmetic alone, so that the same machine always finds the same number: batch shape is part of a
run's identity. An upper bound is aimed at, for the largest pass there is: the Jacobian's, which
keeps every layer's intermediate states for its backward sweeps.
"""

from ray_autointerp.plan.weights import BYTES, weight_bytes

_LARGEST = 256
"""Windows beyond which no processor gets faster."""

_STATES_PER_LAYER = 24
"""Intermediate numbers of a layer that a backward sweep keeps, per token and d_model: norms,
queries, keys, values, attention's output, and an MLP of four times the width with its gate."""

_SHARE = 0.5
"""Of the limit that the passes may take, where weights leave as much: the rest is dictionaries and
the allocator's."""


def micro_batch(
    memory_bytes: int,
    dtype: str,
    d_model: int,
    num_layers: int,
    window: int,
    d_sae: int,
    *,
    num_parameters: int,
    num_gpus: int = 1,
    decoder_bytes: int = 0,
) -> int:
    """The largest power of two of windows that stays below the limit; at least 1.

    `decoder_bytes` are those of cross-layer transcoders' decoders, many times another SAE's.
    The limit is each GPU's, where the layers are spread over several; one of them encodes.
    """
    weights = weight_bytes(num_parameters, dtype) // num_gpus
    room = max(0, min(_SHARE * memory_bytes, memory_bytes - weights - decoder_bytes))
    kept = num_layers * _STATES_PER_LAYER * d_model * BYTES[dtype] / num_gpus
    encoded = 3 * d_sae * 4  # activations, their mask and their product, in float32
    fits = int(room / (window * (kept + encoded)))
    return min(_LARGEST, 1 << max(fits.bit_length() - 1, 0))
