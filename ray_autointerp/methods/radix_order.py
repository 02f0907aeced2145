"""Sorting by several whole numbers, in time that goes by how many there are.

PyTorch's stable sort of whole numbers on a processor is a radix sort: some times faster than
numpy's, which compares.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch


def radix_order(*keys_N: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """As np.lexsort: by the last key, where that ties by the one before; then as they came."""
    order = _order(keys_N[0])
    for key_N in keys_N[1:]:
        order = order.take(_order(key_N.take(order)))
    return order


def _order(key_N: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    order: npt.NDArray[np.int64] = torch.from_numpy(key_N).sort(stable=True).indices.numpy()
    return order
