"""Offsets of ragged lists that lie flat, one after another."""

from typing import Any

import numpy as np
import numpy.typing as npt


def offsets_of(counts: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """Where each list begins among the values of all, given their lengths; and the number of all.

    List i has the values between offset i and offset i + 1.
    """
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])
