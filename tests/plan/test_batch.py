"""The batch that fits: a power of two, growing with memory, shrinking with the model."""

from functools import partial

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
    fits = partial(micro_batch, num_parameters=12 * layers * d_model**2)
    found = fits(memory, "bfloat16", d_model, layers, window, d_sae)
    assert 1 <= found <= 256 and found & (found - 1) == 0
    assert fits(2 * memory, "bfloat16", d_model, layers, window, d_sae) >= found
    assert fits(memory, "float32", d_model, layers, window, d_sae) <= found
    assert fits(memory, "bfloat16", d_model, layers, 2 * window, d_sae) <= found
    assert fits(memory, "bfloat16", d_model, layers, window, d_sae, num_gpus=2) >= found


def test_real_sizes_fill_a_small_machine_and_a_large_one() -> None:
    """SmolLM2 in 8 GiB of a laptop; Gemma 2 2B with a 16k SAE in 80 GB; Gemma 2 27B in 4 of 24."""
    smol, small, large = 134_515_008, 2_614_341_888, 27_227_128_320
    assert micro_batch(8 * GIB, "float32", 576, 30, 128, 4608, num_parameters=smol) in (16, 32)
    assert micro_batch(80 * GIB, "bfloat16", 2304, 26, 1024, 16384, num_parameters=small) in (8, 16)
    fits = partial(micro_batch, 24 * GIB, "bfloat16", 4608, 46, 128, 131_072, num_parameters=large)
    assert fits(num_gpus=3) < fits(num_gpus=4) == 16


def test_weights_leave_what_they_leave() -> None:
    """16 GiB of weights in 17, in 32, and in 64, where half is the limit."""
    fits = partial(micro_batch, dtype="bfloat16", d_model=1024, num_layers=32, window=128, d_sae=1)
    full, half, plenty = (fits(n * GIB, num_parameters=8 * GIB) for n in (17, 32, 64))
    assert full < half < plenty == fits(64 * GIB, num_parameters=0)
    assert fits(15 * GIB, num_parameters=8 * GIB) == 1
    assert fits(64 * GIB, num_parameters=8 * GIB, decoder_bytes=16 * GIB) == plenty
    assert fits(64 * GIB, num_parameters=8 * GIB, decoder_bytes=40 * GIB) < plenty
