"""Every SAE that people have, read through our door, against plain torch and SAELens' decoder."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sae_lens import SAE, TrainingSAE
from sae_lens.registry import get_sae_training_class
from safetensors.torch import load_file, save_file
from torch import Tensor

from ray_autointerp.errors import SaeError
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.sae_source import check_card

WIDTH, LATENTS, BLOCK = 32, 40, "blocks.1"
MakeSae = Callable[..., str]
TRANSCODER: dict[str, Any] = {
    "hook_point": f"{BLOCK}.mlp.hook_in",
    "d_out": WIDTH,
    "apply_b_dec_to_input": False,
    "metadata": {"hook_name_out": f"{BLOCK}.hook_mlp_out"},
}
KINDS: list[tuple[str, dict[str, Any]]] = [
    ("standard", {}),
    ("standard", {"apply_b_dec_to_input": False}),
    ("gated", {}),
    ("jumprelu", {"apply_b_dec_to_input": False}),
    ("topk", {"k": 6}),
    ("topk", {"k": 6, "rescale_acts_by_decoder_norm": True}),
    ("abstopk", {"k": 6}),
    ("abstopk", {"k": 6, "rescale_acts_by_decoder_norm": True, "apply_b_dec_to_input": False}),
    ("matching_pursuit", {"max_iterations": 5}),
    ("transcoder", TRANSCODER),
    ("skip_transcoder", TRANSCODER),
    ("jumprelu_transcoder", TRANSCODER),
    ("jumprelu_skip_transcoder", TRANSCODER),
]


@pytest.fixture
def h_XD() -> Tensor:
    return torch.randn(2, 7, WIDTH, generator=torch.Generator().manual_seed(5))


def config_and_weights(folder: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    weights = load_file(Path(folder) / "sae_weights.safetensors")
    return json.loads((Path(folder) / "cfg.json").read_text()), weights


def pursuit(x_D: Tensor, W_dec: Tensor, iterations: int) -> Tensor:
    """Matching pursuit of one vector: the best row is taken off, again and again."""
    acts, support = torch.zeros(len(W_dec)), None
    for _ in range(iterations):
        best = (W_dec @ x_D).argmax()
        step = (W_dec[best] @ x_D).relu()
        acts[best] += step
        x_D = x_D - step * W_dec[best]
        if (acts != 0).tolist() == support or x_D.norm() < 0.01:
            break
        support = (acts != 0).tolist()
    return acts


def slow_activations(config: dict[str, Any], w: dict[str, Tensor], x: Tensor) -> Tensor:
    """Each architecture from its definition."""
    kind = config["architecture"]
    if config["apply_b_dec_to_input"]:
        x = x - w["b_dec"]
    if kind == "matching_pursuit":
        return torch.stack([pursuit(row, w["W_dec"], config["max_iterations"]) for row in x])
    if kind == "gated":
        is_open = (x @ w["W_enc"] + w["b_gate"]) > 0
        return (x @ (w["W_enc"] * w["r_mag"].exp()) + w["b_mag"]).relu() * is_open
    pre = x @ w["W_enc"] + w["b_enc"]
    if config.get("rescale_acts_by_decoder_norm"):
        pre = pre * w["W_dec"].norm(dim=-1)
    if "jumprelu" in kind:
        return pre.relu() * (pre > w["threshold"])
    if kind in ("topk", "abstopk"):
        size = pre.abs() if kind == "abstopk" else pre
        least = size.sort(dim=-1, descending=True).values[..., config["k"] - 1, None]
        kept = pre * (size >= least)
        return kept if kind == "abstopk" else kept.relu()
    return pre.relu()


@pytest.mark.parametrize(("kind", "fields"), KINDS)
def test_activations_are_those_of_the_architectures_definition(
    sae_folder: MakeSae, h_XD: Tensor, kind: str, fields: dict[str, Any]
) -> None:
    folder = sae_folder(kind, **fields)
    sae = Sae.load(folder)
    config, weights = config_and_weights(folder)
    expected = slow_activations(config, weights, h_XD.flatten(0, 1)).reshape(2, 7, LATENTS)
    assert (expected != 0).any() and (expected == 0).any()
    torch.testing.assert_close(sae.activations(h_XD), expected, rtol=1e-4, atol=1e-5)
    some = torch.tensor([3, 0, 39])
    torch.testing.assert_close(
        sae.activations_of(h_XD, some), expected[..., some], rtol=1e-4, atol=1e-5
    )
    assert (sae.d_sae, check_card(folder).d_out) == (LATENTS, WIDTH)


def assert_clamp_is_an_edited_decode(sae: Sae, oracle: Any, read_XD: Tensor) -> None:
    """h + (v - a_i) W_dec[i] against SAELens' decode of edited activations plus its error."""
    h_XD = torch.randn(read_XD.shape, generator=torch.Generator().manual_seed(6))
    acts_XL = sae.activations(read_XD)
    error_XD = h_XD - oracle.decode(acts_XL)
    for latent, value in ((0, 3.0), (17, -2.0), (39, 0.0)):
        edited_XL = acts_XL.clone()
        edited_XL[..., latent] = value
        moved_XD = h_XD + (value - acts_XL[..., latent, None]) * sae.W_dec_LD[latent]
        torch.testing.assert_close(
            moved_XD, oracle.decode(edited_XL) + error_XD, rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(("kind", "fields"), KINDS)
@torch.inference_mode()
def test_clamp_along_the_decoder_is_saelens_decode_with_the_error_term(
    sae_folder: MakeSae, h_XD: Tensor, kind: str, fields: dict[str, Any]
) -> None:
    folder = sae_folder(kind, **fields)
    assert_clamp_is_an_edited_decode(Sae.load(folder), SAE.load_from_disk(folder), h_XD)


@pytest.fixture
def training_folder(tmp_path: Path) -> MakeSae:
    """A checkpoint as SAELens' trainer saves it half-way: weights, cfg.json, perhaps a scale."""

    def write(kind: str, *, scale: float | None = None, **fields: Any) -> str:
        cls, config_cls = get_sae_training_class(kind)
        config: Any = config_cls(d_in=WIDTH, d_sae=LATENTS, k=6, **fields)
        config.metadata.hook_name = f"{BLOCK}.hook_resid_post"
        sae: Any = cls(config)
        draws = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in sae.parameters():
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=draws))
            if hasattr(sae, "topk_threshold"):
                sae.topk_threshold.fill_(0.4)
        sae.save_model(tmp_path)
        if scale is not None:
            (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": scale}))
        return str(tmp_path)

    return write


@pytest.mark.parametrize("is_rescaled", [True, False])
@pytest.mark.parametrize(
    ("kind", "fields"),
    [("batchtopk", {}), ("matryoshka_batchtopk", {"matryoshka_widths": [10, 40]})],
)
def test_training_checkpoint_becomes_jumprelu_with_the_stored_threshold(
    training_folder: MakeSae, h_XD: Tensor, kind: str, fields: dict[str, Any], is_rescaled: bool
) -> None:
    """Each token alone: active latents are those whose scaled pre-activation is above 0.4."""
    folder = training_folder(kind, rescale_acts_by_decoder_norm=is_rescaled, **fields)
    sae = Sae.load(folder)
    _, w = config_and_weights(folder)
    norms = w["W_dec"].norm(dim=-1) if is_rescaled else torch.ones(LATENTS)
    pre = ((h_XD - w["b_dec"]) @ w["W_enc"] + w["b_enc"]) * norms
    expected = pre * (pre > 0.4)
    assert ((pre > 0) & (pre < 0.4)).any() and (expected > 0).any()
    torch.testing.assert_close(sae.activations(h_XD), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        sae.activations(h_XD[:1, :1])[0, 0], expected[0, 0], rtol=1e-4, atol=1e-5
    )
    with torch.inference_mode():
        oracle: Any = TrainingSAE.load_from_disk(folder)
        assert_clamp_is_an_edited_decode(sae, oracle, h_XD)


def test_training_checkpoint_is_what_saelens_would_have_saved_for_inference(
    training_folder: MakeSae, h_XD: Tensor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = training_folder("batchtopk")
    saved = tmp_path_factory.mktemp("inference")
    TrainingSAE.load_from_disk(folder).save_inference_model(saved)
    ours, theirs = Sae.load(folder), Sae.load(str(saved))
    assert torch.equal(ours.activations(h_XD), theirs.activations(h_XD))
    assert torch.equal(ours.W_dec_LD, theirs.W_dec_LD)


def test_training_checkpoint_without_its_threshold_is_refused(training_folder: MakeSae) -> None:
    folder = training_folder("batchtopk")
    _, weights = config_and_weights(folder)
    del weights["topk_threshold"]
    save_file(weights, Path(folder) / "sae_weights.safetensors")
    with pytest.raises(SaeError, match="save_inference_model") as caught:
        check_card(folder)
    assert folder in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["topk", "batchtopk"])
def test_stored_activation_scale_is_folded(
    training_folder: MakeSae, h_XD: Tensor, kind: str
) -> None:
    """Trained on s h: a latent fires as it did on s h, and writes 1/s of its decoder row."""
    options = {"rescale_acts_by_decoder_norm": False}
    plain = Sae.load(training_folder(kind, **options))
    acts, rows = plain.activations(2.5 * h_XD), plain.W_dec_LD.clone()
    digest = check_card(training_folder(kind, **options)).digest
    folder = training_folder(
        kind, scale=2.5, normalize_activations="expected_average_only_in", **options
    )
    folded = Sae.load(folder)
    torch.testing.assert_close(folded.activations(h_XD), acts, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(folded.W_dec_LD, rows / 2.5)
    assert check_card(folder).digest != digest


def test_scale_that_is_not_stored_is_refused(training_folder: MakeSae) -> None:
    folder = training_folder("topk", normalize_activations="expected_average_only_in")
    with pytest.raises(SaeError, match="the scale is not stored"):
        check_card(folder)


@pytest.mark.parametrize(
    "written",
    ["[]", '{"scaling_factor": NaN}', '{"scaling_factor": 0}', '{"scaling_factor": "one"}'],
)
def test_scale_that_cannot_be_read_is_refused(training_folder: MakeSae, written: str) -> None:
    folder = training_folder("topk", normalize_activations="expected_average_only_in", scale=1.0)
    (Path(folder) / "activation_scaler.json").write_text(written)
    with pytest.raises(SaeError, match="is no activation scale"):
        check_card(folder)


def test_normalisation_that_no_length_undoes_is_refused(sae_folder: MakeSae) -> None:
    with pytest.raises(SaeError, match="scaled by `covariance_whitening`"):
        check_card(sae_folder(normalize_activations="covariance_whitening"))
    folder = sae_folder(
        "transcoder",
        d_out=WIDTH,
        apply_b_dec_to_input=False,
        normalize_activations="layer_norm",
    )
    with pytest.raises(SaeError, match="transcoder.*`layer_norm`"):
        check_card(folder)


def test_registry_sae_whose_scale_saelens_does_not_know_is_refused(
    sae_folder: MakeSae, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SAELens folds the scale of its registry and only warns where it has none."""
    loaded = {
        "folded": SAE.load_from_disk(sae_folder()),
        "unfolded": SAE.load_from_disk(
            sae_folder(normalize_activations="expected_average_only_in")
        ),
    }
    monkeypatch.setattr(SAE, "from_pretrained", lambda release, sae_id, **_: loaded[sae_id])
    card = check_card(None, release="some-release", sae_id="folded")
    assert (card.source, card.hook_point) == ("some-release/folded", f"{BLOCK}.hook_resid_post")
    assert Sae.load(None, release="some-release", sae_id="folded").d_sae == LATENTS
    with pytest.raises(SaeError, match="the scale is not stored"):
        check_card(None, release="some-release", sae_id="unfolded")


def test_registry_sae_is_known_without_its_weights() -> None:
    """Gemma Scope's and Qwen Scope's configurations are in SAELens itself."""
    card = check_card(
        None,
        release="gemma-scope-2b-pt-res-canonical",
        sae_id="layer_12/width_65k/canonical",
        fetch=False,
    )
    assert (card.d_in, card.d_sae, card.architecture) == (2304, 65536, "jumprelu")
    assert (card.hook_point, card.context_size) == ("blocks.12.hook_resid_post", 1024)
    with pytest.raises(SaeError, match="cannot load gpt2-small-res-jb") as caught:
        check_card(None, release="gpt2-small-res-jb", sae_id="blocks.3.hook_resid_pre", fetch=False)
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings(r"ignore:\sThis SAE has non-empty model_from")
@pytest.mark.parametrize(
    ("architecture", "more"),
    [(name, more) for name, more in KINDS if name in ("standard", "jumprelu", "topk", "abstopk")],
)
def test_sae_trained_on_a_centred_residual_stream_reads_the_whole_one(
    sae_folder: MakeSae, h_XD: Tensor, architecture: str, more: dict[str, Any]
) -> None:
    kwargs = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    plain = Sae.load(sae_folder(architecture, **more))
    folder = sae_folder(architecture, **more, metadata=kwargs)
    assert check_card(folder).is_centered
    with pytest.raises(SaeError, match="only layer norms ignore that"):
        check_card(folder).require_norm("rms")
    check_card(folder).require_norm("layer")
    h_XD = h_XD + 3
    centred = Sae.load(folder).activations(h_XD)
    expected = plain.activations(h_XD - h_XD.mean(dim=-1, keepdim=True))
    torch.testing.assert_close(centred, expected, atol=1e-4, rtol=1e-4)
    assert (centred - plain.activations(h_XD)).abs().max() > 0.1


@pytest.mark.filterwarnings(r"ignore:\sThis SAE has non-empty model_from")
def test_sae_whose_encoder_cannot_be_centred_is_refused(sae_folder: MakeSae) -> None:
    kwargs = {"model_from_pretrained_kwargs": {"center_writing_weights": True}}
    with pytest.raises(SaeError, match="center_writing_weights"):
        check_card(sae_folder("gated", metadata=kwargs))


def test_registry_name_that_saelens_does_not_know_is_one_sentence() -> None:
    with pytest.raises(SaeError, match="no-such-release") as caught:
        check_card(None, release="no-such-release", sae_id="x")
    assert "\n" not in str(caught.value)


def test_folder_older_than_saelens_6_is_read(sae_folder: MakeSae, h_XD: Tensor) -> None:
    folder = sae_folder("topk", k=6)
    expected = Sae.load(folder).activations(h_XD)
    old = {
        "d_in": WIDTH,
        "d_sae": LATENTS,
        "dtype": "float32",
        "hook_point": f"{BLOCK}.hook_resid_post",
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 6},
        "normalize_activations": False,
        "context_size": 64,
    }
    (Path(folder) / "cfg.json").write_text(json.dumps(old))
    card = check_card(folder)
    assert (card.architecture, card.context_size) == ("topk", 64)
    assert card.hook_point == f"{BLOCK}.hook_resid_post"
    assert torch.equal(Sae.load(folder).activations(h_XD), expected)


def test_temporal_sae_is_refused(sae_folder: MakeSae, edited_sae: MakeSae) -> None:
    """Its latents depend on the tokens before."""
    with pytest.raises(SaeError, match="`temporal`.*cannot be clamped"):
        check_card(edited_sae(architecture="temporal"))


def write_sparsify(folder: Path, **fields: Any) -> dict[str, Tensor]:
    """What EleutherAI's sparsify writes with save_to_disk."""
    folder.mkdir(parents=True)
    draws = torch.Generator().manual_seed(3)
    tensors = {
        "encoder.weight": 0.2 * torch.randn(LATENTS, WIDTH, generator=draws),
        "encoder.bias": 0.2 * torch.randn(LATENTS, generator=draws),
        "W_dec": 0.2 * torch.randn(LATENTS, WIDTH, generator=draws),
        "b_dec": 0.2 * torch.randn(WIDTH, generator=draws),
    }
    if fields.get("skip_connection"):
        tensors["W_skip"] = torch.randn(WIDTH, WIDTH, generator=draws)
    config = {
        "activation": "topk",
        "expansion_factor": 32,
        "normalize_decoder": True,
        "num_latents": LATENTS,
        "k": 6,
        "multi_topk": False,
        "skip_connection": False,
        "transcode": False,
        "d_in": WIDTH,
        **fields,
    }
    save_file(tensors, folder / "sae.safetensors")
    (folder / "cfg.json").write_text(json.dumps(config))
    return tensors


@pytest.mark.parametrize(
    "fields",
    [{}, {"signed": True}, {"transcode": True, "skip_connection": True}, {"multi_topk": True}],
    ids=["sae", "signed", "transcoder", "multi_topk"],
)
def test_sparsify_checkpoint_encodes_and_writes_as_sparsify_does(
    tmp_path: Path, h_XD: Tensor, fields: dict[str, Any]
) -> None:
    w = write_sparsify(tmp_path / "layers.1.mlp", **fields)
    sae = Sae.load(str(tmp_path / "layers.1.mlp"))
    x = h_XD if fields.get("transcode") else h_XD - w["b_dec"]
    pre = x @ w["encoder.weight"].T + w["encoder.bias"]
    size = pre.abs() if fields.get("signed") else pre.relu()
    _, kept = size.topk(6)
    expected = torch.zeros_like(pre).scatter(-1, kept, pre.gather(-1, kept))
    expected = expected if fields.get("signed") else expected.relu()
    torch.testing.assert_close(sae.activations(h_XD), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(sae.W_dec_LD, w["W_dec"]), "rows as stored, not transposed"


@pytest.mark.parametrize(
    ("name", "transcode", "read", "write"),
    [
        ("layers.3", False, "blocks.3.hook_resid_post", "blocks.3.hook_resid_post"),
        ("h.3", False, "blocks.3.hook_resid_post", "blocks.3.hook_resid_post"),
        ("layers.3.mlp", False, "blocks.3.mlp.hook_out", "blocks.3.mlp.hook_out"),
        ("layers.3.mlp", True, "blocks.3.mlp.hook_in", "blocks.3.mlp.hook_out"),
        ("gpt_neox.layers.3.mlp", True, "blocks.3.mlp.hook_in", "blocks.3.mlp.hook_out"),
        ("best", False, None, None),
    ],
)
def test_sparsify_folder_names_its_hook_points(
    tmp_path: Path, name: str, transcode: bool, read: str | None, write: str | None
) -> None:
    write_sparsify(tmp_path / name, transcode=transcode)
    card = check_card(str(tmp_path / name))
    assert (card.read_point, card.hook_point, card.d_sae) == (read, write, LATENTS)
    assert card.is_transcoder == transcode


@pytest.mark.parametrize("fields", [{"activation": "groupmax"}, {"gram_lookup": True}])
def test_sparsify_checkpoint_of_another_kind_is_refused(
    tmp_path: Path, fields: dict[str, Any]
) -> None:
    write_sparsify(tmp_path / "layers.3", **fields)
    with pytest.raises(SaeError, match="groupmax|gram_lookup"):
        check_card(str(tmp_path / "layers.3"))


def test_transcoder_whose_places_are_not_both_known_is_refused(
    sae_folder: MakeSae, tmp_path: Path
) -> None:
    half = sae_folder("transcoder", **TRANSCODER | {"metadata": {}})
    with pytest.raises(SaeError, match="set read_point and hook_point"):
        Sae.load(half)
    sae = Sae.load(half, hook_point=f"{BLOCK}.hook_mlp_out")
    assert (sae.read_point, sae.hook_point) == (TRANSCODER["hook_point"], f"{BLOCK}.hook_mlp_out")
    write_sparsify(tmp_path / "best", transcode=True)
    with pytest.raises(SaeError, match="transcoder"):
        Sae.load(str(tmp_path / "best"), hook_point=f"{BLOCK}.hook_mlp_out")


def test_sae_that_the_config_moves_reads_where_it_writes(sae_folder: MakeSae) -> None:
    sae = Sae.load(sae_folder(), hook_point="blocks.2.hook_resid_post")
    assert (sae.read_point, sae.hook_point) == ("blocks.2.hook_resid_post",) * 2


def test_gemma_scope_2_reads_behind_the_norm_that_its_hugging_face_name_says(
    sae_folder: MakeSae,
) -> None:
    folder = sae_folder(
        "jumprelu_skip_transcoder",
        **TRANSCODER
        | {
            "hook_point": f"{BLOCK}.hook_mlp_in",
            "metadata": {
                "hook_name_out": f"{BLOCK}.hook_mlp_out",
                "hf_hook_name": "model.layers.1.pre_feedforward_layernorm.output",
            },
        },
    )
    card = check_card(folder)
    assert (card.read_point, card.hook_point) == (f"{BLOCK}.ln2.hook_out", f"{BLOCK}.hook_mlp_out")


DTYPES = ["float32", "bfloat16", "float16", "float64"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["jumprelu", "topk", "batchtopk"])
def test_weights_are_as_stored_whatever_the_subjects_dtype(
    sae_folder: MakeSae, training_folder: MakeSae, h_XD: Tensor, kind: str, dtype: str
) -> None:
    """What a state of half precision is encoded to is what its exact value is."""
    options = {"k": 6} if kind == "topk" else {}
    folder = (training_folder if kind == "batchtopk" else sae_folder)(kind, **options)
    exact, sae = Sae.load(folder), Sae.load(folder, dtype=dtype)
    h_XD = h_XD.to(getattr(torch, dtype))
    acts = sae.activations(h_XD)
    wide = torch.float64 if dtype == "float64" else torch.float32
    assert acts.dtype == sae.W_dec_LD.dtype == sae.W_enc_DL.dtype == wide
    assert torch.equal(sae.W_dec_LD.float(), exact.W_dec_LD)
    torch.testing.assert_close(acts.float(), exact.activations(h_XD), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_threshold_that_half_precision_would_round_up_to_a_pre_activation(
    sae_folder: MakeSae, dtype: str
) -> None:
    """Latent 0 reads 1 + eps, over its threshold of 1 + 0.6 eps; that rounded, it is silent."""
    eps = torch.finfo(getattr(torch, dtype)).eps
    folder = sae_folder("jumprelu")
    file = Path(folder) / "sae_weights.safetensors"
    tensors = {name: torch.zeros_like(tensor) for name, tensor in load_file(file).items()}
    tensors["W_enc"][0, 0] = tensors["W_dec"][0, 0] = 1
    tensors["threshold"][:] = 1 + 0.6 * eps
    save_file(tensors, file)
    sae = Sae.load(folder, dtype=dtype)
    h_WTD = torch.zeros(1, 1, sae.W_enc_DL.shape[0], dtype=getattr(torch, dtype))
    h_WTD[..., 0] = 1 + eps
    assert float(sae.activations(h_WTD)[0, 0, 0]) == 1 + eps
    assert float(sae.activations_of(h_WTD, torch.tensor([0]))) == 1 + eps
    entries = sae.active_entries(h_WTD, torch.ones(1, 1, dtype=torch.bool), slice(0, sae.d_sae))
    assert (entries.latents_N.tolist(), entries.values_N.tolist()) == ([0], [1 + eps])
    acts_NL, made_NZ = sae.reconstruct(h_WTD[0])
    assert float(acts_NL[0, 0]) == float(made_NZ[0, 0]) == 1 + eps


@pytest.mark.parametrize(
    ("architecture", "fields"),
    [
        ("standard", {}),
        ("jumprelu", {}),
        ("topk", {"k": 40, "apply_b_dec_to_input": True}),
        ("topk", {"k": 40, "rescale_acts_by_decoder_norm": True}),
    ],
)
def test_activations_of_two_states_differ_by_what_the_encoder_reads_between_them(
    sae: Callable[..., Sae], architecture: str, fields: dict[str, object]
) -> None:
    loaded = sae(architecture, **fields)
    draws = torch.Generator().manual_seed(5)
    first_D, second_D = 3 * torch.randn(2, 32, generator=draws)
    a_L, b_L = loaded.activations(torch.stack([first_D, second_D]))
    fires_L = (a_L > 0) & (b_L > 0)
    assert int(fires_L.sum()) >= 3
    read_L = (first_D - second_D) @ loaded.W_enc_DL
    torch.testing.assert_close((a_L - b_L)[fires_L], read_L[fires_L], rtol=1e-4, atol=1e-4)
