"""free_scores' clamps on the planted subject, against plain passes of the Hugging Face model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ray_autointerp.methods.free_scores import AMPLIFY, LENS_TOKENS
from ray_autointerp.methods.vocab_proj import vocab_proj
from ray_autointerp.models.planted import HOOK_POINT, PlantedTruth
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject
from ray_autointerp.stages import free_scores
from ray_autointerp.stages.free_scores import output_effects

LATENTS = list(range(56))
SCALE = [2.0] * 56


@pytest.fixture(scope="module")
def subject(planted: PlantedTruth) -> Subject:
    return Subject.load(str(planted.folder / "subject"), device="cpu")


@pytest.fixture(scope="module")
def sae(planted: PlantedTruth) -> Sae:
    return Sae.load(str(planted.folder / "sae"))


@pytest.fixture(scope="module")
def random_sae(planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Sae:
    """The planted SAE with directions of the same length that mean nothing."""
    folder = tmp_path_factory.mktemp("random")
    weights = load_file(planted.folder / "sae" / "sae_weights.safetensors")
    draws = torch.Generator().manual_seed(3)
    rows = torch.randn(weights["W_dec"].shape, generator=draws)
    weights["W_dec"] = torch.nn.functional.normalize(rows, dim=-1)
    save_file(weights, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text((planted.folder / "sae" / "cfg.json").read_text())
    return Sae.load(str(folder))


def lens_of(subject: Subject, sae: Sae) -> list[list[int]]:
    lists = vocab_proj(sae.W_dec_LD, subject.final_norm, subject.W_U_DV, LENS_TOKENS)
    ids: list[list[int]] = lists.promoted.ids_BK.tolist()
    return ids


def s_outs(subject: Subject, sae: Sae, lens: list[list[int]]) -> list[float]:
    return [row["s_out"] for row in output_effects(subject, sae, LATENTS, lens, SCALE, 16)]


@torch.inference_mode()
def plain_logits(
    folder: Path, ids: list[int], latent: int | None, value: float, direction: Any
) -> np.ndarray[Any, Any]:
    """Logits after the last token, a latent that is silent there set to a value: a plain hook."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    layer = int(HOOK_POINT.split(".")[1])

    def add(_module: Any, _arguments: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        if latent is not None:
            hidden[0, -1] += value * direction.double()
        return output

    handle = model.model.layers[layer].register_forward_hook(add)
    logits: np.ndarray[Any, Any] = model(torch.tensor([ids])).logits[0, -1].numpy()
    handle.remove()
    return logits


def softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    p = np.exp(logits - logits.max())
    return np.asarray(p / p.sum())


def check(row: dict[str, Any], clean: Any, moved: Any, amplified: Any, lens: list[int]) -> None:
    p, q, far = softmax(clean), softmax(moved), softmax(amplified)
    order = np.argsort(-far, kind="stable").tolist()
    rank = min(order.index(token) for token in lens)
    expected = {
        "effect_kl": (p * np.log(p / q)).sum(),
        "effect_kl_amplified": (p * np.log(p / far)).sum(),
        "delta_confidence": np.log(p.max() / far.max()),
        "max_logit_diff": (moved - clean).max(),
        "s_out_probability": far[lens].max(),
        "s_out_best_rank": rank,
        "s_out": (1 - rank / len(far)) * far[lens].max(),
    }
    assert row["status"] == "ok"
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=2e-3, abs=2e-5), name


def test_effects_equal_plain_passes_where_no_latent_fires(
    planted: PlantedTruth, subject: Subject, sae: Sae
) -> None:
    """Nothing fires at the prompt's last token: ten times the latent's own scale is added."""
    lens = lens_of(subject, sae)
    tokenizer = subject.tokenizer
    ids = [tokenizer.bos_id, *tokenizer.encode(free_scores.FREE_SCORE_PROMPT)]
    rows = output_effects(subject, sae, LATENTS, lens, [1.0 + i / 56 for i in LATENTS], 2)
    folder = planted.folder / "subject"
    clean = plain_logits(folder, ids, None, 0.0, None)
    for latent in (0, 7, 55):
        scale, direction = 1.0 + latent / 56, sae.W_dec_LD[latent]
        moved = plain_logits(folder, ids, latent, scale, direction)
        amplified = plain_logits(folder, ids, latent, AMPLIFY * scale, direction)
        check(rows[latent], clean, moved, amplified, lens[latent])


def test_amplifying_adds_ten_times_the_largest_activation_of_any_latent_there(
    planted: PlantedTruth, subject: Subject, sae: Sae, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a trigger, the latent that fires sets the strength for every other one."""
    monkeypatch.setattr(free_scores, "FREE_SCORE_PROMPT", f"my {planted.triggers[4]}")
    lens = lens_of(subject, sae)
    tokenizer = subject.tokenizer
    ids = [tokenizer.bos_id, *tokenizer.encode(free_scores.FREE_SCORE_PROMPT)]
    rows = output_effects(subject, sae, LATENTS, lens, SCALE, 2)
    site = subject.site(HOOK_POINT)
    largest = float(sae.activations(subject.residual(torch.tensor([ids]), site)[0, -1]).max())
    assert 1.5 < largest < 2.5
    folder, direction = planted.folder / "subject", sae.W_dec_LD[9]
    check(
        rows[9],
        plain_logits(folder, ids, None, 0.0, None),
        plain_logits(folder, ids, 9, 2.0, direction),
        plain_logits(folder, ids, 9, AMPLIFY * largest, direction),
        lens[9],
    )
    assert rows[4]["amplified_value"] == pytest.approx((1 + AMPLIFY) * largest, rel=1e-5)
    assert rows[9]["amplified_value"] == pytest.approx(AMPLIFY * largest, rel=1e-5)


def test_random_directions_and_other_latents_lists_have_next_to_no_s_out(
    subject: Subject, sae: Sae, random_sae: Sae
) -> None:
    lens = lens_of(subject, sae)
    assert min(s_outs(subject, sae, lens)) > 0.9
    assert np.mean(s_outs(subject, random_sae, lens_of(subject, random_sae))) < 0.15
    # Only what both lists share, and what the clean model says anyway, is left.
    shuffled = [lens[(latent + 11) % 56] for latent in LATENTS]
    unshared = [[t for t in shuffled[i] if t != lens[i][0]][:10] for i in LATENTS]
    assert max(s_outs(subject, sae, unshared)) < 0.02


def test_clamp_that_overflows_is_a_failed_row_and_spoils_no_other(
    subject: Subject, sae: Sae
) -> None:
    lens, scale = lens_of(subject, sae), list(SCALE)
    scale[3] = 3e38
    rows = output_effects(subject, sae, LATENTS, lens, scale, 16)
    assert rows[3] == {"status": "failed"}
    assert [row["status"] for row in rows].count("ok") == 55
