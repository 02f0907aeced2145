"""A planted transcoder and a cross-layer one beside the planted SAE, one run: they read in a block
and write behind it, the cross-layer one behind the next block too.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.methods.random_direction import random_directions
from ray_autointerp.models.clamped_pass import next_token_kl
from ray_autointerp.models.direction_sae import direction_sae
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.passes.clamp_search import mean_kl, neutral_runs
from ray_autointerp.passes.jacobian import jacobian_of
from ray_autointerp.pipeline import label, relabel
from ray_autointerp.plan.controls import RANDOM_DIRECTION
from ray_autointerp.preflight.check import check
from ray_autointerp.records.keys import derive_seed
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

READ, WRITE = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"


@pytest.fixture(scope="module")
def transcoder(planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted directions; the normalised state it reads is four times as long."""
    folder = tmp_path_factory.mktemp("transcoder")
    tensors = load_file(planted.folder / "sae" / "sae_weights.safetensors")
    tensors["b_enc"] = torch.full_like(tensors["b_enc"], -5.0)
    save_file(tensors, folder / "sae_weights.safetensors")
    config = json.loads((planted.folder / "sae" / "cfg.json").read_text())
    config |= {"architecture": "transcoder", "d_out": config["d_in"]}
    config["metadata"] |= {"hook_name": READ, "hook_name_out": WRITE}
    (folder / "cfg.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def cross_layer(planted: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in circuit-tracer's format. What is written behind the first block is the opposite
    of the planted direction: the second makes up for it twice.
    """
    folder = tmp_path_factory.mktemp("cross-layer")
    tensors = load_file(planted.folder / "sae" / "sae_weights.safetensors")
    encoder = {
        "W_enc_1": tensors["W_enc"].T.contiguous(),
        "b_enc_1": torch.full_like(tensors["b_enc"], -5.0),
        "b_dec_1": tensors["b_dec"],
    }
    save_file(encoder, folder / "W_enc_1.safetensors")
    decoders = torch.stack([-tensors["W_dec"], 2 * tensors["W_dec"]], 1)
    save_file({"W_dec_1": decoders}, folder / "W_dec_1.safetensors")
    hooks = "feature_input_hook: mlp.hook_in\nfeature_output_hook: hook_mlp_out\n"
    (folder / "config.yaml").write_text(hooks)
    return folder


def with_both(config: Config, transcoder: Path, **changes: str) -> Config:
    (planted,) = config.sae
    second = planted.model_copy(update={"id": "transcoder", "path": str(transcoder), **changes})
    return config.model_copy(update={"sae": (planted, second)})


@pytest.fixture(scope="module")
def both(
    quick_config: Callable[..., Config],
    transcoder: Path,
    cross_layer: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    controls = {
        "select": {"controls": 4},
        "score": {"num_control_units": 1},
        "steering": {"kl_targets": [0.25]},  # random directions do not get much further
    }
    config = quick_config(
        tmp_path_factory.mktemp("both"), {"operations": {"micro_batch": 0}} | controls
    )
    config = with_both(config, transcoder)
    third = config.sae[0].model_copy(
        update={"id": "cross-layer", "path": str(cross_layer), "layer": 1}
    )
    return label(config.model_copy(update={"sae": (*config.sae, third)}), run_local, Silent())


@pytest.mark.parametrize("sae", ["planted", "transcoder", "cross-layer"])
def test_trigger_and_effect_of_every_latent_are_found(
    both: Run, planted: PlantedTruth, sae: str
) -> None:
    tables = Tables(both)
    for row in tables.read("top_examples", sae).to_pylist():
        fired = {
            text.strip()
            for example in row["examples"]
            for text, activation in zip(example["texts"], example["activations"], strict=True)
            if activation > 0
        }
        assert fired == ({planted.triggers[row["latent"]]} if row["examples"] else set())
    for row in tables.read("token_change", sae, "all").to_pylist():
        side = "suppressed" if row["sign"] == -1 else "promoted"
        assert row[side][0]["text"].strip() == planted.effects[row["latent"]]
    for row in tables.read("input_scores", sae, "ensemble_raw").to_pylist():
        assert row["status"] != "ok" or row["auroc"] == 1


def test_jacobians_of_both_blocks_find_what_is_written_over_two(
    both: Run, planted: PlantedTruth
) -> None:
    tables = Tables(both)
    for row in tables.read("jacobian_proj", "cross-layer").to_pylist():
        assert row["promoted"][0]["text"].strip() == planted.effects[row["latent"]]
    whole, first, second = (
        jacobian_of(tables, "cross-layer", torch.device("cpu")),
        jacobian_of(tables, "transcoder", torch.device("cpu")),
        tables.read("jacobian", "blocks.2.hook_mlp_out"),
    )
    d_model = both.axes.d_model
    assert torch.equal(whole.mean_DD[:, :d_model], first.mean_DD)
    assert torch.equal(whole.mean_DD[:, d_model:], torch.tensor(second["mean"].to_pylist()))
    assert torch.equal(whole.singles_NDD[..., :d_model], first.singles_NDD)
    singles_DND = torch.tensor(second["singles"].to_pylist())  # no sinks: the counts are the same
    assert torch.equal(whole.singles_NDD[..., d_model:], singles_DND.movedim(1, 0))


def test_fitted_lens_needs_a_matrix_for_each_block_that_is_written_to(
    both: Run, cross_layer: Path, quick_config: Callable[..., Config], tmp_path: Path
) -> None:
    d_model = both.axes.d_model

    def config(*layers: int) -> Config:
        file = tmp_path / f"lens-{len(layers)}.safetensors"
        save_file({str(layer): torch.eye(d_model) * (layer + 1) for layer in layers}, file)
        evidence = {"jacobian": f"lens:{file}", "change_estimator": "exact"}
        made = quick_config(tmp_path, {"evidence": evidence})
        changes = {"id": "cross-layer", "path": str(cross_layer), "layer": 1}
        return made.model_copy(update={"sae": (made.sae[0].model_copy(update=changes),)})

    with pytest.raises(ConfigError, match=r"has no matrix for blocks\.2\.hook_mlp_out"):
        check(config(1))
    assert check(config(1, 2)).axes.later_hook_points["cross-layer"] == ("blocks.2.hook_mlp_out",)


def test_random_direction_of_a_cross_layer_latent_is_added_behind_each_block(both: Run) -> None:
    context = WorkerContext(both)
    sae = context.sae("cross-layer")
    points = (sae.hook_point, *sae.later_points)
    found = context.tables.read("control_texts", "cross-layer", RANDOM_DIRECTION).to_pylist()
    row = next(row for row in found if row["status"] == "ok")
    seed = derive_seed(both.config.run.seed, RANDOM_DIRECTION, row["latent"])
    directions_LSD = random_directions(sae.decoder_rows([row["latent"]]), [seed])

    def kl(num_points: int) -> float:
        moved = direction_sae(directions_LSD[:, :num_points], points[:num_points])
        prompts, value = neutral_runs(context, moved, [0]), np.array([row["clamp_value"]])
        return float(mean_kl(next_token_kl, context, moved, prompts, [0], value)[0])

    assert kl(2) == pytest.approx(row["kl_reached"], rel=1e-4)
    assert kl(1) != pytest.approx(row["kl_reached"], rel=0.1)


def test_fit_of_a_cross_layer_transcoder_says_nothing_of_reconstruction(both: Run) -> None:
    (row,) = Tables(both).read("sae_fit", "cross-layer").to_pylist()
    assert (row["status"], row["unexplained"]) == ("no_evidence", None)
    assert row["l0"] > 0


def test_manifest_says_where_each_reads_and_writes(both: Run) -> None:
    places = {section.id: (section.read_point, section.hook_point) for section in both.config.sae}
    assert places["transcoder"] == places["cross-layer"] == (READ, WRITE)
    assert load_run(both.uri).axes == both.axes
    assert both.axes.later_hook_points == {"cross-layer": ("blocks.2.hook_mlp_out",)}
    assert len(set(places["planted"])) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"read_point": "blocks.2.mlp.hook_in"}, "reads at blocks.2.mlp.hook_in, above"),
        ({"read_point": "blocks.2.hook_resid_post"}, "above blocks.1.hook_mlp_out"),
    ],
)
def test_reading_above_the_writing_is_refused(
    quick_config: Callable[..., Config],
    transcoder: Path,
    tmp_path: Path,
    changes: dict[str, str],
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=said):
        check(with_both(quick_config(tmp_path), transcoder, **changes))


def test_checkpoints_of_a_cross_layer_transcoder_are_labelled_by_layer(
    quick_config: Callable[..., Config], both: Run, cross_layer: Path, tmp_path: Path
) -> None:
    training = tmp_path / "training"
    for step in (900, 1000):
        shutil.copytree(cross_layer, training / f"step_{step}")
    (training / "step_1000" / "W_dec_1.safetensors").unlink()
    config = quick_config(tmp_path / "runs")
    changes = {"path": None, "checkpoints": str(training), "layer": 1}
    sae = config.sae[0].model_copy(update=changes)
    labelled: list[Config] = []
    said: list[str] = []

    def label_one(one: Config) -> Run:
        labelled.append(one)
        return both

    relabel(config.model_copy(update={"sae": (sae,)}), label_one, said.append)
    (one,) = labelled
    assert (one.sae[0].path, one.sae[0].layer) == (str(training / "step_900"), 1)
    assert said == [f"Waiting for {training / 'step_1000'}: it has no W_dec_1.safetensors yet."]
