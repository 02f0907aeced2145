"""Clamped passes against SAELens' own: the SAE spliced into TransformerLens with its error term."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
import torch
from sae_lens import SAE
from torch import Tensor
from transformer_lens_bridge import boot

from ray_autointerp.errors import SubjectError
from ray_autointerp.models.clamped_pass import (
    all_positions_kl,
    clamped_states,
    clean_run,
    next_token_kl,
    position_mask,
    window_changes,
)
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject

Tiny = Callable[..., Subject]
MakeSae = Callable[..., str]
SAES = [
    ("llama", "standard", {}),
    ("llama", "gated", {}),
    ("llama", "jumprelu", {}),
    ("llama", "topk", {"k": 6}),
    ("llama", "topk", {"k": 6, "rescale_acts_by_decoder_norm": True}),
    ("llama", "abstopk", {"k": 6}),
    ("gpt2", "topk", {"k": 6, "apply_b_dec_to_input": False}),
    ("gemma2", "jumprelu", {}),
]
LATENTS = (3, 17, 0, 29)


def ran(tiny: Tiny, folder: str, windows_WT: Tensor, model_type: str = "llama") -> tuple[Any, ...]:
    subject, sae = tiny(model_type), Sae.load(folder)
    return subject, sae, clean_run(subject, sae, LATENTS, windows_WT)


def spliced_logits(
    bridge: Any, folder: str, windows: Tensor, edit: Callable[[Tensor], None]
) -> Any:
    """The oracle: SAELens encodes, `edit` overwrites, SAELens decodes and adds the error."""
    oracle = SAE.load_from_disk(folder)

    def hook(acts_WTL: Tensor, hook: Any) -> Tensor:
        acts_WTL = acts_WTL.clone()
        edit(acts_WTL)
        return acts_WTL

    with bridge.saes(saes=[oracle], use_error_term=True):
        name = bridge.get_sae_hook_name(oracle)
        return bridge.run_with_hooks(windows, prepend_bos=False, fwd_hooks=[(name, hook)])


@pytest.mark.parametrize(("model_type", "architecture", "fields"), SAES)
@torch.inference_mode()
def test_clamped_pass_equals_saelens_with_error_term(
    tiny: Tiny,
    spliceable: Callable[[str], Any],
    sae_folder: MakeSae,
    windows_WT: Tensor,
    model_type: str,
    architecture: str,
    fields: dict[str, Any],
) -> None:
    """At every position but BOS and special tokens, both signs, zero, active latents or not."""
    folder = sae_folder(architecture, **fields)
    subject, sae, clean = ran(tiny, folder, windows_WT, model_type)
    assert (clean.acts_WTL > 0).any() and (clean.acts_WTL == 0).any()
    clamps = [(3, 4.0), (17, -6.0), (0, 0.0), (29, 1.5), (3, -2.0)]
    latents, values = zip(*clamps, strict=True)
    states = clamped_states(subject, sae, clean, latents, torch.tensor(values))
    is_counted = (windows_WT != 0) & (windows_WT != 1)
    assert torch.equal(clean.mask_WT, is_counted)
    for row, (latent, value) in enumerate(clamps):

        def edit(acts_WTL: Tensor, latent: int = latent, value: float = value) -> None:
            acts_WTL[..., latent][is_counted] = value

        expected = spliced_logits(spliceable(model_type), folder, windows_WT, edit)
        torch.testing.assert_close(subject.unembed(states[row]), expected, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("model_type", ["llama", "gpt_neox", "gemma2"])
@torch.inference_mode()
def test_sae_on_the_mlps_contribution_is_clamped_as_saelens_clamps_it_there(
    tiny: Tiny,
    spliceable: Callable[[str], Any],
    sae_folder: MakeSae,
    windows_WT: Tensor,
    model_type: str,
) -> None:
    folder = sae_folder("topk", "blocks.1.hook_mlp_out", k=6)
    subject, sae, clean = ran(tiny, folder, windows_WT, model_type)
    states = clamped_states(subject, sae, clean, [3, 17], torch.tensor([4.0, -6.0]))
    for row, (latent, value) in enumerate([(3, 4.0), (17, -6.0)]):

        def edit(acts_WTL: Tensor, latent: int = latent, value: float = value) -> None:
            acts_WTL[..., latent][clean.mask_WT] = value

        expected = spliced_logits(spliceable(model_type), folder, windows_WT, edit)
        torch.testing.assert_close(subject.unembed(states[row]), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("hook_point", ["hook_attn_out", "attn.hook_z"])
@torch.inference_mode()
def test_sae_on_attention_is_clamped_as_saelens_clamps_it_there(
    tiny: Tiny,
    spliceable: Callable[[str], Any],
    sae_folder: MakeSae,
    windows_WT: Tensor,
    model_type: str,
    hook_point: str,
) -> None:
    """On what it adds, and on its heads' outputs: through their projection, and the norm behind it
    in Gemma 2 and 3.
    """
    if model_type.startswith("qwen3_5"):
        pytest.skip("TransformerLens boots the whole of these models, and needs torchvision for it")
    heads = {"reshape_activations": "hook_z"} if hook_point.endswith("_z") else {}
    folder = sae_folder("topk", f"blocks.1.{hook_point}", k=6, **heads)
    subject = tiny(model_type)
    sae = Sae.load(folder).bound_to(subject)
    clean = clean_run(subject, sae, LATENTS, windows_WT)
    clamps = [(3, 4.0), (17, -6.0)]
    latents, values = zip(*clamps, strict=True)
    states = clamped_states(subject, sae, clean, latents, torch.tensor(values))
    for row, (latent, value) in enumerate(clamps):

        def edit(acts_WTL: Tensor, latent: int = latent, value: float = value) -> None:
            acts_WTL[..., latent][clean.mask_WT] = value

        expected = spliced_logits(spliceable(model_type), folder, windows_WT, edit)
        unchanged = subject.unembed(clean.normed_WTD)
        assert not torch.allclose(expected, unchanged, atol=0.01)
        torch.testing.assert_close(subject.unembed(states[row]), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model_type", ["gpt2", "gemma2", "qwen3"])
@torch.inference_mode()
def test_direction_of_heads_outputs_is_the_mean_of_what_a_small_change_adds(
    tiny: Tiny, sae_folder: MakeSae, model_type: str
) -> None:
    subject = tiny(model_type)
    folder = sae_folder("topk", "blocks.1.attn.hook_z", k=6, normalize_activations="layer_norm")
    sae = Sae.load(folder).bound_to(subject)
    z_NZ = subject.probe(subject.place("blocks.1.attn.hook_z")).double()
    small = torch.full((len(z_NZ),), 1e-3, dtype=torch.float64)
    for latent in LATENTS:
        row_Z = sae.W_dec_LZ[latent].double()
        added_ND = sae.added(small, row_Z, z_NZ) - sae.added(-small, row_Z, z_NZ)
        slope_D = (added_ND / 2e-3).mean(0)
        error = (sae.W_dec_LD[latent] - slope_D).norm() / slope_D.norm()
        assert error < 0.03, error
        assert slope_D.norm() > 1e-3


@torch.inference_mode()
def test_sae_between_attention_and_mlp_changes_what_both_the_mlp_and_the_stream_get(
    tiny: Tiny,
    plain: Callable[[str], Any],
    sae_folder: MakeSae,
    windows_WT: Tensor,
    model_type: str,
) -> None:
    """TransformerLens' own hooks: read before the MLP, and add (v - a) W_dec[i] to what attention
    adds. A parallel block has no state between the two.
    """
    folder = sae_folder("topk", "blocks.1.hook_resid_mid", k=6)
    if model_type == "gpt_neox":
        with pytest.raises(SubjectError, match="hook_resid_mid` is not one of"):
            clean_run(tiny(model_type), Sae.load(folder), LATENTS, windows_WT)
        return
    subject, sae, clean = ran(tiny, folder, windows_WT, model_type)
    bridge = boot(subject.card.model, deepcopy(plain(model_type)), subject.tokenizer)
    oracle = SAE.load_from_disk(folder)
    _, seen = bridge.run_with_cache(windows_WT, prepend_bos=False)
    acts_WTL = oracle.encode(seen["blocks.1.hook_resid_mid"])
    states = clamped_states(subject, sae, clean, [3], torch.tensor([4.0]))
    added = (
        "attn.hook_out" if subject.card.family.attention_post_norm is None else "ln1_post.hook_out"
    )

    def write(out_WTD: Tensor, hook: Any) -> Any:
        change_WT = (4.0 - acts_WTL[..., 3]) * clean.mask_WT
        return out_WTD + change_WT[..., None] * oracle.W_dec[3]

    expected = bridge.run_with_hooks(
        windows_WT, prepend_bos=False, fwd_hooks=[(f"blocks.1.{added}", write)]
    )
    torch.testing.assert_close(subject.unembed(states[0]), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("normalization", ["layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("hook_point", ["hook_resid_post", "attn.hook_z"])
@torch.inference_mode()
def test_sae_that_normalises_by_token_is_clamped_as_saelens_clamps_it(
    tiny: Tiny,
    spliceable: Callable[[str], Any],
    sae_folder: MakeSae,
    windows_WT: Tensor,
    normalization: str,
    hook_point: str,
) -> None:
    heads = {"reshape_activations": "hook_z"} if hook_point.endswith("_z") else {}
    folder = sae_folder(
        "topk", f"blocks.1.{hook_point}", k=6, normalize_activations=normalization, **heads
    )
    subject = tiny("gemma2")
    sae = Sae.load(folder).bound_to(subject)
    clean = clean_run(subject, sae, LATENTS, windows_WT)
    states = clamped_states(subject, sae, clean, [3], torch.tensor([4.0]))

    def edit(acts_WTL: Tensor) -> None:
        acts_WTL[..., 3][clean.mask_WT] = 4.0

    expected = spliced_logits(spliceable("gemma2"), folder, windows_WT, edit)
    torch.testing.assert_close(subject.unembed(states[0]), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("read", ["mlp.hook_in", "ln2.hook_normalized"])
@torch.inference_mode()
def test_transcoder_reads_in_its_block_and_writes_behind_it(
    tiny: Tiny,
    plain: Callable[[str], Any],
    sae_folder: MakeSae,
    windows_WT: Tensor,
    model_type: str,
    read: str,
) -> None:
    """TransformerLens' own hooks: read there, add (v - a) W_dec[i] to hook_mlp_out."""
    folder = sae_folder(
        "jumprelu_transcoder",
        f"blocks.1.{read}",
        d_out=32,
        apply_b_dec_to_input=False,
        metadata={"hook_name_out": "blocks.1.hook_mlp_out"},
    )
    subject, sae, clean = ran(tiny, folder, windows_WT, model_type)
    bridge = boot(subject.card.model, deepcopy(plain(model_type)), subject.tokenizer)
    oracle = SAE.load_from_disk(folder)
    _, seen = bridge.run_with_cache(windows_WT, prepend_bos=False)
    acts_WTL = oracle.encode(seen[f"blocks.1.{read}"])
    torch.testing.assert_close(clean.acts_WTL, acts_WTL[..., list(LATENTS)], rtol=1e-3, atol=1e-4)
    assert (clean.acts_WTL > 0).any() and (clean.acts_WTL == 0).any()
    states = clamped_states(subject, sae, clean, [3, 17], torch.tensor([4.0, -6.0]))
    for row, (latent, value) in enumerate([(3, 4.0), (17, -6.0)]):

        def write(added_WTD: Tensor, hook: Any, latent: int = latent, value: float = value) -> Any:
            change_WT = (value - acts_WTL[..., latent]) * clean.mask_WT
            return added_WTD + change_WT[..., None] * oracle.W_dec[latent]

        hooks = [("blocks.1.hook_mlp_out", write)]
        expected = bridge.run_with_hooks(windows_WT, prepend_bos=False, fwd_hooks=hooks)
        torch.testing.assert_close(subject.unembed(states[row]), expected, rtol=1e-3, atol=1e-3)


@torch.inference_mode()
def test_what_the_sae_leaves_out_stays_in_the_clean_pass(
    tiny: Tiny, plain: Callable[[str], Any], sae_folder: MakeSae, windows_WT: Tensor
) -> None:
    """A random SAE reconstructs nothing, so without its error term all logits would differ."""
    subject, sae, clean = ran(tiny, sae_folder("topk", k=6), windows_WT)
    logits = plain("llama")(windows_WT).logits
    assert torch.equal(subject.unembed(clean.normed_WTD), logits)
    kept_WTD = clamped_states(replace_latents(subject), sae, clean, [3], torch.tensor([0.0]))[
        0, clean.acts_WTL[..., 0].sum(-1) == 0
    ]
    torch.testing.assert_close(
        kept_WTD, clean.normed_WTD[clean.acts_WTL[..., 0].sum(-1) == 0], rtol=1e-5, atol=1e-5
    )


def replace_latents(subject: Subject) -> Subject:
    return subject


def test_rows_of_a_batch_equal_rows_alone_to_the_last_digits(
    tiny: Tiny, sae_folder: MakeSae, windows_WT: Tensor
) -> None:
    """float32 at other batch shapes: 2e-6 of states that are of size one; their rows never mix."""
    subject, sae, clean = ran(tiny, sae_folder(), windows_WT)
    rows = [(3, 5.0), (17, 5.0), (3, -5.0), (0, 1.0), (29, 0.0)]
    latents, values = zip(*rows, strict=True)
    together = clamped_states(subject, sae, clean, latents, torch.tensor(values))
    for row, (latent, value) in enumerate(rows):
        alone = clamped_states(subject, sae, clean, [latent], torch.tensor([value]))[0]
        torch.testing.assert_close(together[row], alone, rtol=0, atol=1e-5)
    assert (together[0] - together[2]).abs().max() > 0.1


def test_changes_are_sums_over_counted_positions_whatever_rows_share_a_pass(
    tiny: Tiny, sae_folder: MakeSae, windows_WT: Tensor
) -> None:
    subject, sae, clean = ran(tiny, sae_folder(), windows_WT)
    latents, values = [3, 17, 29, 3, 0], torch.tensor([5.0, 2.0, -3.0, -5.0, 4.0])
    states = clamped_states(subject, sae, clean, latents, values).double()
    expected = []
    for row in states:
        counted = [
            row[w, t] - clean.normed_WTD[w, t].double()
            for w in range(3)
            for t in range(20)
            if windows_WT[w, t] not in (0, 1)
        ]
        expected.append(sum(counted) / len(counted))
    for rows_per_pass in (1, 2, 5):
        changes = window_changes(subject, sae, clean, latents, values, rows_per_pass)
        assert changes.sums_BWD.dtype == torch.float32
        change_BD = changes.sums_BWD.double().sum(1) / clean.counts_W.sum()
        torch.testing.assert_close(change_BD, torch.stack(expected), rtol=0, atol=1e-5)
        torch.testing.assert_close(changes.last_BWD.double(), states[:, :, -1], rtol=0, atol=1e-5)


@torch.inference_mode()
def test_kl_of_the_next_token_and_of_all_positions_equal_sums_over_saelens_logits(
    tiny: Tiny, spliceable: Callable[[str], Any], sae_folder: MakeSae, windows_WT: Tensor
) -> None:
    folder = sae_folder("topk", k=6)
    prompt = windows_WT[1:2, :12]  # a special token in the middle
    subject, sae, clean = ran(tiny, folder, prompt)
    counted = [t for t in range(12) if prompt[0, t] not in (0, 1)]
    last, every = [], []
    for latent, value in ((3, 6.0), (17, -6.0)):

        def edit(acts_WTL: Tensor, latent: int = latent, value: float = value) -> None:
            acts_WTL[0, counted, latent] = value

        bridge = spliceable("llama")
        log_p = bridge(prompt, prepend_bos=False)[0].double().log_softmax(-1)
        log_q = spliced_logits(bridge, folder, prompt, edit)[0].double().log_softmax(-1)
        kl_T = (log_p.exp() * (log_p - log_q)).sum(-1)
        last.append(kl_T[-1])
        every.append(kl_T[counted].mean())
    values = torch.tensor([6.0, -6.0])
    reached = next_token_kl(subject, sae, clean, [3, 17], values)
    torch.testing.assert_close(reached, torch.stack(last), rtol=1e-3, atol=1e-6)
    reached = all_positions_kl(subject, sae, clean, [3, 17], values)
    torch.testing.assert_close(reached, torch.stack(every), rtol=1e-3, atol=1e-6)
    assert min(last) > 0.01 and abs(last[0] - every[0]) > 0.01


def test_special_tokens_and_sinks_are_neither_clamped_nor_counted(
    tiny: Tiny, sae_folder: MakeSae, windows_WT: Tensor
) -> None:
    """At the last site a state is a function of its own position alone."""
    subject = tiny("llama")
    sae = Sae.load(sae_folder("standard", "blocks.3.hook_resid_post"))
    clean = clean_run(subject, sae, LATENTS, windows_WT)
    h_WTD = clean.h_WTD.clone()
    h_WTD[2, 5] *= 2 * subject.sink_threshold(4) / h_WTD[2, 5].norm()
    h_WTD[0, 3] *= 0.9 * subject.sink_threshold(4) / h_WTD[0, 3].norm()
    mask_WT = position_mask(subject, windows_WT, h_WTD, 4)
    left_out = {(w, t) for w, t in (~mask_WT).nonzero().tolist()}
    assert left_out == {(0, 0), (1, 0), (2, 0), (1, 7), (2, 5)}
    clean = replace(
        clean, h_WTD=h_WTD, mask_WT=mask_WT, normed_WTD=subject.resume(h_WTD, clean.site)
    )
    assert clean.num_positions == 3 * 20 - 5
    (states_WTD,) = clamped_states(subject, sae, clean, [17], torch.tensor([9.0]))
    is_moved_WT = (states_WTD != clean.normed_WTD).any(-1)
    assert torch.equal(is_moved_WT, mask_WT)
    moved_D = (states_WTD - clean.normed_WTD)[mask_WT].double().mean(0)
    sums_BWD = window_changes(subject, sae, clean, [17], torch.tensor([9.0]), 1).sums_BWD
    mean_D = sums_BWD[0].double().sum(0) / clean.num_positions
    torch.testing.assert_close(mean_D, moved_D, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_subject_is_clamped_in_float32_and_rounded_once(
    tiny: Tiny, sae_folder: MakeSae, windows_WT: Tensor, dtype: str
) -> None:
    subject, narrow = tiny("llama", dtype), getattr(torch, dtype)
    sae = Sae.load(sae_folder("standard", "blocks.3.hook_resid_post"))
    latents, values = [3, 17], [5.003, -0.777]
    clean = clean_run(subject, sae, latents, windows_WT)
    assert clean.h_WTD.dtype == narrow and clean.acts_WTL.dtype == torch.float32
    states = clamped_states(subject, sae, clean, latents, torch.tensor(values))
    assert states.dtype == narrow
    for row, (latent, value) in enumerate(zip(latents, values, strict=True)):
        moved_WTD = clean.h_WTD.double() + (value - clean.acts_WTL[..., row, None].double()) * (
            sae.W_dec_LD[latent].double()
        )
        moved_WTD = moved_WTD.to(narrow).where(clean.mask_WT[..., None], clean.h_WTD)
        expected = subject.resume(moved_WTD, clean.site)
        assert (states[row] != expected).float().mean() < 1e-3, "one rounding, but for halves"
    changes = window_changes(subject, sae, clean, latents, torch.tensor(values), 2)
    assert changes.sums_BWD.dtype == torch.float32
