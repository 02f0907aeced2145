"""Counter-based noise: which numbers it gives, how they are spread, what they depend on."""

import math

import pytest
import torch

from ray_autointerp.methods.gumbel import _write_gumbel, gumbel_noise, sample

MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15


def mix(x):
    """SplitMix64's finaliser in whole numbers."""
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def noise(seeds, positions, num_tokens):
    return gumbel_noise(torch.tensor(seeds), torch.tensor(positions), num_tokens)


@pytest.mark.parametrize("seed", [0, 1, 123456789, 2**63 - 1])
@pytest.mark.parametrize("position", [0, 24])
def test_noise_equals_splitmix_in_plain_integers(seed, position):
    row = mix((mix((seed + GOLDEN) & MASK) + (position + 1) * GOLDEN) & MASK)
    expected = []
    for token in range(5):
        bits = mix((row + (token + 1) * GOLDEN) & MASK)
        expected.append(-math.log(-math.log1p(-((bits >> 12) + 0.5) / 2**52)))
    assert noise([seed], [position], 5)[0].tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_splitmix_reference_is_the_published_generator():
    """First outputs of SplitMix64 seeded with 1234567, as in its authors' test vectors."""
    assert [mix((1234567 + n * GOLDEN) & MASK) for n in (1, 2, 3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_noise_of_a_row_does_not_depend_on_the_batch_or_the_vocabulary():
    seeds, positions = [5, 9, 5, 2**62], [0, 3, 1, 7]
    together = noise(seeds, positions, 300)
    for row in range(4):
        assert torch.equal(together[row], noise([seeds[row]], [positions[row]], 300)[0])
    assert torch.equal(together[:, :100], noise(seeds, positions, 100))


def test_noise_is_spread_like_a_gumbel():
    values = noise(list(range(40)), [0] * 40, 5000).double().flatten().sort().values
    assert values.mean().item() == pytest.approx(0.5772, abs=0.01)
    assert values.var().item() == pytest.approx(math.pi**2 / 6, abs=0.03)
    expected = (-(-values).exp()).exp()
    places = (torch.arange(len(values)) + 0.5) / len(values)
    assert (expected - places).abs().max() < 1.63 / len(values) ** 0.5  # Kolmogorov, 1 %


@pytest.mark.parametrize(
    ("seeds", "positions"),
    [([1, 2], [0, 0]), ([1, 1], [0, 1]), ([0, 1], [1, 0]), ([1, 1 + 2**62], [0, 0])],
)
def test_noise_of_neighbouring_rows_is_unrelated_at_any_lag(seeds, positions):
    a, b = noise(seeds, positions, 20000)
    for lag in range(4):
        pair = torch.stack([a[: 20000 - lag], b[lag:]])
        assert abs(torch.corrcoef(pair)[0, 1].item()) < 4 / 20000**0.5


def test_noise_is_finite_and_exact_at_both_ends_of_its_range():
    ends = torch.tensor([[0, 1, 2**20, 2**51, 2**52 - 1]])
    found = torch.empty(1, 5)
    _write_gumbel(ends, found)
    expected = [-math.log(-math.log1p(-(n + 0.5) / 2**52)) for n in (0, 1, 2**20, 2**51)]
    assert found[0, :4].tolist() == pytest.approx(expected, rel=1e-6)
    assert found[0, 4].item() == pytest.approx(-math.log(24 * math.log(2)), rel=1e-6)


def test_sample_frequencies_are_the_softmax_at_the_temperature():
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    num_draws = 20000
    rows = gumbel_noise(torch.arange(num_draws), torch.zeros(num_draws, dtype=torch.long), 4)
    tokens = sample(logits.expand(num_draws, 4), rows, temperature=0.75)
    shares = torch.bincount(tokens, minlength=4) / num_draws
    expected = (logits / 0.75).softmax(0)
    assert shares.tolist() == pytest.approx(expected.tolist(), abs=4 * 0.5 / num_draws**0.5)


def test_sample_temperature_zero_takes_the_largest_logit_and_the_smaller_id_of_a_tie():
    logits = torch.tensor([[1.0, 3.0, 3.0], [5.0, 0.0, 5.0]])
    assert sample(logits, noise([1, 2], [0, 0], 3), temperature=0).tolist() == [1, 0]
