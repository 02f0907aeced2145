"""Cross-layer transcoders: read by layer, and clamped at every block that they write to.

The oracle of a clamp is the plain Hugging Face model with hooks: each block's MLP is read, or
(v - a) d is added to what it adds, behind the norm after it where there is one.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
import torch
from sae_lens import SAE
from safetensors.torch import load_file, save_file
from torch import Tensor

from ray_autointerp.config import SaeSection
from ray_autointerp.errors import SaeError
from ray_autointerp.methods.jacobian import linear_change
from ray_autointerp.models.active_pass import active_changes
from ray_autointerp.models.clamped_pass import (
    clamped_states,
    clean_run,
    last_position_states,
    window_changes,
)
from ray_autointerp.models.cross_layer import not_needed
from ray_autointerp.models.jacobian import window_jacobians
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.sae_source import check_card
from ray_autointerp.models.steering import SteeredRow, steer
from ray_autointerp.models.subject import Subject

Tiny = Callable[..., Subject]
Make = Callable[..., str]
LATENTS, SILENT = (3, 17, 29, 39), 39
RELEASE = "mntss-gemma-2-2b-2.5m-clt-as-per-layer"


def layer_tensors(folder: str, layer: int) -> dict[str, Tensor]:
    """The layer's tensors, without its number in their names."""
    files = (Path(folder) / f"W_{kind}_{layer}.safetensors" for kind in ("enc", "dec"))
    return {
        name.removesuffix(f"_{layer}"): tensor
        for file in files
        for name, tensor in load_file(file).items()
    }


def slow_activations(w: dict[str, Tensor], x: Tensor) -> Tensor:
    pre = x @ w["W_enc"].T + w["b_enc"]
    return pre.relu() * (pre > w.get("threshold", 0))


@pytest.mark.parametrize("has_threshold", [False, True])
def test_layer_is_read_as_its_files_say(cross_layer_folder: Make, has_threshold: bool) -> None:
    folder = cross_layer_folder(has_threshold=has_threshold)
    sae, w = Sae.load(folder, layer=1), layer_tensors(folder, 1)
    assert (sae.read_point, sae.hook_point) == ("blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out")
    assert sae.later_points == ("blocks.2.hook_mlp_out", "blocks.3.hook_mlp_out")
    h_XD = torch.randn(2, 7, 32, generator=torch.Generator().manual_seed(5))
    expected = slow_activations(w, h_XD)
    assert (expected > 0).any() and (expected == 0).any()
    torch.testing.assert_close(sae.activations(h_XD), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(sae.decoder_rows([3, 17]), w["W_dec"][[3, 17]])
    assert torch.equal(sae.written_LX, w["W_dec"].reshape(40, 3 * 32))
    torch.testing.assert_close(sae.W_dec_LD, w["W_dec"].sum(1))
    assert not sae.reconstructs, "it takes the latents of all layers"


def test_last_layer_writes_to_one_block_as_any_transcoder(cross_layer_folder: Make) -> None:
    folder = cross_layer_folder()
    sae, w = Sae.load(folder, layer=3), layer_tensors(folder, 3)
    assert sae.later_points == () and not sae.reconstructs
    assert torch.equal(sae.decoder_rows([5])[:, 0], w["W_dec"][[5], 0])
    assert torch.equal(sae.written_LX, sae.W_dec_LD)


def test_decoders_stay_in_the_files_dtype_and_their_sum_is_wide(cross_layer_folder: Make) -> None:
    folder = cross_layer_folder(dtype=torch.bfloat16)
    sae, w = Sae.load(folder, layer=0), layer_tensors(folder, 0)
    assert sae.decoder_rows([3]).dtype == torch.bfloat16
    assert 0 <= check_card(folder, layer=0).decoder_bytes - 2 * w["W_dec"].numel() < 1000
    assert sae.W_dec_LD.dtype == torch.float32
    torch.testing.assert_close(sae.W_dec_LD, w["W_dec"].float().sum(1))


def spoil(folder: str, file: str, **changes: Tensor | None) -> None:
    path = Path(folder) / file
    tensors = {**load_file(path), **changes}
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


def write(folder: str, file: str, text: str) -> None:
    (Path(folder) / file).write_text(text)


ENC, DEC = "W_enc_1.safetensors", "W_dec_1.safetensors"
REFUSALS: list[tuple[Callable[[str], Any], str]] = [
    (lambda f: (Path(f) / DEC).unlink(), f"has no {DEC}: take a whole copy"),
    (lambda f: (Path(f) / "config.yaml").unlink(), "has no config.yaml"),
    (lambda f: write(f, "config.yaml", "model_name: x"), "needs feature_input_hook and feature_"),
    (lambda f: write(f, "config.yaml", "{"), "config.yaml cannot be read"),
    (lambda f: write(f, DEC, "no tensors"), "cannot be read"),
    (lambda f: spoil(f, ENC, b_enc_1=None), "has no b_enc_1"),
    (lambda f: spoil(f, ENC, b_enc_1=torch.zeros(41)), "b_enc_1 of 41, which does not fit W_dec_1"),
    (lambda f: spoil(f, ENC, threshold_1=torch.zeros(3)), "threshold_1 of 3, which does not fit"),
    (lambda f: spoil(f, ENC, b_dec_1=torch.zeros(31)), "b_dec_1 of 31, which does not fit"),
    (lambda f: spoil(f, DEC, W_dec_1=torch.zeros(40, 32)), "a decoder of 40 x 32, not of"),
    (
        lambda f: spoil(f, ENC, W_enc_1=torch.zeros(40, 16)),
        "reads vectors of 16 and writes vectors of 32",
    ),
    (lambda f: spoil(f, DEC, W_dec_1=torch.full((40, 3, 32), float("nan"))), "NaN.* in W_dec_1 at"),
    (lambda f: spoil(f, ENC, W_enc_1=torch.full((40, 32), float("inf"))), "in W_enc_1 at 40 of 40"),
]


@pytest.mark.parametrize(("change", "said"), REFUSALS, ids=[said for _, said in REFUSALS])
def test_damaged_copy_is_refused_with_a_sentence(
    cross_layer_folder: Make, change: Callable[[str], Any], said: str
) -> None:
    folder = cross_layer_folder()
    change(folder)
    with pytest.raises(SaeError, match=said) as caught:
        check_card(folder, layer=1)
    assert "\n" not in str(caught.value) and folder in str(caught.value)


def test_layer_is_asked_for_where_there_are_layers_and_only_there(
    cross_layer_folder: Make, sae_folder: Make
) -> None:
    folder = cross_layer_folder()
    with pytest.raises(SaeError, match=r"set `layer` in its \[\[sae\]\].* it has 0, 1, 2, 3"):
        check_card(folder)
    with pytest.raises(SaeError, match="has no layer 7; it has 0, 1, 2, 3"):
        check_card(folder, layer=7)
    with pytest.raises(SaeError, match="sets layer = 1: leave `layer` out"):
        check_card(sae_folder(), layer=1)
    with pytest.raises(ValueError, match="`layer` is that of a folder"):
        SaeSection(id="s", release="r", sae_id="x", layer=1)


def test_places_that_cannot_be_written_to_are_refused(cross_layer_folder: Make, tiny: Tiny) -> None:
    subject = tiny("llama").card
    with pytest.raises(SaeError, match="write to `hook_attn_out`; only"):
        check_card(cross_layer_folder(feature_output_hook="hook_attn_out"), layer=1)
    places = ("blocks.1.hook_mlp_out", "blocks.1.mlp.hook_in")
    check_card(cross_layer_folder(), layer=1).require_fits(subject, *places)
    with pytest.raises(SaeError, match="up to blocks.5.hook_mlp_out, and the subject's last .* 3"):
        check_card(cross_layer_folder(num_layers=6), layer=1).require_fits(subject, *places)
    with pytest.raises(SaeError, match="reads vectors of 16, the subject has 32"):
        check_card(cross_layer_folder(d_model=16), layer=1).require_fits(subject, *places)
    with pytest.raises(SaeError, match="leave hook_point out"):
        Sae.load(cross_layer_folder(), layer=1, hook_point="blocks.2.hook_mlp_out")


def test_digest_is_of_the_layers_own_files(cross_layer_folder: Make) -> None:
    folder = cross_layer_folder()
    before = check_card(folder, layer=1).digest
    spoil(folder, "W_dec_2.safetensors", W_dec_2=torch.ones(40, 2, 32))
    assert check_card(folder, layer=1).digest == before
    decoders = layer_tensors(folder, 1)["W_dec"]
    spoil(folder, DEC, W_dec_1=decoders.flip(1))  # the sum is the same
    assert check_card(folder, layer=1).digest != before


def test_what_a_layer_needs_of_a_folder_is_enough(cross_layer_folder: Make, tmp_path: Path) -> None:
    folder = cross_layer_folder()
    for file in Path(folder).iterdir():
        if not not_needed(1).fullmatch(file.name):
            shutil.copy(file, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"config.yaml", ENC, DEC}
    assert check_card(str(tmp_path), layer=1).digest == check_card(folder, layer=1).digest
    assert not not_needed(1).fullmatch("sae_weights.safetensors")
    kept = {f.name for f in Path(folder).iterdir() if not not_needed(None).fullmatch(f.name)}
    assert ENC in kept and DEC not in kept, "layers are known by their encoders"


@pytest.fixture
def hub(cross_layer_folder: Make, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in place of the repository that SAELens' registry names."""
    folder, loaders = cross_layer_folder(), "sae_lens.loading.pretrained_sae_loaders"

    def download(repository: str, file: str, **_: Any) -> str:
        assert repository == "mntss/clt-gemma-2-2b-2.5M"
        return str(Path(folder) / file)

    def shapes(repository: str, file: str) -> dict[str, list[int]]:
        tensors = load_file(download(repository, file))
        return {name: list(tensor.shape) for name, tensor in tensors.items()}

    def metadata(url: str) -> SimpleNamespace:
        repository, file = re.fullmatch(r"https://.+?/(.+)/resolve/main/(.+)", url).groups()
        return SimpleNamespace(size=Path(download(repository, file)).stat().st_size)

    monkeypatch.setattr("ray_autointerp.models.cross_layer.get_hf_file_metadata", metadata)
    for module in ("ray_autointerp.models.cross_layer", loaders):
        monkeypatch.setattr(f"{module}.hf_hub_download", download)
        monkeypatch.setattr(f"{module}.get_safetensors_tensor_shapes", shapes)
    return folder


@pytest.mark.filterwarnings("ignore:This loads the CLT layer as a single layer transcoder")
@pytest.mark.filterwarnings(r"ignore:\sThis SAE has non-empty model_from")
def test_registered_layer_is_saelens_own_but_for_decoders_by_layer(hub: str) -> None:
    sae = Sae.load(None, release=RELEASE, sae_id="layer_1")
    oracle: Any = SAE.from_pretrained(RELEASE, "layer_1")
    h_XD = torch.randn(5, 32, generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        # To the last digits: SAELens keeps a transposed view of the encoder.
        torch.testing.assert_close(sae.activations(h_XD), oracle.encode(h_XD))
    torch.testing.assert_close(sae.W_dec_LD, oracle.W_dec)
    assert torch.equal(sae.decoder_rows([3]), layer_tensors(hub, 1)["W_dec"][[3]])
    fetched = check_card(None, release=RELEASE, sae_id="layer_1")
    known = check_card(None, release=RELEASE, sae_id="layer_1", fetch=False)
    assert known.later_points == fetched.later_points == sae.later_points != ()
    assert known.digest == fetched.digest != f"{RELEASE}/layer_1", "summed decoders had that one"
    assert fetched.hook_point == oracle.cfg.metadata.hook_name_out
    assert fetched.read_point == oracle.cfg.metadata.hook_name
    assert known.decoder_bytes == fetched.decoder_bytes > 0


def test_registered_layer_that_cannot_be_fetched_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def offline(*_: Any) -> str:
        raise OSError("the hub cannot be reached\nat all")

    monkeypatch.setattr("ray_autointerp.models.cross_layer.hf_hub_download", offline)
    with pytest.raises(SaeError, match=f"cannot load {RELEASE}/layer_1: the hub cannot") as caught:
        check_card(None, release=RELEASE, sae_id="layer_1")
    assert "\n" not in str(caught.value)


def test_hub_that_breaks_off_is_one_sentence(hub: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks_off(*_: Any) -> None:
        raise httpx2.ReadTimeout("")

    monkeypatch.setattr("ray_autointerp.models.cross_layer.get_hf_file_metadata", breaks_off)
    with pytest.raises(SaeError, match=f"cannot load {RELEASE}/layer_1: ReadTimeout"):
        check_card(None, release=RELEASE, sae_id="layer_1", fetch=False)


def oracle_logits(
    model: Any,
    subject: Subject,
    w: dict[str, Tensor],
    ids_WT: Tensor,
    mask_WT: Tensor,
    latent: int,
    value: float,
    layer: int = 1,
) -> Tensor:
    """Of the plain model, with the latent at a value where the mask is true."""
    family = subject.card.family
    stack = model.model if hasattr(model, "model") else model
    stack = getattr(getattr(stack, "language_model", stack), family.body, stack)
    blocks, changes = getattr(stack, family.layers), []

    def read(_module: Any, arguments: Any) -> None:
        acts_WTL = slow_activations(w, arguments[0])
        changes.append((value - acts_WTL[..., latent]) * mask_WT)

    def written(row_D: Tensor) -> Callable[..., Tensor]:
        return lambda _module, _in, out: out + changes[0][..., None] * row_D

    handles = [getattr(blocks[layer], family.mlp).register_forward_pre_hook(read)]
    for number, row_D in enumerate(w["W_dec"][latent], layer):
        end = getattr(blocks[number], family.mlp_post_norm or family.mlp)
        handles.append(end.register_forward_hook(written(row_D)))
    try:
        logits: Tensor = model(ids_WT).logits
    finally:
        for handle in handles:
            handle.remove()
    return logits


TYPES = ["llama", "gpt_neox", "gemma2", "qwen3_5"]
"""Plain blocks, parallel ones, a norm after the MLP, and linear attention."""


@pytest.mark.parametrize("model_type", TYPES)
@torch.inference_mode()
def test_clamp_adds_along_a_row_for_each_block_that_is_written_to(
    tiny: Tiny,
    plain: Callable[[str], Any],
    cross_layer_folder: Make,
    windows_WT: Tensor,
    model_type: str,
) -> None:
    """Whole windows, the last position alone, and active positions alone, both signs."""
    folder, subject = cross_layer_folder(), tiny(model_type)
    sae, w = Sae.load(folder, layer=1), layer_tensors(folder, 1)
    clean = clean_run(subject, sae, LATENTS, windows_WT, keep_keys=True)
    is_counted_WT = (windows_WT != 0) & (windows_WT != 1)
    assert torch.equal(clean.mask_WT, is_counted_WT)
    is_last_WT = torch.zeros_like(is_counted_WT)
    is_last_WT[:, -1] = True
    latents, value_B = [3, 17, SILENT], torch.tensor([4.0, -6.0, 3.0])
    states = clamped_states(subject, sae, clean, latents, value_B)
    changes = window_changes(subject, sae, clean, latents, value_B, 2)
    last_BWD = last_position_states(subject, sae, clean, latents, value_B, 2)
    for row, (latent, value) in enumerate(zip(latents, value_B.tolist(), strict=True)):
        asked = (latent, value)
        expected = oracle_logits(plain(model_type), subject, w, windows_WT, is_counted_WT, *asked)
        logits = subject.unembed(states[row])
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(changes.last_BWD[row], states[row, :, -1], rtol=0, atol=1e-4)
        expected = oracle_logits(plain(model_type), subject, w, windows_WT, is_last_WT, *asked)
        logits = subject.unembed(last_BWD[row])
        torch.testing.assert_close(logits, expected[:, -1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("model_type", TYPES)
@torch.inference_mode()
def test_clamp_where_a_latent_fires_equals_whole_windows_under_that_mask(
    tiny: Tiny, cross_layer_folder: Make, windows_WT: Tensor, model_type: str
) -> None:
    subject, sae = tiny(model_type), Sae.load(cross_layer_folder(), layer=1)
    clean = clean_run(subject, sae, range(39), windows_WT, keep_keys=True)
    fires_L = ((clean.acts_WTL > 0) & clean.mask_WT[..., None]).any(1).all(0)
    latent = int(fires_L.nonzero()[0])
    windows_W = torch.tensor([2, 0, 1])
    acts_WT = clean.acts_WTL[windows_W][..., latent]
    active_WT = (acts_WT > 0) & clean.mask_WT[windows_W]
    done = active_changes(subject, sae, clean, latent, windows_W, -acts_WT[None], 2)
    where_WT = torch.zeros_like(clean.mask_WT)
    where_WT[windows_W] = active_WT
    lowered = clamped_states(subject, sae, clean.masked(where_WT), [latent], torch.zeros(1))[0]
    diff_WTD = (lowered - clean.normed_WTD)[windows_W] * active_WT[..., None]
    assert diff_WTD.abs().max() > 1e-3
    torch.testing.assert_close(done.sums_NWD[0], diff_WTD.sum(1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("model_type", TYPES[:3])
@torch.inference_mode()
def test_steered_text_is_the_oracles(
    tiny: Tiny, plain: Callable[[str], Any], cross_layer_folder: Make, model_type: str
) -> None:
    folder, subject = cross_layer_folder(), tiny(model_type)
    sae, w = Sae.load(folder, layer=1), layer_tensors(folder, 1)
    prompt = [0, 41, 77, 1, 200, 90, 33, 101, 64, 250, 12, 70]

    def expected(latent: int, value: float, is_steered: bool = True) -> Sequence[int]:
        texts = list(prompt)
        for _ in range(6):
            ids_1T = torch.tensor([texts])
            mask_1T = (ids_1T != 0) & (ids_1T != 1) & is_steered
            logits = oracle_logits(plain(model_type), subject, w, ids_1T, mask_1T, latent, value)
            texts.append(int(logits[0, -1].argmax()))
            if texts[-1] == subject.tokenizer.eos_id:
                return texts[len(prompt) : -1]
        return texts[len(prompt) :]

    clamps = [(3, 40.0), (17, -40.0), (SILENT, 25.0)]
    rows = [SteeredRow(latent, value, 1) for latent, value in clamps] + [SteeredRow(None, 9.0, 1)]
    texts = steer(subject, sae, prompt, rows, 6, 0.0)
    assert texts == [*(expected(*clamp) for clamp in clamps), expected(3, 9.0, False)]
    assert len({tuple(text) for text in texts}) > 2


def test_jacobians_of_all_write_points_foretell_a_small_clamp(
    tiny: Tiny, cross_layer_folder: Make, windows_WT: Tensor
) -> None:
    """The sum of the rows at the first of them does not."""
    subject, sae = tiny("llama"), Sae.load(cross_layer_folder(), layer=1)
    clean = clean_run(subject, sae, LATENTS, windows_WT)
    value = 0.01
    change = window_changes(subject, sae, clean, [SILENT], torch.tensor([value]), 1)
    change_D = change.sums_BWD[0].sum(0) / clean.num_positions
    means = []
    for point in (sae.hook_point, *sae.later_points):
        site = subject.site(point)
        h_WTD = subject.residual(windows_WT, site)
        sums_KWD = window_jacobians(subject, h_WTD, clean.mask_WT, site, range(32))
        means.append(sums_KWD.sum(1) / clean.num_positions)
    written_1X = value * sae.written_LX[[SILENT]]
    error_D = linear_change(written_1X, torch.cat(means, 1))[0] - change_D
    assert error_D.norm() < 0.05 * change_D.norm()
    summed_D = linear_change(value * sae.W_dec_LD[[SILENT]], means[0])[0] - change_D
    assert summed_D.norm() > 0.3 * change_D.norm()
