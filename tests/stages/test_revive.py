"""Dead latents of the planted model: each fires on its own word, which the corpus lacks, but for
one that nothing fires.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.methods.revival import attempts
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.pipeline import label
from ray_autointerp.plan.evidence import REVIVAL_LISTS
from ray_autointerp.reports.label_table import labels
from ray_autointerp.reports.latent_card import latent_card
from ray_autointerp.reports.revival_table import revival_sentence
from ray_autointerp.reports.run_scores import run_scores
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

Planted = Callable[..., Config]
SAE = "planted"
SPECIALS = ("<unk>", "<s>", "</s>")
METHODS = ("ensemble_raw", "keywords")
SOURCES = (*REVIVAL_LISTS, *METHODS)
WITH_DEAD = {"select": {"num_dead": 4}}


@pytest.fixture(scope="module")
def run(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    config = quick_config(tmp_path_factory.mktemp("dead"), WITH_DEAD)
    return label(config, run_local, Silent())


def rows(run: Run, source: str) -> dict[int, Row]:
    return {row["latent"]: row for row in Tables(run).read("revivals", SAE, source).to_pylist()}


def listed(run: Run, source: str, latent: int) -> list[int]:
    """The tokens of a source's list that may stand in a text."""
    table, column = REVIVAL_LISTS[source]
    (row,) = Tables(run).row(table, SAE, [latent]).values()
    return [entry["token"] for entry in row[column] if entry["text"] not in SPECIALS]


def dead(run: Run, planted: PlantedTruth) -> list[int]:
    found = [latent for latent in Tables(run).selection(SAE) if not planted.is_alive(latent)]
    assert len(found) == 4
    return found


def test_each_source_has_a_row_for_every_chosen_latent(run: Run, planted: PlantedTruth) -> None:
    for source in SOURCES:
        found = rows(run, source)
        assert set(found) == set(Tables(run).selection(SAE))
        for latent, row in found.items():
            if planted.is_alive(latent):
                values = {row[name] for name in row if name not in ("latent", "status")}
                assert (row["status"], values) == ("alive", {None})
            else:
                assert row["status"] == "ok" and row["num_texts"] > 0


def test_dead_latent_is_revived_by_its_own_word_and_by_no_list_without_it(
    run: Run, planted: PlantedTruth
) -> None:
    for latent in dead(run, planted):
        for source in SOURCES:
            row = rows(run, source)[latent]
            is_named = source == "tokens.reads" and planted.can_fire(latent)
            assert row["revived"] == is_named, (latent, source, row)
            if is_named:
                trigger = planted.triggers[latent]
                assert trigger in row["text"], "perhaps behind another word, and a little stronger"
                assert row["activation"] == pytest.approx(2.0, abs=0.2)
                assert 0 < row["num_firing"] < row["num_texts"]
            else:
                assert (row["activation"], row["num_firing"], row["text"]) == (0, 0, None)


def test_count_is_of_the_texts_that_hold_the_latents_word(
    run: Run, planted: PlantedTruth, tokenizer: SubjectTokenizer
) -> None:
    for latent in dead(run, planted):
        row = rows(run, "tokens.reads")[latent]
        tried = [one.token_ids for one in attempts(listed(run, "tokens.reads", latent))]
        assert row["num_texts"] == len(tried)
        if planted.can_fire(latent):
            (own,) = tokenizer.encode(planted.triggers[latent])
            assert own in row["token_ids"] and tuple(row["token_ids"]) in tried
            assert row["num_firing"] == sum(own in ids for ids in tried)


@pytest.fixture(scope="module")
def tokenizer(planted: PlantedTruth) -> SubjectTokenizer:
    return SubjectTokenizer.load(str(planted.folder / "subject"))


def test_labels_card_and_summary_say_what_fires_it(run: Run, planted: PlantedTruth) -> None:
    published = {row["latent"]: row for row in labels(run, SAE).to_pylist()}
    for latent, row in published.items():
        if planted.is_alive(latent):
            assert (row["revived"], row["revived_by"]) == (None, None)
            continue
        can_fire = planted.can_fire(latent)
        assert row["revived"] == can_fire
        assert row["revived_by"] == rows(run, "tokens.reads")[latent]["text"]
        said = latent_card(run, SAE, latent)
        assert set(said.revivals) == set(SOURCES)
    assert set(run_scores(run, SAE).revivals) == set(dead(run, planted))
    sentence = revival_sentence(run)
    assert sentence and sentence.startswith(
        "Of 4 dead latents, 3 (75%) fire on a text made for them: "
        "3 by tokens that its encoder reads, 0 by tokens of vocab_proj, "
    )


def test_run_without_a_dead_latent_says_nothing(quick_run: Run) -> None:
    assert revival_sentence(quick_run) is None
    assert labels(quick_run, SAE)["revived"].null_count == len(labels(quick_run, SAE))


@pytest.fixture
def untried(run: Run, quick_config: Planted, tmp_path: Path) -> Config:
    """The config of a copy of the run in which nothing has been tried yet."""
    config = quick_config(tmp_path, WITH_DEAD)
    shutil.copytree(run.uri, tmp_path / config.run.name)
    owner = tmp_path / config.run.name / "sae" / SAE
    for name in ("revivals", "labels", "choices"):
        shutil.rmtree(owner / name)
    (owner / "labels.parquet").unlink()
    return config


def test_latent_that_needs_two_tokens_is_revived_by_the_first_pair(
    untried: Config, planted: PlantedTruth, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latent that is said to fire on whatever stands second behind BOS, at one strength."""

    def second(self: Sae, h_WTD: Tensor, latents: Tensor) -> Tensor:
        acts_WTB = torch.zeros(*h_WTD.shape[:-1], len(latents))
        acts_WTB[:, 2:3] = 1.5
        return acts_WTB

    monkeypatch.setattr(Sae, "activations_of", second)
    again = label(untried, run_local, Silent())
    for latent in dead(again, planted):
        for source in REVIVAL_LISTS:
            row, tokens = rows(again, source)[latent], listed(again, source, latent)
            assert (row["kind"], row["token_ids"], row["activation"]) == ("pair", tokens[:2], 1.5)
            assert row["num_firing"] == row["num_texts"] - len(tokens), "all but single tokens"
        for method in METHODS:
            assert rows(again, method)[latent]["kind"] == "sentence"


def test_bos_and_padding_do_not_revive(
    run: Run, untried: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A latent that is said to burn on BOS is tried as before."""
    true = Sae.activations_of

    def burning(self: Sae, h_WTD: Tensor, latents: Tensor) -> Tensor:
        acts_WTB = true(self, h_WTD, latents).clone()
        acts_WTB[:, 0] = 1e6
        return acts_WTB

    monkeypatch.setattr(Sae, "activations_of", burning)
    again = label(untried, run_local, Silent())
    for source in SOURCES:
        assert rows(again, source) == rows(run, source)
