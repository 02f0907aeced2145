"""Lenses that TransformerLens fitted, against our own Jacobians; what cannot be used is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from transformer_lens.model_bridge import TransformerBridge
from transformer_lens.tools.analysis import JacobianLens as Reference

from ray_autointerp.errors import ConfigError
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.jacobian_lens import lens_digest, load_lens
from ray_autointerp.models.subject import Subject

TEXTS = ["the cat sat on the mat and the dog ran", "over the hill the dog sat on the cat"]
LENGTH, SKIPPED = 12, 3


@pytest.fixture(scope="module")
def fitted(tiny_folder: Callable[[str], str]) -> Callable[[str], tuple[Reference, torch.Tensor]]:
    """TransformerLens' own fit, and the tokens that it was fitted on."""

    def fit(model_type: str) -> tuple[Reference, torch.Tensor]:
        bridge: Any = TransformerBridge.boot_transformers(tiny_folder(model_type), device="cpu")
        windows_WT = torch.cat([bridge.to_tokens(text)[:, :LENGTH] for text in TEXTS])
        lens = Reference.fit(
            bridge,
            TEXTS,
            corpus="two sentences",
            max_seq_len=LENGTH,
            skip_first_positions=SKIPPED,
            show_progress=False,
        )
        return lens, windows_WT

    return fit


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "gemma2"])
def test_matrices_equal_our_jacobian_to_the_state_before_the_norm(
    fitted: Callable[[str], tuple[Reference, torch.Tensor]],
    tiny: Callable[..., Subject],
    model_type: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reference, windows_WT = fitted(model_type)
    reference.save(str(tmp_path / "lens.pt"), dtype=torch.float32)
    lens = load_lens(f"lens:{tmp_path / 'lens.pt'}")
    assert sorted(lens.matrices) == [0, 1, 2] and lens.num_prompts == 2 and lens.target_layer == 3
    subject = tiny(model_type)
    lens.require_fits(subject.card, "blocks.1.hook_resid_post")
    monkeypatch.setattr(subject, "_parts", replace(subject._parts, norm=nn.Identity()))
    mask_WT = torch.zeros(windows_WT.shape, dtype=torch.bool)
    mask_WT[:, SKIPPED : LENGTH - 1] = True
    for site in (1, 3):
        h_WTD = subject.residual(windows_WT, site)
        rows_KWD = window_jacobians(subject, h_WTD, mask_WT, site, range(4, 7))
        expected_KD = rows_KWD.sum(1) / mask_WT.sum()
        found_DD = lens.matrix(site, subject.card)
        assert found_DD is not None
        torch.testing.assert_close(found_DD[4:7], expected_KD, rtol=1e-3, atol=1e-3)
    assert torch.equal(lens.matrix(4, subject.card), torch.eye(subject.card.d_model))


def saved(folder: Path, layers: tuple[int, ...] = (0, 1), width: int = 32, **metadata: Any) -> str:
    file = folder / "lens.pt"
    matrices = {layer: torch.randn(width, width) for layer in layers}
    Reference(matrices, n_prompts=5, d_model=width, metadata=metadata).save(str(file))
    return f"lens:{file}"


@pytest.mark.parametrize(
    ("changes", "hook_point", "said"),
    [
        ({"width": 16}, "blocks.1.hook_resid_post", "has matrices of 16 x 16, and the subject's"),
        ({}, "blocks.2.hook_resid_post", "has no matrix for blocks.2.hook_resid_post, only for"),
        ({}, "blocks.0.hook_resid_pre", "has no matrix for blocks.0.hook_resid_pre"),
        ({}, "blocks.1.hook_resid_mid", "has no matrix for blocks.1.hook_resid_mid"),
        ({"model_name": "org/other"}, "blocks.1.hook_resid_post", "was fitted on org/other, and"),
        ({"target_layer": 2}, "blocks.1.hook_resid_post", "ends at layer 2, and the subject's"),
    ],
)
def test_lens_that_does_not_fit_is_refused_in_one_sentence(
    tiny: Callable[..., Subject],
    tmp_path: Path,
    changes: dict[str, Any],
    hook_point: str,
    said: str,
) -> None:
    lens = load_lens(saved(tmp_path, **changes))
    with pytest.raises(ConfigError, match=said) as refused:
        lens.require_fits(tiny("llama").card, hook_point)
    assert str(refused.value).endswith('"fit".')


def test_names_of_one_model_may_differ_in_owner_and_case(
    tiny: Callable[..., Subject], tmp_path: Path
) -> None:
    card = replace(tiny("llama").card, model="/models/Tiny-Llama")
    lens = load_lens(saved(tmp_path, model_name="org/tiny-llama"))
    lens.require_fits(card, "blocks.1.hook_resid_post")


def test_safetensors_file_has_a_matrix_per_layer(tmp_path: Path) -> None:
    matrix = torch.randn(4, 4)
    save_file({"7": matrix.half(), "J.8": matrix}, tmp_path / "lens.safetensors")
    lens = load_lens(f"lens:{tmp_path / 'lens.safetensors'}")
    assert lens.matrices.keys() == {7, 8} and lens.matrices[7].dtype == torch.float32
    assert torch.equal(lens.matrices[8], matrix)


def test_digest_is_of_what_the_file_holds(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = lens_digest(saved(tmp_path))
    assert lens_digest(saved(tmp_path)) != before
    torch.manual_seed(0)
    assert lens_digest(saved(tmp_path)) == before


def test_unreadable_unknown_and_broken_lenses_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no lens")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    for name in ("text.pt", "other.pt"):
        with pytest.raises(ConfigError, match="cannot be read as a Jacobian lens"):
            load_lens(f"lens:{tmp_path / name}")
    save_file({"1": torch.full((4, 4), float("nan"))}, tmp_path / "nan.safetensors")
    with pytest.raises(ConfigError, match="not finite"):
        load_lens(f"lens:{tmp_path / 'nan.safetensors'}")
    with pytest.raises(ConfigError, match=r"nowhere is neither a file nor one .* gemma-2-2b"):
        load_lens("lens:nowhere")


def test_name_of_the_registry_is_fetched_and_knows_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny: Callable[..., Subject]
) -> None:
    asked = []

    def fetch(repo: str, file: str) -> str:
        asked.append((repo, file))
        return saved(tmp_path).removeprefix("lens:")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fetch)
    lens = load_lens("lens:gemma-2-2b")
    assert asked[0][0] == "neuronpedia/jacobian-lens" and "gemma-2-2b" in asked[0][1]
    assert "google/gemma-2-2b" in lens.fitted_for
    with pytest.raises(ConfigError, match="was fitted on google/gemma-2-2b"):
        lens.require_fits(tiny("llama").card, "blocks.1.hook_resid_post")
