"""What explainers are shown is what the config says, and a latent's evidence is its own affair."""

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import pytest

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.sae import Sae
from ray_autointerp.models.subject import Subject
from ray_autointerp.pipeline import label
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables

Planted = Callable[..., Config]


@pytest.fixture(scope="module")
def witnessed(quick_config: Planted, tmp_path_factory: pytest.TempPathFactory) -> Run:
    changes = {
        "llm": {"script": "witness:counting"},
        "describe": {"num_examples": 3, "num_tokens_shown": 4, "methods": METHODS},
    }
    return label(quick_config(tmp_path_factory.mktemp("seen"), changes), run_local, Silent())


METHODS = ["max_act", "vocab_proj", "token_change", "ensemble_raw", "keywords"]


@pytest.mark.parametrize(
    ("method", "num_texts", "table"),
    [
        ("max_act", 3, None),
        ("vocab_proj", 0, "vocab_proj"),
        ("token_change", 0, "token_change"),
        ("ensemble_raw", 3, "vocab_proj"),
    ],
)
def test_prompts_show_as_many_examples_and_tokens_as_the_config_says(
    witnessed: Run, method: str, num_texts: int, table: str | None
) -> None:
    """Of tokens, those that move at all, strongest first; the planted unembedding moves few."""
    tables = Tables(witnessed)
    num_moved = {}
    if table is not None:
        kind = "all" if table == "token_change" else None
        for row in tables.read(table, "planted", kind).to_pylist():
            if row.get("sign", 1) == 1:
                moved = [entry for entry in row["promoted"] or () if entry["logit"] != 0]
                num_moved[row["latent"]] = min(len(moved), 4)
    rows = tables.read("descriptions", "planted", method).to_pylist()
    fired = [row for row in rows if row["status"] == "ok"]
    assert fired
    assert {row["latent"]: row["description"] for row in fired} == {
        row["latent"]: f"saw {num_texts} texts and {num_moved.get(row['latent'], 0)} tokens"
        for row in fired
    }


def test_evidence_of_a_latent_does_not_depend_on_which_others_are_labelled(
    quick_run: Run, quick_config: Planted, tmp_path: Path
) -> None:
    """One fixed set of windows and examples, whatever the range."""
    config = quick_config(tmp_path, {"select": {"rule": "all", "panel": 4, "sample": 3}})
    config = config.model_copy(
        update={"sae": [s.model_copy(update={"latents": "0:12"}) for s in config.sae]}
    )
    run = label(config, run_local, Silent())
    both = 0
    for table, mode in (("top_examples", None), ("vocab_proj", None), ("token_change", "all")):
        whole, part = (
            {row["latent"]: row for row in Tables(made).read(table, "planted", mode).to_pylist()}
            for made in (quick_run, run)
        )
        for latent in whole.keys() & part.keys():
            both += 1
            for column in ("promoted", "examples"):
                if part[latent].get(column):
                    texts = [entry.get("text") or entry["texts"] for entry in part[latent][column]]
                    assert texts == [
                        entry.get("text") or entry["texts"] for entry in whole[latent][column]
                    ]
    assert both > 24


def test_token_change_clamps_to_the_largest_activation_of_either_sign(quick_run: Run) -> None:
    tables = Tables(quick_run)
    stats = {r["latent"]: r for r in tables.read("latent_stats", "planted").to_pylist()}
    rows = tables.read("token_change", "planted", "all").to_pylist()
    size = quick_run.config.evidence.change_clamp_size
    for row in rows:
        largest = stats[row["latent"]]["max_activation"]
        if largest is not None:
            assert row["clamp_value"] == pytest.approx(row["sign"] * size * largest)
    assert {row["sign"] for row in rows} == {1, -1}


def test_models_are_loaded_once_for_all_tasks_of_a_worker(
    quick_config: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[str] = []
    for cls in (Subject, Sae):
        load = cls.load

        def counted(*args: object, _load: object = load, _n: str = cls.__name__, **kw: object):  # type: ignore[no-untyped-def]
            loads.append(_n)
            return _load(*args, **kw)  # type: ignore[operator]

        monkeypatch.setattr(cls, "load", counted)
    label(quick_config(tmp_path), run_local, Silent())
    checks = 1  # what fits is looked at before anything is written
    assert loads.count("Subject") == 1
    assert loads.count("Sae") <= 1 + checks


def test_each_set_of_a_judgement_is_the_texts_of_one_latent(
    quick_config: Planted, tmp_path: Path
) -> None:
    config = quick_config(tmp_path, {"llm": {"script": "witness:reading"}})
    tables = Tables(label(config, run_local, Silent()))
    texts: dict[int, set[str]] = {}
    for row in tables.read("completions", "planted").to_pylist():
        if row["status"] == "ok":
            texts.setdefault(row["latent"], set()).add(" ".join(row["text"].split()))
    trials = tables.read("judgements", "planted", "ensemble_raw").to_pylist()
    judged = [row for row in trials if row["status"] == "ok"]
    assert {row["kind"] for row in judged} == {"two_set", "three_set"}
    for row in judged:
        pair = [row["latent"], row["partner"]]
        shown = pair if row["kind"] == "two_set" else [*pair, row["stranger"]]
        for asked in row["answers"]:
            sets = [
                {line.removeprefix("- ").strip() for line in block.splitlines()[1:]}
                for block in asked.split("\n\n")
                if block.startswith("Set ")
            ]
            assert len(sets) == len(shown)
            assert any(
                all(lines <= texts[latent] for lines, latent in zip(sets, order, strict=True))
                for order in permutations(shown)
            )
