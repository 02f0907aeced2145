"""Top tokens with ties, and lists ranked by logit or z-score."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ray_autointerp.methods.token_lists import HubStats, signed_lists, top_tokens, z_scores


@given(
    rows=st.lists(st.lists(st.integers(-3, 3), min_size=9, max_size=9), min_size=1, max_size=4),
    num_tokens=st.integers(1, 12),
)
def test_top_tokens_many_ties_fall_by_value_then_rise_by_id(rows, num_tokens):
    top = top_tokens(torch.tensor(rows, dtype=torch.float32), num_tokens)
    for row, ids, values in zip(rows, top.ids_BK.tolist(), top.values_BK.tolist(), strict=True):
        expected = sorted(range(9), key=lambda token: (-row[token], token))[:num_tokens]
        assert ids == expected
        assert values == [row[token] for token in expected]


def test_top_tokens_infinite_entries_are_ranked_like_others():
    values_BV = torch.tensor([[float("-inf"), 1.0, float("inf"), float("-inf")]])
    assert top_tokens(values_BV, 3).ids_BK.tolist() == [[2, 1, 0]]


def test_signed_lists_keep_signs_and_order_apart():
    lists = signed_lists(torch.tensor([[3.0, -5.0, 0.0, 4.0, -1.0]]), 2, None, "logit")
    assert lists.promoted.ids_BK.tolist() == [[3, 0]]
    assert lists.promoted.logits_BK.tolist() == [[4.0, 3.0]]
    assert lists.suppressed.ids_BK.tolist() == [[1, 4]]
    assert lists.suppressed.logits_BK.tolist() == [[-5.0, -1.0]]
    assert lists.promoted.z_BK is None


def test_signed_lists_ranked_by_z_put_the_hub_token_away():
    """Token 0 is high for every latent; token 2 is high for latent 0 alone."""
    logits_LV = torch.tensor([[9.0, 0.0, 5.0], [9.5, 1.0, 0.0], [8.5, -1.0, 0.0]])
    hub = HubStats(logits_LV.mean(0), logits_LV.std(0, correction=0))
    by_logit = signed_lists(logits_LV[:1], 1, hub, "logit").promoted
    by_z = signed_lists(logits_LV[:1], 1, hub, "z").promoted
    assert by_logit.ids_BK.tolist() == [[0]] and by_logit.z_BK.tolist() == [[0.0]]
    assert by_z.ids_BK.tolist() == [[2]] and by_z.logits_BK.tolist() == [[5.0]]
    assert by_z.z_BK.item() == pytest.approx((5 - 5 / 3) / (50 / 9) ** 0.5, rel=1e-6)


def test_z_scores_token_that_never_varies_is_zero_not_infinite():
    hub = HubStats(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0]))
    assert z_scores(torch.tensor([[2.0000002, 3.0]]), hub).tolist() == [[0.0, 1.5]]
