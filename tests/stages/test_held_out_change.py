"""Held-out changes against the subject run by transformers alone, on the score side's text."""

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaForCausalLM

from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.passes.change_windows import change_windows
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

BLOCK = 1
"""The block behind which the planted SAE lies."""


@pytest.fixture(scope="module")
def rows(quick_run: Run) -> list[Row]:
    found: list[Row] = Tables(quick_run).read("held_out_change", "planted").to_pylist()
    return found


def mean_logit_diff(planted: PlantedTruth, windows_WT: Tensor, latent: int, value: float) -> Tensor:
    """[V], mean over every position but BOS: the latent set to the value, less untouched."""
    model = LlamaForCausalLM.from_pretrained(planted.folder / "subject").eval()
    sae = load_file(planted.folder / "sae" / "sae_weights.safetensors")

    def clamp(_module: object, _args: object, output: Tensor | tuple[Tensor, ...]) -> object:
        h_WTD = output if isinstance(output, Tensor) else output[0]
        acts_WT = (h_WTD @ sae["W_enc"][:, latent] + sae["b_enc"][latent]).relu()
        delta_WTD = (value - acts_WT)[..., None] * sae["W_dec"][latent]
        delta_WTD[:, 0] = 0
        changed = h_WTD + delta_WTD
        return changed if isinstance(output, Tensor) else (changed, *output[1:])

    with torch.no_grad():
        clean_WTV = model(windows_WT).logits
        handle = model.model.layers[BLOCK].register_forward_hook(clamp)
        clamped_WTV = model(windows_WT).logits
        handle.remove()
    found: Tensor = (clamped_WTV - clean_WTV)[:, 1:].double().mean((0, 1)).float()
    return found


def test_change_is_that_of_transformers_on_score_side_windows(
    quick_run: Run, planted: PlantedTruth, rows: list[Row]
) -> None:
    tables = Tables(quick_run)
    windows_WT = change_windows(tables, "score", quick_run.config.evidence.held_out_windows)
    texts = {
        split: {tuple(row["token_ids"][: windows_WT.shape[1]]) for row in tokens}
        for split in ("explain", "score")
        for tokens in [[r for r in tables.read("tokens", None).to_pylist() if r["split"] == split]]
    }
    shown = {tuple(window) for window in windows_WT.tolist()}
    assert shown <= texts["score"] and not shown & texts["explain"]
    W_U_DV = LlamaForCausalLM.from_pretrained(planted.folder / "subject").lm_head.weight.T
    for row in rows[:6]:
        expected_V = mean_logit_diff(planted, windows_WT, row["latent"], row["clamp_value"])
        found_V = (torch.tensor(row["mean_change"]) @ W_U_DV).detach()
        torch.testing.assert_close(found_V, expected_V, rtol=1e-3, atol=1e-4)
        ranked = expected_V.sort(descending=True).values
        for side, values in (("promoted", ranked), ("suppressed", ranked.flip(0))):
            logits = torch.tensor([entry["logit"] for entry in row[side]])
            assert len(logits) == 100
            torch.testing.assert_close(logits, values[:100], rtol=1e-3, atol=1e-4)
            ids = [entry["token"] for entry in row[side]]
            torch.testing.assert_close(expected_V[ids], logits, rtol=1e-3, atol=1e-4)


def test_every_chosen_latent_has_both_strengths_and_promotes_its_effect(
    quick_run: Run, planted: PlantedTruth, rows: list[Row]
) -> None:
    tables = Tables(quick_run)
    chosen = tables.selection("planted")
    keys = {(row["latent"], row["strength"]) for row in rows}
    assert keys == {(latent, s) for latent in chosen for s in ("maximum", "steering")}
    clamps = tables.rows("clamps", "planted", list(chosen))
    highest = max(quick_run.config.steering.kl_targets)
    for row in rows:
        own = [c for c in clamps[row["latent"]] if c["sign"] == 1]
        (reached,) = [c for c in own if abs(c["kl_target"] - highest) < 1e-6]
        value = {
            "maximum": reached["reference_activation"],
            "steering": reached["clamp_value"],
        }[row["strength"]]
        assert row["status"] == "ok" and row["clamp_value"] == value
        assert row["promoted"][0]["text"].strip() == planted.effects[row["latent"]]
        assert row["num_windows"] == quick_run.config.evidence.held_out_windows
