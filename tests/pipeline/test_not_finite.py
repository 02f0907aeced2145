"""Projections of one latent that overflow: its rows fail, the run and all other latents go on."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import SaeError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.methods.token_lists import SignedLists
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.sae import Sae
from ray_autointerp.pipeline import label
from ray_autointerp.reports.agreement_table import agreement_table
from ray_autointerp.reports.latent_card import latent_card
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.stages import jacobian_proj, vocab_proj
from ray_autointerp.storage.parquet import read_tables

BROKEN, BROKEN_TOO = 3, 33
"""The latents at the same place of the two shards."""


def spoilt(method: Callable[..., SignedLists]) -> Callable[..., SignedLists]:
    """The method, with an infinite logit in the list of one latent of each shard."""

    def run(*args: Any, **kwargs: Any) -> SignedLists:
        lists = method(*args, **kwargs)
        lists.promoted.logits_BK[BROKEN, 0] = torch.inf
        return lists

    return run


@pytest.fixture(scope="module")
def broken_run(
    quick_config: Callable[..., Config], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        for stage, name in ((vocab_proj, "vocab_proj"), (jacobian_proj, "jacobian_proj")):
            patch.setattr(stage, name, spoilt(getattr(stage, name)))
        config = quick_config(
            tmp_path_factory.mktemp("broken"),
            {"select": {"rule": "list", "latents": [BROKEN]}},
        )
        return label(config, run_local, Silent())


def test_rows_of_the_latent_fail_and_those_of_the_others_are_as_ever(
    broken_run: Run, quick_run: Run
) -> None:
    for table in ("vocab_proj", "jacobian_proj"):
        found = Tables(broken_run).read(table, "planted").to_pylist()
        whole = Tables(quick_run).read(table, "planted").to_pylist()
        for latent, (row, sound) in enumerate(zip(found, whole, strict=True)):
            if latent in (BROKEN, BROKEN_TOO):
                assert row == dict.fromkeys(row) | {"latent": latent, "status": "failed"}
            else:
                assert row == sound


def test_what_is_made_from_a_failed_row_is_not_ok(broken_run: Run) -> None:
    tables = Tables(broken_run)
    (described,) = tables.rows("descriptions", "planted", [BROKEN], "vocab_proj")[BROKEN]
    assert (described["status"], described["description"]) == ("no_evidence", None)
    scores = tables.row("free_scores", "planted", [BROKEN, BROKEN + 1])
    assert [scores[i]["status"] for i in (BROKEN, BROKEN + 1)] == ["no_evidence", "ok"]
    labels = tables.row("labels", "planted", [BROKEN])[BROKEN]
    assert labels["s_out"] is None
    assert latent_card(broken_run, "planted", BROKEN)


def test_ledger_says_how_many_rows_failed_and_why(broken_run: Run) -> None:
    store = Tables(broken_run).store
    attempts = read_tables(store, list(store.list("ledger/"))).to_pylist()
    details = {(row["step"], row["shard"]): row["detail"] for row in attempts if row["detail"]}
    steps = ("vocab_proj", "jacobian_proj")
    said = "1 row(s) failed: NaN or infinite numbers"
    assert details == {(step, shard): said for step in steps for shard in (0, 1)}


def test_error_relative_to_the_effect_of_a_latent_without_effect_is_null(
    quick_run: Run, quick_config: Callable[..., Config], planted: PlantedTruth, tmp_path: Path
) -> None:
    """A decoder row of zeros moves nothing; 0 / 0 is no number."""
    selection = Tables(quick_run).selection("planted")
    still, *others = [latent for latent, row in selection.items() if row["sample"]]
    folder = Path(shutil.copytree(planted.folder / "sae", tmp_path / "sae"))
    tensors = load_file(folder / "sae_weights.safetensors")
    tensors["W_dec"][still] = 0
    save_file(tensors, folder / "sae_weights.safetensors")
    config = quick_config(tmp_path)
    (sae,) = config.sae
    config = config.model_copy(update={"sae": (sae.model_copy(update={"path": str(folder)}),)})
    run = label(config, run_local, Silent())
    rows = [
        row
        for row in Tables(run).read("agreement", "planted").to_pylist()
        if row["strength"] == "maximum"
    ]
    assert {row["status"] for row in rows} == {"ok"}
    for row in rows:
        assert (row["relative_error"] is None) == (row["latent"] == still)
    assert {row["latent"] for row in rows} == {still, *others}
    assert agreement_table(run, "planted")


def test_sae_that_is_spoilt_after_the_run_began_is_refused_by_the_worker_once(
    quick_config: Callable[..., Config],
    planted: PlantedTruth,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = Path(shutil.copytree(planted.folder / "sae", tmp_path / "sae"))
    config = quick_config(tmp_path)
    (sae,) = config.sae
    config = config.model_copy(update={"sae": (sae.model_copy(update={"path": str(folder)}),)})
    loads: list[str] = []
    load = Sae.load

    def spoilt_load(path: str, **options: Any) -> Sae:
        tensors = load_file(folder / "sae_weights.safetensors")
        tensors["W_dec"][BROKEN] = torch.nan
        save_file(tensors, folder / "sae_weights.safetensors")
        loads.append(path)
        return load(path, **options)

    monkeypatch.setattr(Sae, "load", spoilt_load)
    with pytest.raises(SaeError, match=rf"in W_dec at 1 of \d+ latents \({BROKEN}\)"):
        label(config, run_local, Silent())
    assert loads == [str(folder)]
