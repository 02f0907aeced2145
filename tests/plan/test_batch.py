"""The batch that fits: a power of two, growing with memory, shrinking with the model."""

from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.plan.batch import micro_batch

GIB = 2**30


@given(
    memory=st.integers(1, 200 * GIB),
    d_model=st.integers(64, 8192),
    layers=st.integers(1, 80),
    window=st.integers(8, 4096),
    d_sae=st.integers(64, 2**20),
)
def test_a_power_of_two_between_one_and_256_that_grows_with_memory(
    memory: int, d_model: int, layers: int, window: int, d_sae: int
) -> None:
    found = micro_batch(memory, "bfloat16", d_model, layers, window, d_sae)
    assert 1 <= found <= 256 and found & (found - 1) == 0
    assert micro_batch(2 * memory, "bfloat16", d_model, layers, window, d_sae) >= found
    assert micro_batch(memory, "float32", d_model, layers, window, d_sae) <= found
    assert micro_batch(memory, "bfloat16", d_model, layers, 2 * window, d_sae) <= found


def test_real_sizes_fill_a_small_machine_and_a_large_one() -> None:
    """SmolLM2 in 8 GiB of a laptop; Gemma 2 2B with a 16k SAE in 80 GB."""
    assert micro_batch(8 * GIB, "float32", 576, 30, 128, 4608) in (16, 32)
    assert micro_batch(80 * GIB, "bfloat16", 2304, 26, 1024, 16384) in (8, 16)
