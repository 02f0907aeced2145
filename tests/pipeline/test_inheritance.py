"""A run with a parent: what does not differ is read where it lies, and the tables are those of a
run that made everything itself."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from counted import read_back
from receipts import Kept
from rich.console import Console
from rich.table import Table

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.errors import ConfigError, RunMismatch, StoreError
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.plan.flow import FLOW
from ray_autointerp.reports.compare import lines
from ray_autointerp.reports.history_table import (
    history_table,
    label_history_table,
    label_versions,
    lineage,
    run_history,
)
from ray_autointerp.reports.label_table import labels
from ray_autointerp.reports.run_scores import run_scores
from ray_autointerp.runs.answers import spent
from ray_autointerp.runs.manifest import load_run
from ray_autointerp.runs.run import Run
from ray_autointerp.storage.parquet import read_table
from ray_autointerp.storage.store import open_store

Planted = Callable[..., Config]
SAE = "planted"
MORE = {"score": {"methods": ["ensemble_raw", "keywords", "max_act"]}}
"""One method is scored more: what the others share is the parent's."""


@pytest.fixture(scope="module")
def root(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a copy of the quick run, `planted`."""
    folder = tmp_path_factory.mktemp("family")
    shutil.copytree(quick_run.uri, folder / "planted")
    return folder


@pytest.fixture(scope="module")
def child(quick_config: Planted, root: Path) -> tuple[Run, set[str]]:
    return made(child_config(quick_config, root, "child", "planted", MORE))


def child_config(
    quick_config: Planted, root: Path, name: str, parent: str, changes: dict[str, dict[str, Any]]
) -> Config:
    config = quick_config(root, changes)
    section = config.run.model_copy(update={"name": name, "parent": parent})
    return config.model_copy(update={"run": section})


def tables(uri: str) -> dict[str, pa.Table]:
    """Every table of a run; ledger and raw answers tell of attempts and are left out."""
    store = open_store(uri)
    names = [name for name in store.list("") if name.endswith(".parquet")]
    return {
        name: read_table(store, name)
        for name in names
        if not name.startswith(("ledger/", "answers/"))
    }


def printed(table: Table) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def made(config: Config) -> tuple[Run, set[str]]:
    kept = Kept()
    return label(config, run_local, kept), kept.steps


def test_child_makes_only_what_differs_and_has_the_tables_of_a_run_of_its_own(
    child: tuple[Run, set[str]], quick_config: Planted, tmp_path: Path
) -> None:
    run, done = child
    assert done == {
        *("write_sentences", "input_score", "output_score", "unseen_tokens"),
        *("detection", "fuzzing", "revive", "publish"),
    }
    alone = label(quick_config(tmp_path, MORE), run_local, Silent())
    own, whole, parents = tables(run.uri), tables(alone.uri), tables(run.sibling("planted"))
    assert set(own) < set(whole) == {*own, *parents}
    for name, table in whole.items():
        assert (own if name in own else parents)[name].equals(table), name
    twice = {name.split("/")[2].removesuffix(".parquet") for name in own.keys() & parents.keys()}
    assert twice == {"labels", "choices"}


def test_reports_read_what_is_inherited(child: tuple[Run, set[str]]) -> None:
    run = load_run(child[0].uri)
    assert run == child[0]
    methods = {line.method for line in lines(run_scores(run, SAE))}
    assert {"ensemble_raw", "keywords", "max_act"} <= methods


def test_finished_child_does_nothing_again(child: tuple[Run, set[str]]) -> None:
    assert made(child[0].config) == (child[0], set())


def test_grandchild_reads_each_table_from_the_run_that_made_it(
    child: tuple[Run, set[str]], quick_config: Planted, root: Path
) -> None:
    changes = {"score": MORE["score"] | {"detection_texts": 3}}
    run, done = made(child_config(quick_config, root, "grandchild", "child", changes))
    assert run.inherits[f"write_sentences/{SAE}/max_act"] == "child"
    assert run.inherits[f"write_sentences/{SAE}/keywords"] == "planted"
    assert done == {"detection", "publish"}


def test_history_tells_what_each_run_took_over_and_its_labels(
    child: tuple[Run, set[str]], root: Path
) -> None:
    run = load_run(child[0].uri)
    assert [one.folder for one in lineage(run)] == ["child", "planted"]
    shown = printed(history_table(run_history(run)))
    own, parents = (shown.index(f"\n {name} ") for name in ("child", "planted"))
    assert own < shown.index("max_act", own) < parents
    latent = next(row["latent"] for row in labels(run, SAE).to_pylist() if row["chosen"])
    of_latent = printed(label_history_table(label_versions(run, SAE, latent)))
    assert "\n child " in of_latent and "\n planted " in of_latent


def test_wider_selection_repeats_no_pass_over_the_corpus(quick_config: Planted, root: Path) -> None:
    changes = {"select": {"num_latents": 9}}
    run, done = made(child_config(quick_config, root, "wider", "planted", changes))
    unchanged = {step.name for step in FLOW if step.split != "selection"}
    assert done & unchanged == {"select", "agreement", "publish"}
    assert "max_act" not in done and "explain" in done


def test_wider_selection_asks_again_only_what_is_new(
    quick_config: Planted,
    tmp_path: Path,
    counted_run: tuple[Run, list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Against a run that asked everything itself: the same tables, and no question twice."""
    script = {"llm": {"script": "counted:counted"}}
    first, asked_before = counted_run
    shutil.copytree(first.uri, tmp_path / "planted")
    wider = {"select": {"num_latents": 9}, **script}
    monkeypatch.setenv("COUNTED", str(tmp_path / "log"))
    run = label(
        child_config(quick_config, tmp_path, "wider", "planted", wider), run_local, Silent()
    )
    asked = {line["key"] for line in read_back(tmp_path / "log")}
    monkeypatch.setenv("COUNTED", str(tmp_path / "log alone"))
    alone = label(quick_config(tmp_path / "alone", wider), run_local, Silent())
    needed = {line["key"] for line in read_back(tmp_path / "log alone")}
    known = {line["key"] for line in asked_before}
    assert asked == needed - known
    assert 0 < len(asked) < len(needed) / 2
    own, whole = tables(run.uri), tables(alone.uri)
    assert {name: whole[name] for name in own} == own
    assert spent(open_store(run.uri)).num_requests == len(asked)


def test_other_llm_is_asked_everything(quick_config: Planted, root: Path) -> None:
    changes = {"llm": {"script": "counted:counted"}, "select": {"num_latents": 7}}
    run, _ = made(child_config(quick_config, root, "other_llm", "planted", changes))
    assert run.answered_by == {}
    assert spent(open_store(run.uri)).num_prompt_tokens > 0


def test_other_corpus_inherits_nothing_that_saw_it(quick_config: Planted, root: Path) -> None:
    changes = {"corpus": {"num_tokens": 10_000}}
    run, _ = made(child_config(quick_config, root, "shorter", "planted", changes))
    steps = {node.partition("/")[0] for node in run.inherits}
    assert steps <= {"neighbours", "hub_stats", "vocab_proj", "judge_check"}
    assert {"neighbours", "judge_check"} <= steps


def test_unfinished_parent_gives_what_it_has_finished(
    quick_config: Planted, root: Path, quick_run: Run
) -> None:
    """One part of a table is missing: that step and variant is made anew, whole."""
    half = root / "half"
    shutil.copytree(quick_run.uri, half)
    (half / "sae" / SAE / "labels.parquet").unlink()
    next((half / "sae" / SAE / "detections" / "keywords").glob("*.parquet")).unlink()
    run, done = made(child_config(quick_config, root, "whole", "half", {}))
    assert done == {"detection", "publish"}
    assert f"detection/{SAE}/keywords" not in run.inherits
    assert f"detection/{SAE}/ensemble_raw" in run.inherits


def test_child_whose_parent_lost_tables_is_refused(
    quick_config: Planted, root: Path, quick_run: Run
) -> None:
    shutil.copytree(quick_run.uri, root / "lost")
    config = child_config(quick_config, root, "orphan", "lost", MORE)
    label(config, run_local, Silent())
    shutil.rmtree(root / "lost" / "sae" / SAE / "top_examples")
    with pytest.raises(StoreError, match=r"uses the tables of `top_examples/.*lost.*not there"):
        label(config, run_local, Silent())


@pytest.mark.parametrize(
    ("name", "parent", "said"),
    [
        ("new", "nowhere", r"run\.parent names `nowhere`, and there is no run at .*nowhere"),
        ("new", "new", "run.parent is `new`, the run itself"),
    ],
)
def test_parent_that_is_none_is_refused_before_anything_is_written(
    quick_config: Planted, tmp_path: Path, name: str, parent: str, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        label(child_config(quick_config, tmp_path, name, parent, {}), run_local, Silent())
    assert not open_store(str(tmp_path / name)).exists("manifest.json")


def test_finished_run_is_followed_where_growth_or_selection_differs(
    quick_config: Planted, quick_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(quick_run.uri, tmp_path / "planted")
    grown = quick_config(tmp_path, MORE)
    run, done = made(grown)
    assert (run.folder, run.config.run.parent) == ("planted-2", "planted")
    assert "corpus" not in done and "write_sentences" in done
    assert made(grown) == (run, set())
    wider = quick_config(tmp_path, MORE | {"select": {"num_latents": 7}})
    run, done = made(wider)
    assert (run.folder, run.config.run.parent) == ("planted-3", "planted-2")
    assert set(run.inherits.values()) == {"planted"} and "select" in done
    assert made(quick_config(tmp_path))[0].folder == "planted"


def test_unfinished_run_is_not_followed(
    quick_config: Planted, quick_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(quick_run.uri, tmp_path / "planted")
    (tmp_path / "planted" / "sae" / SAE / "labels.parquet").unlink()
    with pytest.raises(RunMismatch, match=r"select\.num_latents = 6, and the config now says 7"):
        label(quick_config(tmp_path, {"select": {"num_latents": 7}}), run_local, Silent())
    with pytest.raises(ConfigError, match="Labels of .* are published, and `score` differs"):
        label(quick_config(tmp_path, MORE), run_local, Silent())


def test_child_works_in_the_batches_of_its_parent(
    quick_config: Planted, quick_run: Run, tmp_path: Path
) -> None:
    """They decide the last bits of what a subject computes, and memory would choose others here."""
    shutil.copytree(quick_run.uri, tmp_path / "planted")
    open_batches = {"operations": {"micro_batch": 0}}
    run, done = made(child_config(quick_config, tmp_path, "child", "planted", MORE | open_batches))
    assert run.config.operations.micro_batch == 16
    assert "corpus" not in done and "max_act" not in done


def test_refusal_to_continue_says_how_to_keep_what_does_not_differ(
    quick_config: Planted, root: Path
) -> None:
    changes = {"steering": {"new_tokens": 9}}
    with pytest.raises(RunMismatch, match=r'with `run\.parent = "planted"` to keep what'):
        label(quick_config(root, changes), run_local, Silent())
