"""Sentences through the subject: which tokens count."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from torch import Tensor

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]


def without_scores(run: Run, config: Config, folder: Path) -> Config:
    """The config of a copy of the run from which the scores are missing."""
    copied = folder / config.run.name
    shutil.copytree(run.uri, copied)
    for name in ("input_scores", "labels"):
        shutil.rmtree(copied / "sae" / "planted" / name)
    (copied / "sae" / "planted" / "labels.parquet").unlink()
    return config


def scores_of(run: Run) -> list[pa.Table]:
    return [
        Tables(run).read("input_scores", "planted", method) for method in run.config.score.methods
    ]


def test_neither_bos_nor_padding_counts_in_a_sentences_maximum(
    written_run: Run, quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latent that is said to burn on BOS and behind the end scores as before. All words are the
    planted model's: a row of unknown ones would look like padding.
    """
    changed = {"score": {"neutral_sentences": "written"}}
    config = without_scores(written_run, quick_config(tmp_path, changed), tmp_path)
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
    assert scores_of(run) == scores_of(written_run)


def test_token_that_the_embedding_lacks_is_left_out_of_a_sentence(
    quick_run: Run, quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An LLM may write what the tokenizer alone has as a token, such as the end of a turn."""
    config = without_scores(quick_run, quick_config(tmp_path), tmp_path)
    texts = {
        text
        for method in config.score.methods
        for row in Tables(quick_run).read("sentences", "planted", method).to_pylist()
        for text in (*(row["activating"] or ()), *(row["neutral"] or ()))
    }
    true = SubjectTokenizer.encode
    seen = 0

    def encode(self: SubjectTokenizer, text: str) -> list[int]:
        nonlocal seen
        seen += text in texts
        return [*true(self, text), *([self.num_ids + 5] if text in texts else [])]

    monkeypatch.setattr(SubjectTokenizer, "encode", encode)
    run = label(config, run_local, Silent())
    assert seen > 0
    assert scores_of(run) == scores_of(quick_run)


def test_token_of_a_peak_is_one_of_the_sentence_and_missing_where_the_latent_is_silent(
    quick_run: Run,
) -> None:
    """A silent latent has no peak: BOS, the first of many zeros, is not shown as one."""
    tokens: dict[bool, list[str | None]] = {True: [], False: []}
    for method in quick_run.config.score.methods:
        tables = Tables(quick_run)
        written = tables.read("sentences", "planted", method).to_pylist()
        texts = {
            (row["latent"], side): " ".join(row[side] or ())
            for row in written
            for side in ("activating", "neutral")
        }
        for row in tables.read("input_scores", "planted", method).to_pylist():
            for one in row["activations"] or ():
                tokens[one["activation"] > 0].append(one["token"])
                if one["token"] is not None:
                    assert one["token"].strip() in texts[row["latent"], one["side"]]
    assert tokens[True] and None not in tokens[True]
    assert tokens[False] and set(tokens[False]) == {None}
