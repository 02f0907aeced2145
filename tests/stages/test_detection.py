"""Which texts detection and fuzzing show, and what becomes of latents with few of them."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.pipeline import label
from ray_autointerp.plan.flow import step_named
from ray_autointerp.records.split_characters import CONTINUED as MARK
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.stages import fuzzing
from ray_autointerp.storage.parquet import read_table, write_table

Planted = Callable[..., Config]
STEPS = ("detection", "fuzzing")


def rows(run: Run, table: str, method: str | None = "keywords") -> list[Row]:
    return Tables(run).read(table, "planted", method).to_pylist()


def without_labels(run: Run, folder: Path, *steps: str) -> Path:
    """A copy of the run from which these steps' tables and the labels are missing."""
    shutil.copytree(run.uri, folder)
    for name in (table for step in (*steps, "publish") for table in step_named(step).writes):
        shutil.rmtree(folder / "sae" / "planted" / name)
    (folder / "sae" / "planted" / "labels.parquet").unlink()
    return folder


def again(run: Run, folder: Path, **changes: dict[str, Any]) -> Run:
    """What is missing in a copy, made with another config."""
    raw = run.config.model_dump()
    config = Config.model_validate(raw | {name: raw[name] | new for name, new in changes.items()})
    made = replace(run, uri=str(folder), config=config)
    run_local(made, Silent())
    return made


def test_texts_are_held_out_and_of_the_right_kind(quick_run: Run, planted: PlantedTruth) -> None:
    tokens = Tables(quick_run).read("tokens", None).to_pylist()
    split = {row["window"]: row["split"] for row in tokens}
    fires = {row["window"]: set(row["latents"]) for row in rows(quick_run, "window_sample", None)}
    top = {
        (row["latent"], e["window"]): e["activation"]
        for row in rows(quick_run, "top_examples", None)
        for e in row["examples"] + row["stratified"]
    }
    for row in rows(quick_run, "detections") + rows(quick_run, "fuzzings"):
        assert split[row["window"]] == "score"
        if row["kind"] == "active":
            assert row["strength"] == top[row["latent"], row["window"]] > 0
        elif row["kind"] == "random":
            assert row["latent"] not in fires[row["window"]]
            assert row["strength"] == 0
        else:
            assert (row["kind"], row["strength"]) == ("inactive", 0)
            assert (row["latent"], row["window"]) in top, "the text is an active one"


def test_every_text_is_in_one_place_and_both_kinds_are_as_many(quick_run: Run) -> None:
    for table, contrast in (("detections", "random"), ("fuzzings", "inactive")):
        found = rows(quick_run, table)
        for latent in {row["latent"] for row in found}:
            own = [row for row in found if row["latent"] == latent]
            assert [row["number"] for row in own] == list(range(10))
            kinds = [row["kind"] for row in own]
            assert kinds.count("active") == kinds.count(contrast) == 5
            assert len({(row["kind"], row["window"]) for row in own}) == 10


def test_methods_meet_the_same_texts_in_the_same_order(quick_run: Run) -> None:
    shown = ("latent", "number", "kind", "window", "strength")
    for table in ("detections", "fuzzings"):
        one, other = (
            [[row[name] for name in shown] for row in rows(quick_run, table, method)]
            for method in ("keywords", "ensemble_raw")
        )
        assert one == other


@pytest.fixture(scope="module")
def heard(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Every prompt with texts, in the order of asking."""
    folder = tmp_path_factory.mktemp("heard")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEARD", str(folder / "log"))
        copy = without_labels(quick_run, folder / "run", *STEPS)
        shutil.rmtree(copy / "answers")
        again(quick_run, copy, llm={"script": "blind_judges:listening"})
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


def test_texts_are_plain_and_all_equally_long(heard: list[str]) -> None:
    for size, is_marked in ((16, False), (8, True)):
        prompts = [prompt for prompt in heard if ("<<" in prompt) == is_marked]
        assert prompts
        for prompt in prompts:
            lines = prompt.split("\n\n")[0].splitlines()
            assert len(lines) in (4, 2), "ten texts, four to a prompt"
            assert all(is_marked == ("<<" in line) for line in lines)
            if not is_marked:
                assert {len(line.split()) for line in lines} == {size + len(["Text", "1:"])}


def test_prompts_of_one_list_of_texts_differ_in_their_question_alone(heard: list[str]) -> None:
    asked: dict[str, list[int]] = {}
    for prompt in heard:
        begun, question = prompt.rsplit("\n\n", 1)
        found = re.search(r"text (\d)", question)
        assert found is not None
        asked.setdefault(begun, []).append(int(found[1]))
    for begun, numbers in asked.items():
        assert numbers == list(range(1, 1 + len(begun.split("\n\n")[0].splitlines())))


def test_few_firings_are_used_as_they_are_and_too_few_are_no_evidence(
    quick_config: Planted, tmp_path: Path
) -> None:
    few = {"num_top_examples": 4, "num_stratified": 0}
    run = label(quick_config(tmp_path / "4", {"evidence": few}), run_local, Silent())
    for step in STEPS:
        for row in rows(run, f"{step}_scores"):
            assert (row["status"], row["num_active"]) == ("ok", 4)
    run = label(
        quick_config(tmp_path / "2", {"evidence": few | {"num_top_examples": 2}}),
        run_local,
        Silent(),
    )
    for step in STEPS:
        for row in rows(run, f"{step}_scores"):
            assert (row["status"], row["auroc"]) == ("no_evidence", None)
        for row in rows(run, f"{step}s"):
            assert (row["status"], row["log_odds"]) == ("no_evidence", None), "nothing is asked"


def test_scores_do_not_depend_on_how_the_selection_is_cut(
    quick_run: Run, quick_config: Planted, tmp_path: Path
) -> None:
    whole = quick_config(tmp_path, {"operations": {"selected_per_shard": 50}})
    run = label(whole, run_local, Silent())
    for table in ("detections", "detection_scores", "fuzzings", "fuzzing_scores"):
        sorted_rows = (
            sorted(rows(made, table), key=lambda row: (row["latent"], row.get("number")))
            for made in (run, quick_run)
        )
        assert next(sorted_rows) == next(sorted_rows)


def test_near_misses_are_a_kind_of_their_own(quick_run: Run, tmp_path: Path) -> None:
    """Given texts that hold the latent's word as near misses, the judge is taken in by them."""
    copy = without_labels(quick_run, tmp_path / "run", "detection")
    tables = Tables(replace(quick_run, uri=str(copy)))
    for name in tables.store.list("sae/planted/top_examples/"):
        part = read_table(tables.store, name)
        given = part.to_pylist()
        for score, explain in zip(given[1::2], given[::2], strict=True):
            score["near_misses"] = explain["examples"][:4]
        (copy / name).unlink()
        new = type(part).from_pylist(given, schema=part.schema)
        write_table(tables.store, name, new, part.schema, {}, key=("latent", "split"))
    run = again(quick_run, copy, score={"detection_near_misses": 3})
    alone = {row["latent"]: row for row in rows(quick_run, "detection_scores", "ensemble_raw")}
    for row in rows(run, "detection_scores", "ensemble_raw"):
        assert row["num_near_miss"] == 3
        assert row["auroc"] == 1 == alone[row["latent"]]["auroc"]
        assert row["near_miss_auroc"] < 0.9
        assert alone[row["latent"]]["near_miss_auroc"] is None
    kinds = [row["kind"] for row in rows(run, "detections", "ensemble_raw")]
    assert kinds.count("near_miss") == 3 * len(alone)


def test_steps_that_are_off_write_nothing_and_their_columns_are_null(
    quick_run: Run, tmp_path: Path
) -> None:
    copy = without_labels(quick_run, tmp_path / "run", *STEPS)
    run = again(quick_run, copy, score={"detection_texts": 0, "fuzzing_texts": 0})
    made = "|".join(Tables(run).store.list("sae/"))
    assert "output_scores" in made and "detection" not in made and "fuzzing" not in made
    columns = [n for n in rows(run, "labels", None)[0] if n.startswith(STEPS)]
    assert len(columns) == 8
    assert all(row[name] is None for row in rows(run, "labels", None) for name in columns)


@pytest.mark.parametrize("step", STEPS)
def test_a_label_has_the_auroc_of_its_own_method(quick_run: Run, step: str) -> None:
    chosen = [row for row in rows(quick_run, "labels", None) if row["chosen"]]
    for label_row in chosen:
        scores = rows(quick_run, f"{step}_scores", label_row["method"])
        (score,) = (row for row in scores if row["latent"] == label_row["latent"])
        assert label_row[f"{step}_auroc"] == score["auroc"]
    named = rows(quick_run, f"{step}_scores", "ensemble_raw")
    assert len(named) == len(chosen) and all(row["auroc"] == 1 for row in named)


def test_fuzzing_marks_all_of_a_character_and_never_another_piece_of_an_active_one() -> None:
    """The latent fires on the first piece of a character; the others are marked with it."""
    texts = [*" a b c d e f".split(), "\u4e2d", MARK, MARK, *" g h i j k l".split()]
    texts = [text if text == MARK else f" {text}" for text in texts]
    example = {
        "window": 3,
        "activation": 2.0,
        "texts": texts,
        "activations": [*[0.0] * 6, 2.0, *[0.0] * 8],
        "peak": 6,
    }
    config = SimpleNamespace(
        evidence=SimpleNamespace(excerpt_tokens=16),
        score=SimpleNamespace(fuzzing_texts=1),
        run=SimpleNamespace(seed=0),
    )
    context: Any = SimpleNamespace(run=SimpleNamespace(config=config))
    for latent in range(40):
        made = list(fuzzing._texts(latent, {"stratified": [example], "examples": []}, context))
        assert [one.kind for one in made] == ["active", "inactive"]
        assert ["<<\u4e2d>>" in one.text for one in made] == [True, False]
        assert all(one.text.count("\u4e2d") == 1 for one in made)
