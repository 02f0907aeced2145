"""Steered text with kept keys and values against whole passes over the whole text so far."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from ray_autointerp.methods.gumbel import gumbel_noise
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.steering import SteeredRow, steer
from ray_autointerp.models.subject import Subject

Tiny = Callable[..., Subject]
# BOS, an end-of-text token in the middle, and more tokens than the sliding windows hold.
PROMPT = [0, 41, 77, 1, 200, 90, 33, 101, 64, 250, 12, 70]
ROWS = [
    SteeredRow(3, 6.0, 11),
    SteeredRow(3, 6.0, 12),
    SteeredRow(17, -8.0, 13),
    SteeredRow(0, 0.0, 14),
    SteeredRow(29, 12.0, 15),
    SteeredRow(None, 99.0, 16),
]


@torch.inference_mode()
def slow_text(
    subject: Subject, sae: Sae, prompt: Sequence[int], row: SteeredRow, num: int, temperature: float
) -> list[int]:
    """One row, one token at a time, from the beginning of the text each time."""
    site, texts = subject.site(sae.hook_point), list(prompt)
    for step in range(num):
        place = subject.place(sae.read_point)
        seen = subject.residuals(torch.tensor([texts]), [site, place])
        h_1TD, read_1TD = seen[site].clone(), seen[place].clone()
        if row.latent is not None:
            for t, token in enumerate(texts):
                h_D = h_1TD[0, t]
                if token in (0, 1) or h_D.norm() > subject.sink_threshold(site):
                    continue
                activation = sae.activations(read_1TD[0, t])[row.latent]
                change, row_Z = row.clamp_value - activation, sae.W_dec_LZ[row.latent]
                h_1TD[0, t] = h_D + sae.added(change, row_Z, read_1TD[0, t])
        scores_V = subject.unembed(subject.resume(h_1TD, site))[0, -1]
        if temperature:
            noise_RV = gumbel_noise(torch.tensor([row.seed]), torch.tensor([step]), len(scores_V))
            scores_V = scores_V / temperature + noise_RV[0]
        texts.append(int(scores_V.argmax()))
        if texts[-1] == subject.tokenizer.eos_id:
            return texts[len(prompt) : -1]
    return texts[len(prompt) :]


def test_cached_generation_equals_whole_passes_token_for_token(
    tiny: Tiny, sae_folder: Callable[..., str], model_type: str
) -> None:
    subject, sae = tiny(model_type), Sae.load(sae_folder("topk", k=6))
    texts = steer(subject, sae, PROMPT, ROWS, 10, 0.9)
    assert texts == [slow_text(subject, sae, PROMPT, row, 10, 0.9) for row in ROWS]
    assert len({tuple(text) for text in texts}) == len(ROWS)


@pytest.mark.parametrize("hook_point", ["blocks.0.hook_resid_pre", "blocks.3.hook_resid_post"])
def test_cached_generation_at_the_first_and_the_last_site(
    tiny: Tiny, sae_folder: Callable[..., str], hook_point: str
) -> None:
    subject, sae = tiny("gpt2"), Sae.load(sae_folder("standard", hook_point))
    texts = steer(subject, sae, PROMPT, ROWS, 6, 0.9)
    assert texts == [slow_text(subject, sae, PROMPT, row, 6, 0.9) for row in ROWS]


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "gemma2", "qwen3"])
@pytest.mark.parametrize("hook_point", ["attn.hook_z", "hook_attn_out"])
def test_cached_generation_with_a_latent_on_attention(
    tiny: Tiny, sae_folder: Callable[..., str], model_type: str, hook_point: str
) -> None:
    subject = tiny(model_type)
    sae = Sae.load(sae_folder("topk", f"blocks.1.{hook_point}", k=6)).bound_to(subject)
    texts = steer(subject, sae, PROMPT, ROWS, 6, 0.9)
    assert texts == [slow_text(subject, sae, PROMPT, row, 6, 0.9) for row in ROWS]


@pytest.mark.parametrize("model_type", ["gpt2", "gemma2"])
def test_transcoder_reads_and_writes_at_its_two_places_while_text_is_generated(
    tiny: Tiny, sae_folder: Callable[..., str], model_type: str
) -> None:
    folder = sae_folder(
        "transcoder",
        "blocks.1.ln2.hook_normalized",
        d_out=32,
        apply_b_dec_to_input=False,
        metadata={"hook_name_out": "blocks.1.hook_mlp_out"},
    )
    subject, sae = tiny(model_type), Sae.load(folder)
    texts = steer(subject, sae, PROMPT, ROWS, 6, 0.9)
    assert texts == [slow_text(subject, sae, PROMPT, row, 6, 0.9) for row in ROWS]


def test_greedy_text_without_a_latent_is_hugging_faces_own(
    tiny: Tiny, plain: Callable[[str], Any], sae_folder: Callable[..., str]
) -> None:
    (text,) = steer(
        tiny("qwen2"), Sae.load(sae_folder()), PROMPT, [SteeredRow(None, 5.0, 1)], 12, 0.0
    )
    prompt = torch.tensor([PROMPT])
    expected = plain("qwen2").generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=12,
        pad_token_id=1,
    )  # fmt: skip
    expected = expected[0, len(PROMPT) :].tolist()
    assert text == (expected[: expected.index(1)] if 1 in expected else expected)


def test_text_of_a_row_does_not_depend_on_what_shares_its_batch(
    tiny: Tiny, sae_folder: Callable[..., str]
) -> None:
    subject, sae = tiny("llama"), Sae.load(sae_folder("topk", k=6))
    together = steer(subject, sae, PROMPT, ROWS, 12, 0.8)
    assert steer(subject, sae, PROMPT, ROWS[::-1], 12, 0.8) == together[::-1]
    assert [steer(subject, sae, PROMPT, [row], 12, 0.8)[0] for row in ROWS] == together
    assert steer(subject, sae, PROMPT, ROWS, 5, 0.8) == [text[:5] for text in together]
    twins = steer(subject, sae, PROMPT, [ROWS[0], ROWS[0], ROWS[1]], 12, 0.8)
    assert twins == [together[0], together[0], together[1]]


def test_text_ends_before_the_end_of_text_token(tiny: Tiny, sae_folder: Callable[..., str]) -> None:
    """A tenth of the vocabulary's weight is put on the end by a steep temperature and many rows."""
    subject, sae = tiny("llama"), Sae.load(sae_folder())
    rows = [SteeredRow(3, 1.0, seed) for seed in range(200)]
    texts = steer(subject, sae, PROMPT, rows, 8, 30.0)
    lengths = {len(text) for text in texts}
    assert max(lengths) == 8 and len(lengths) > 2, "some end early, most do not"
    assert all(subject.tokenizer.eos_id not in text for text in texts)


def test_clamping_further_moves_the_text_further_from_unsteered_text(
    tiny: Tiny, sae_folder: Callable[..., str]
) -> None:
    subject, sae = tiny("llama"), Sae.load(sae_folder())
    rows = [SteeredRow(3, value, 7) for value in (40.0, -40.0)] + [SteeredRow(None, 0.0, 7)]
    raised, lowered, unsteered = steer(subject, sae, PROMPT, rows, 12, 0.0)
    assert raised != unsteered and lowered != unsteered and raised != lowered
