"""Sentences through the subject: which tokens count."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.sae import Sae
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]


def test_neither_bos_nor_padding_counts_in_a_sentences_maximum(
    quick_run: Run, quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latent that is said to burn on BOS and behind the end scores as before."""
    config = quick_config(tmp_path)
    copied = tmp_path / config.run.name
    shutil.copytree(quick_run.uri, copied)
    for name in ("input_scores", "labels"):
        shutil.rmtree(copied / "sae" / "planted" / name)
    (copied / "sae" / "planted" / "labels.parquet").unlink()
    true = Sae.activations_of
    seen = 0

    def burning(self: Sae, h_WTD: Tensor, latents: Sequence[int]) -> Tensor:
        nonlocal seen
        acts_WTB = true(self, h_WTD, latents).clone()
        acts_WTB[:, 0] = 1e6
        # The same state again and again to the end of a row is padding.
        repeats = (h_WTD[:, 1:] - h_WTD[:, :-1]).abs().amax(-1) < 0.05
        is_padding = torch.nn.functional.pad(repeats, (1, 0)).flip(1).cummin(1).values.flip(1)
        seen += int(is_padding.sum())
        return acts_WTB.masked_fill(is_padding[..., None], 1e6)

    monkeypatch.setattr(Sae, "activations_of", burning)
    run = label(config, run_local, Silent())
    assert seen > 0, "the sentences are of several lengths"
    for method in config.score.methods:
        read, expected = (
            Tables(one).read("input_scores", "planted", method) for one in (run, quick_run)
        )
        assert read.equals(expected)
