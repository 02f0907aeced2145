"""Every kind of latent gets the verdict that a person would give it, through the whole flow.

The LLM is scripted and reads prompts alone. Of each latent it is known where it fires and what it
promotes (tests/scripts/kinds_of_latents.py): scores must praise what is there, tell it from another
latent's description, and blame no description for what its latent does not do.
"""

import pytest
from kinds_of_latents import Planted, write_kinds

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.pipeline import label
from ray_autointerp.plan.controls import shuffled
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

METHODS = ("ensemble_raw", "keywords")
INPUT_ONLY = ("input_only_tiny", "input_only_unread")
SCORES = {
    "input_scores": "auroc",
    "detection_scores": "auroc",
    "fuzzing_scores": "auroc",
    "output_scores": "win_rate",
    "unseen_scores": "win_rate",
}
Of = dict[str, dict[int, Row]]
"""Rows by table, and by latent."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Planted]]:
    """One KL target, so low that what the subject does not read reaches it, at 20 x its maximum."""
    root = tmp_path_factory.mktemp("kinds")
    truth, latents = write_kinds(root / "planted")
    raw = read_config(truth.config).model_dump(mode="json")
    raw["run"]["root"] = str(root)
    raw["select"] |= {"rule": "all", "panel": 40, "sample": 3, "controls": 40}
    raw["evidence"] |= {"change_modes": ["all"]}
    raw["describe"]["methods"] = METHODS
    raw["score"] |= {"methods": METHODS, "num_units": 8, "num_draws": 1, "three_set_methods": []}
    raw["score"] |= {"num_unseen_trials": 8, "detection_texts": 8, "fuzzing_texts": 8}
    raw["steering"] |= {"num_prompts": 8, "new_tokens": 10, "kl_targets": [0.2]}
    raw["operations"] |= {"latents_per_shard": 40, "selected_per_shard": 40}
    return label(parse_config(raw, truth.config), run_local, Silent()), latents


@pytest.fixture(scope="module")
def latents(made: tuple[Run, list[Planted]]) -> list[Planted]:
    return made[1]


@pytest.fixture(scope="module")
def tables(made: tuple[Run, list[Planted]]) -> Tables:
    return Tables(made[0])


def rows(tables: Tables, table: str, method: str | None = None) -> dict[int, Row]:
    return {row["latent"]: row for row in tables.read(table, "planted", method).to_pylist()}


def of_kind(latents: list[Planted], *kinds: str) -> list[int]:
    found = [i for i, latent in enumerate(latents) if latent.kind in kinds]
    assert found
    return found


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("table", SCORES)
def test_every_score_tells_a_true_description_from_a_shuffled_one(
    tables: Tables, latents: list[Planted], table: str, method: str
) -> None:
    """The scripted explainer names one of two triggers: half a truth that need not score as one."""
    true, false = rows(tables, table, method), rows(tables, table, shuffled(method))
    for latent in of_kind(latents, "ordinary", "polysemantic"):
        score, floor = (of[latent][SCORES[table]] for of in (true, false))
        assert score > floor, (latent, score, floor)
        is_whole = latents[latent].kind == "ordinary" or method == "keywords"
        assert score >= 0.85 or not is_whole, (latent, score)


def test_description_that_names_one_of_two_triggers_scores_between_both_and_none(
    tables: Tables, latents: list[Planted]
) -> None:
    for table in ("detection_scores", "fuzzing_scores"):
        half, both = (rows(tables, table, method) for method in METHODS)
        for latent in of_kind(latents, "polysemantic"):
            assert 0.55 < half[latent]["auroc"] < 1 == both[latent]["auroc"]


def test_keywords_quote_what_a_latent_fires_on_and_nothing_else(
    tables: Tables, latents: list[Planted]
) -> None:
    quoted = rows(tables, "keyword_lists", "keywords")
    scored = rows(tables, "keyword_scores")
    for latent, truth in enumerate(latents):
        if truth.kind != "dense":
            assert sorted(quoted[latent]["fired"]) == sorted(truth.triggers)
        if truth.effect is not None:
            families = {word.rstrip("0123456789") for word in quoted[latent]["promoted"]}
            assert families == {truth.effect}
        if truth.triggers:
            assert scored[latent]["f1"] == 1 and scored[latent]["f1_shuffled"] == 0


def test_what_no_clamp_moves_is_not_blamed_on_its_description(
    tables: Tables, latents: list[Planted]
) -> None:
    ceilings = rows(tables, "output_ceilings")
    why = {"input_only_tiny": "kl_unreached", "input_only_unread": "no_effect_in_text"}
    for latent in of_kind(latents, *INPUT_ONLY):
        status = why[latents[latent].kind]
        assert ceilings[latent]["status"] == status
        for method in (*METHODS, *map(shuffled, METHODS)):
            found = rows(tables, "output_scores", method)[latent]
            assert (found["status"], found["win_rate"]) == (status, None)
            unseen = rows(tables, "unseen_scores", method)[latent]
            if status == "kl_unreached":
                assert (unseen["status"], unseen["win_rate"]) == (status, None)
        for table in ("input_scores", "detection_scores", "fuzzing_scores"):
            for method in METHODS:
                assert rows(tables, table, method)[latent]["auroc"] == 1
                assert rows(tables, table, shuffled(method))[latent]["auroc"] < 0.85


def test_description_of_what_no_clamp_moves_is_no_control_for_others(
    tables: Tables, latents: list[Planted]
) -> None:
    """What it says of outputs is noise, which may fit any text."""
    unmoved = set(of_kind(latents, "input_only_tiny", "dead"))
    for table in ("judgements", "unseen_judgements"):
        for method in (*METHODS, *map(shuffled, METHODS)):
            trials = tables.read(table, "planted", method).to_pylist()
            met = {t[role] for t in trials for role in ("partner", "stranger")}
            assert len(met) > 5 and not met & unmoved


def test_latent_that_never_fires_is_judged_by_what_it_promotes(
    tables: Tables, latents: list[Planted]
) -> None:
    for latent in of_kind(latents, "output_only"):
        assert rows(tables, "top_examples")[latent]["status"] == "no_evidence"
        for method in METHODS:
            said = rows(tables, "descriptions", method)[latent]["description"]
            assert latents[latent].effect in said and "fires on" not in said
            for table in ("detection_scores", "fuzzing_scores"):
                found = rows(tables, table, method)[latent]
                assert (found["status"], found["auroc"]) == ("no_evidence", None)
            for table in ("output_scores", "unseen_scores"):
                assert rows(tables, table, method)[latent]["win_rate"] >= 0.85


def test_dead_latent_that_writes_nothing_has_no_description(
    tables: Tables, latents: list[Planted]
) -> None:
    """Lists of tokens that do not move at all would name the first tokens of the vocabulary."""
    labels = rows(tables, "labels")
    for latent in of_kind(latents, "dead"):
        for method in METHODS:
            for table in ("descriptions", *SCORES):
                assert rows(tables, table, method)[latent]["status"] == "no_evidence"
        assert (labels[latent]["status"], labels[latent]["label"]) == ("no_evidence", None)


def test_few_words_do_not_tell_where_a_dense_latent_fires(
    tables: Tables, latents: list[Planted]
) -> None:
    scored, stats = rows(tables, "keyword_scores"), rows(tables, "latent_stats")
    for latent in of_kind(latents, "dense"):
        assert stats[latent]["density"] > 0.1
        assert scored[latent]["f1"] < 0.6 and scored[latent]["recall"] < 0.5
    most, less = of_kind(latents, "dense")
    for method in METHODS:
        found = rows(tables, "detection_scores", method)
        assert found[most]["status"] == "no_evidence", "hardly a text in which it is silent"
        assert found[less]["status"] == "ok" and found[less]["auroc"] < 0.9
