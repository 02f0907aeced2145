"""VocabProj against the norms written out per coordinate, and on a planted direction."""

import math

import pytest
import torch

from ray_autointerp.methods.hub_stats import hub_stats
from ray_autointerp.methods.vocab_proj import (
    FinalNorm,
    apply_norm,
    embedding_reads,
    mean_norm_jacobian,
    project,
    vocab_proj,
)

WIDTH, VOCAB = 6, 17


@pytest.fixture
def weights():
    draws = torch.Generator().manual_seed(1)
    return {
        "decoder": torch.randn(9, WIDTH, generator=draws),
        "gain": torch.rand(WIDTH, generator=draws) + 0.5,
        "bias": torch.randn(WIDTH, generator=draws),
        "W_U": torch.randn(WIDTH, VOCAB, generator=draws),
        "b_U": torch.randn(VOCAB, generator=draws),
    }


def slow_norm(row, kind, gain, bias, eps):
    """The textbook formula, number by number."""
    centre = sum(row) / len(row) if kind == "layer" else 0.0
    row = [x - centre for x in row]
    scale = math.sqrt(sum(x * x for x in row) / len(row) + eps) if kind != "none" else 1.0
    bias = bias if bias is not None else [0.0] * len(row)
    return [x / scale * g + b for x, g, b in zip(row, gain, bias, strict=True)]


@pytest.mark.parametrize("kind", ["layer", "rms", "none"])
@pytest.mark.parametrize("has_bias", [True, False])
def test_apply_norm_equals_the_textbook(weights, kind, has_bias):
    bias = weights["bias"] if has_bias else None
    norm = FinalNorm(kind, weights["gain"], bias, eps=1e-3)
    rows = apply_norm(weights["decoder"].double(), norm)
    for row, given in zip(rows.tolist(), weights["decoder"].double().tolist(), strict=True):
        gain = weights["gain"].double().tolist()
        expected = slow_norm(given, kind, gain, bias.double().tolist() if has_bias else None, 1e-3)
        assert row == pytest.approx(expected, rel=1e-12)


def test_apply_norm_agrees_with_torch_layers(weights):
    x = weights["decoder"]
    layer = torch.nn.functional.layer_norm(x, (WIDTH,), weights["gain"], weights["bias"], 1e-5)
    rms = torch.nn.functional.rms_norm(x, (WIDTH,), weights["gain"], 1e-6)
    ours_layer = apply_norm(x, FinalNorm("layer", weights["gain"], weights["bias"], 1e-5))
    torch.testing.assert_close(ours_layer, layer)
    torch.testing.assert_close(apply_norm(x, FinalNorm("rms", weights["gain"], None, 1e-6)), rms)


def test_project_long_and_short_decoder_rows_say_the_same(weights):
    norm = FinalNorm("rms", weights["gain"], eps=0.0)
    logits = project(weights["decoder"], norm, weights["W_U"], weights["b_U"])
    scaled = project(1000 * weights["decoder"], norm, weights["W_U"], weights["b_U"])
    torch.testing.assert_close(scaled, logits)


@pytest.mark.parametrize("chunk_size", [2, 100])
@pytest.mark.parametrize("rank_by", ["logit", "z"])
def test_vocab_proj_lists_equal_sorting_of_all_logits(weights, chunk_size, rank_by):
    norm = FinalNorm("layer", weights["gain"], weights["bias"], 1e-5)
    rows = apply_norm(weights["decoder"], norm)
    hub = hub_stats(rows, weights["W_U"], weights["b_U"])
    lists = vocab_proj(
        weights["decoder"], norm, weights["W_U"], 4, weights["b_U"], hub, rank_by, chunk_size
    )
    logits = (rows.double() @ weights["W_U"].double() + weights["b_U"].double()).numpy()
    z = (logits - logits.mean(0)) / logits.std(0)
    ranked = z if rank_by == "z" else logits
    for latent in range(9):
        order = ranked[latent].argsort()
        for side, ids in ((lists.promoted, order[::-1][:4]), (lists.suppressed, order[:4])):
            assert side.ids_BK[latent].tolist() == ids.tolist()
            assert side.logits_BK[latent].tolist() == pytest.approx(logits[latent][ids], rel=1e-4)
            assert side.z_BK[latent].tolist() == pytest.approx(z[latent][ids], rel=1e-3, abs=1e-4)


def test_vocab_proj_planted_direction_promotes_its_token():
    """Latent i writes along the unembedding of token B(i), against that of C(i)."""
    W_U = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(2))).Q
    promoted, suppressed = torch.tensor([3, 11, 7]), torch.tensor([5, 0, 19])
    decoder = 2 * W_U[:, promoted].T - W_U[:, suppressed].T
    lists = vocab_proj(decoder, FinalNorm("rms", torch.ones(20)), W_U, 1)
    assert lists.promoted.ids_BK[:, 0].tolist() == promoted.tolist()
    assert lists.suppressed.ids_BK[:, 0].tolist() == suppressed.tolist()


def test_vocab_proj_half_precision_weights_are_widened(weights):
    norm = FinalNorm("rms", weights["gain"].bfloat16())
    lists = vocab_proj(weights["decoder"].bfloat16(), norm, weights["W_U"].bfloat16(), 3)
    wide = vocab_proj(
        weights["decoder"].bfloat16().float(),
        FinalNorm("rms", weights["gain"].bfloat16().float()),
        weights["W_U"].bfloat16().float(),
        3,
    )
    assert lists.promoted.logits_BK.dtype == torch.float32
    assert lists.promoted.logits_BK.tolist() == wide.promoted.logits_BK.tolist()


@pytest.mark.parametrize("chunk_size", [2, 100])
def test_embedding_reads_equal_sorting_of_all_dot_products(weights, chunk_size):
    W_E = weights["W_U"].T.contiguous()
    hub = hub_stats(weights["decoder"], W_E.T)
    lists = embedding_reads(weights["decoder"], W_E, 4, hub, chunk_size)
    read = (weights["decoder"].double() @ W_E.double().T).numpy()
    z = (read - read.mean(0)) / read.std(0)
    for latent in range(9):
        order = read[latent].argsort()
        for side, ids in ((lists.promoted, order[::-1][:4]), (lists.suppressed, order[:4])):
            assert side.ids_BK[latent].tolist() == ids.tolist()
            assert side.logits_BK[latent].tolist() == pytest.approx(read[latent][ids], rel=1e-4)
            assert side.z_BK[latent].tolist() == pytest.approx(z[latent][ids], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("kind", ["rms", "layer", "none"])
def test_mean_norm_jacobian_equals_autograd(kind):
    torch.manual_seed(3)
    h_PD, gain = torch.randn(5, 6) * 4 + 1, torch.rand(6) + 0.5
    norm = FinalNorm(kind, gain, bias_D=torch.randn(6), eps=1e-3)
    each = [
        torch.autograd.functional.jacobian(lambda x: apply_norm(x[None], norm)[0], h) for h in h_PD
    ]
    torch.testing.assert_close(mean_norm_jacobian(h_PD, norm), torch.stack(each).mean(0))
