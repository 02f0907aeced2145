"""Token confidence against probabilities written out."""

import math

import pytest
import torch

from ray_autointerp.methods.confidence import token_confidence


def test_confidence_is_minus_the_mean_log_probability_of_the_likeliest_tokens() -> None:
    p = [0.5, 0.25, 0.125, 0.125]
    found = token_confidence(torch.tensor(p).log()[None] + 7, num_tokens=2)
    assert found.item() == pytest.approx(-(math.log(0.5) + math.log(0.25)) / 2)


def test_of_the_likeliest_token_alone_a_sharper_distribution_has_less() -> None:
    """The paper's k = 1; over many tokens the order turns round."""
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    expected = -logits.double().softmax(-1).max(-1).values.log()
    torch.testing.assert_close(token_confidence(logits).double(), expected, rtol=1e-5, atol=1e-6)
    assert bool((token_confidence(3 * logits) < token_confidence(logits)).all())
    assert bool((token_confidence(3 * logits, 20) > token_confidence(logits, 20)).all())
    uniform = token_confidence(torch.zeros(1, 50))
    assert uniform.item() == pytest.approx(math.log(50), rel=1e-5)
