"""Sorting by whole numbers against numpy's lexsort."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.radix_order import radix_order

WHOLE = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(st.tuples(st.sampled_from([-3, 0, 2**40]), WHOLE | st.just(7), st.integers(0, 2))),
)
def test_order_is_that_of_lexsort(rows: list[tuple[int, int, int]]) -> None:
    keys = np.array(rows, np.int64).reshape(-1, 3).T.copy()
    assert radix_order(*keys).tolist() == np.lexsort(keys).tolist()
    assert radix_order(keys[2]).tolist() == np.argsort(keys[2], kind="stable").tolist()


def test_ties_stay_as_they_came() -> None:
    assert radix_order(np.array([1, 0, 1, 0], np.int32)).tolist() == [1, 3, 0, 2]
