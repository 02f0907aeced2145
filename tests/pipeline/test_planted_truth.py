"""The whole pipeline on a planted truth, on Ray, with a scripted LLM that reads prompts alone.

Latent i fires exactly on trigger A(i) and promotes exactly effect B(i): evidence must find both,
true descriptions must pass, and shuffled ones must not.
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chance import is_at_chance
from rerun import copied, rewritten

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.models.tokenizer import SubjectTokenizer
from ray_autointerp.passes.agreement_curve import agreement_curve, nearest_map
from ray_autointerp.reports import compare
from ray_autointerp.reports.run_scores import run_scores
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables

SAE = "planted"
SHIFTS = (7, 11, 17, 23, 31)


def rows(run: Run, table: str, method: str | None = None) -> list[Row]:
    return Tables(run).read(table, SAE, method).to_pylist()


def test_max_act_finds_the_trigger_of_every_latent(planted_run: Run, planted: PlantedTruth) -> None:
    for row in rows(planted_run, "top_examples"):
        if not planted.is_alive(row["latent"]):
            assert (row["status"], row["examples"]) == ("no_evidence", [])
            continue
        for example in row["examples"]:
            fired = {
                t.strip()
                for t, a in zip(example["texts"], example["activations"], strict=True)
                if a > 0
            }
            assert fired == {planted.triggers[row["latent"]]}
            assert example["texts"][example["peak"]].strip() == planted.triggers[row["latent"]]


@pytest.mark.parametrize(("table", "mode"), [("vocab_proj", None), ("token_change", "all")])
def test_output_evidence_finds_the_effect_of_every_latent(
    planted_run: Run, planted: PlantedTruth, table: str, mode: str | None
) -> None:
    found = rows(planted_run, table, mode)
    assert {row["latent"] for row in found} == set(range(len(planted.effects)))
    for row in found:
        side = "suppressed" if row.get("sign") == -1 else "promoted"
        assert row["status"] == "ok", "a latent that never fires has output evidence all the same"
        assert row[side][0]["text"].strip() == planted.effects[row["latent"]]


def test_strata_near_misses_and_following_tokens_come_from_the_right_windows(
    planted_run: Run, planted: PlantedTruth
) -> None:
    """Near misses hold the word and are silent: on the planted subject there are none such."""
    tokens = {row["window"]: row for row in Tables(planted_run).read("tokens", None).to_pylist()}
    sample = {row["window"] for row in rows(planted_run, "window_sample")}
    for row in rows(planted_run, "top_examples"):
        if not planted.is_alive(row["latent"]):
            continue
        for example in row["examples"] + row["stratified"]:
            assert tokens[example["window"]]["split"] == row["split"]
        assert row["near_misses"] == [], "the latent fires wherever its word stands"
        after = {
            e["texts"][e["peak"] + 1] for e in row["examples"] if e["peak"] + 1 < len(e["texts"])
        }
        assert {entry["text"] for entry in row["following"]} <= after
    assert sample and sample <= set(tokens)


def test_sampled_windows_hold_every_non_zero(planted_run: Run, planted: PlantedTruth) -> None:
    places = {word: latent for latent, word in enumerate(planted.triggers)}
    tokenizer = SubjectTokenizer.load(str(planted.folder / "subject"))
    seen = 0
    for row in rows(planted_run, "window_sample"):
        texts = [text.strip() for text in tokenizer.texts(row["token_ids"])]
        expected = {(places[text], i) for i, text in enumerate(texts) if text in places}
        assert set(zip(row["latents"], row["positions"], strict=True)) == expected
        assert all(value > 1 for value in row["values"])
        seen += len(expected)
    assert seen > 50


def test_overlap_of_the_sides_is_counted(planted_run: Run) -> None:
    found = {row["split"]: row for row in Tables(planted_run).read("overlap", None).to_pylist()}
    tokens = Tables(planted_run).read("tokens", None).to_pylist()
    for split, row in found.items():
        documents = {t["document_id"] for t in tokens if t["split"] == split}
        assert row["num_documents"] == len(documents)
        assert row["num_overlapping"] == 0 and row["share"] == 0


def test_cheap_evidence_and_free_scores_know_trigger_and_effect(
    planted_run: Run, planted: PlantedTruth
) -> None:
    """JacobianProj finds the effect, the encoder its word, amplifying brings the effect out."""
    for row in rows(planted_run, "jacobian_proj"):
        assert row["promoted"][0]["text"].strip() == planted.effects[row["latent"]]
        assert row["promoted"][0]["z"] > 5
    for row in rows(planted_run, "vocab_proj"):
        assert row["reads"][0]["text"].strip() == planted.triggers[row["latent"]]
    found = rows(planted_run, "free_scores")
    examples = {
        r["latent"]: r for r in rows(planted_run, "top_examples") if r["split"] == "explain"
    }
    assert len(found) == len(planted.effects)
    for row in found:
        assert row["s_out"] > 0.9 and row["s_out_best_rank"] == 0
        assert row["effect_kl"] > 0.3 and row["max_logit_diff"] > 1
        assert row["effect_kl_amplified"] > row["effect_kl"]
        explain = examples[row["latent"]]["examples"]
        assert row["num_examples"] == len(explain)
        if planted.is_alive(row["latent"]):
            assert row["single_token"].strip() == planted.triggers[row["latent"]]
            assert row["single_token_share"] == 1
        else:
            assert row["s_in"] is None and row["single_token"] is None


def test_agreement_says_which_estimates_are_near_the_exact_change(planted_run: Run) -> None:
    curve = {
        (p.estimator, p.num_windows): p
        for p in agreement_curve(Tables(planted_run), SAE)
        if p.strength == "maximum"
    }
    assert nearest_map(Tables(planted_run), SAE) == "jacobian_proj"
    jacobian, exact = curve["jacobian_proj", 24], curve["exact", 8]
    assert jacobian.relative_error < 0.1 < curve["vocab_proj", 0].relative_error
    assert exact.relative_error < jacobian.relative_error
    assert curve["exact", 8].relative_error <= curve["exact", 1].relative_error
    assert all(p.num_latents == planted_run.config.select.sample for p in curve.values())
    (as_run,) = (p for (estimator, _), p in curve.items() if estimator == "token_change")
    # The planted subject is hardly linear: where the Jacobian explains nothing, it saves nothing.
    assert as_run.num_windows > 6 and as_run.relative_error <= 1.2 * exact.relative_error


@pytest.mark.parametrize("mode", ["all", "active", "last"])
def test_every_mode_tells_standard_errors_kl_and_confidence(
    planted_run: Run, planted: PlantedTruth, mode: str
) -> None:
    for row in rows(planted_run, "token_change", mode):
        if mode == "active" and not planted.is_alive(row["latent"]):
            assert row["status"] == "no_evidence" and row["promoted"] is None
            continue
        entry = row["suppressed" if row["sign"] == -1 else "promoted"][0]
        assert entry["text"].strip() == planted.effects[row["latent"]]
        assert 0 < entry["se"] < 0.2 * abs(entry["logit"])
        assert row["kl"] > 0 and row["delta_confidence"] != 0
        assert row["num_windows"] >= 2 and row["num_positions"] >= row["num_windows"]


def test_dead_latent_has_no_max_act_description_but_an_ensemble(
    planted_run: Run, planted: PlantedTruth
) -> None:
    for method, status in (("max_act", "no_evidence"), ("ensemble_raw", "ok")):
        dead = [r for r in rows(planted_run, "descriptions", method) if r["latent"] >= 52]
        assert [row["status"] for row in dead] == [status] * 4


def test_keywords_name_trigger_and_effect_without_an_llm(
    planted_run: Run, planted: PlantedTruth
) -> None:
    for row in rows(planted_run, "descriptions", "keywords"):
        latent = row["latent"]
        assert planted.effects[latent] in row["description"]
        assert (planted.triggers[latent] in row["description"]) == planted.is_alive(latent)


def test_keywords_foretell_where_every_latent_fires_and_anothers_do_not(
    planted_run: Run, planted: PlantedTruth
) -> None:
    firings = {latent: 0 for latent in range(len(planted.triggers))}
    for window in rows(planted_run, "window_sample"):
        for latent in window["latents"] if window["split"] == "score" else ():
            firings[latent] += 1
    found = rows(planted_run, "keyword_scores")
    assert [row["latent"] for row in found] == list(firings)
    assert sum(row["status"] == "ok" for row in found) > 40
    for row in found:
        assert row["num_firings"] == firings[row["latent"]]
        if row["num_firings"] < 10:
            assert (row["status"], row["f1"], row["f1_shuffled"]) == ("too_few_firings", None, None)
            continue
        assert row["status"] == "ok" and planted.is_alive(row["latent"])
        assert row["precision"] == row["recall"] == row["f1"] == row["f1_weighted"] == 1
        assert row["window_auroc"] == 1
        assert row["f1_shuffled"] == 0 and row["shuffled_with"] != row["latent"]
    ok = [row for row in found if row["status"] == "ok"]
    assert 0.4 < share(row["window_auroc_shuffled"] for row in ok) < 0.6
    labels = rows(planted_run, "labels")
    for label, row in zip(labels, found, strict=True):
        assert (label["keyword_f1"], label["keyword_f1_shuffled"]) == (
            row["f1"],
            row["f1_shuffled"],
        )


def test_true_descriptions_pass_both_scores_of_nearly_every_latent(
    planted_run: Run, planted: PlantedTruth
) -> None:
    into, out = (
        [row for row in rows(planted_run, table, "ensemble_raw") if planted.is_alive(row["latent"])]
        for table in ("input_scores", "output_scores")
    )
    assert len(into) == len(out) == planted.num_alive
    assert share(row["auroc"] == 1 and row["paper_success"] == 1 for row in into) > 0.95
    assert share(row["win_rate"] == 1 for row in out) >= 0.95
    assert share(row["three_set_success"] == 1 for row in out) >= 0.95


def test_label_is_the_winner_of_trials_that_no_published_score_counts(planted_run: Run) -> None:
    score = planted_run.config.score
    for method in score.methods:
        for row in rows(planted_run, "input_scores", method):
            draws = sorted({found["draw"] for found in row["activations"]})
            if row["status"] == "ok":
                assert draws == list(range(score.num_draws + score.num_choosing_draws))
                assert row["num_activating"] == score.num_draws * score.num_sentences
        published, choosing = (
            {
                (row["latent"], row["text_set"])
                for row in rows(planted_run, "judgements", method)
                if row["kind"] == "two_set" and row["choosing"] == is_choosing
            }
            for is_choosing in (False, True)
        )
        assert published and choosing and not published & choosing
        for row in rows(planted_run, "output_scores", method):
            assert row["num_units"] <= score.num_units and len(row["choosing_win_rate"]) == 2
    for row, choice in zip(rows(planted_run, "labels"), rows(planted_run, "choices"), strict=True):
        assert (row["method"], row["margin"]) == (choice["method"], choice["margin"])
        expected = {one["method"]: one["expected"] for one in choice["candidates"]}
        known = {name: value for name, value in expected.items() if value is not None}
        assert known.keys() <= set(score.methods)
        assert expected[row["method"]] == max(known.values())
        tied = {name for name, value in known.items() if value == max(known.values())}
        assert row["method"] == ("keywords" if "keywords" in tied else row["method"])
        assert row["margin"] >= 0 and row["runner_up"] != row["method"]


@pytest.mark.parametrize(
    ("table", "score"), [("input_scores", "auroc"), ("output_scores", "win_rate")]
)
def test_labels_score_as_well_as_the_best_method_in_both_scores(
    planted_run: Run, planted: PlantedTruth, table: str, score: str
) -> None:
    """A label that says what fires and not what it does would lose the second."""
    alive = [row for row in rows(planted_run, "labels") if planted.is_alive(row["latent"])]
    by_method = {
        method: {row["latent"]: row[score] for row in rows(planted_run, table, method)}
        for method in planted_run.config.score.methods
    }
    of_labels = share(by_method[row["method"]][row["latent"]] for row in alive)
    best = max(share(scores[row["latent"]] or 0 for row in alive) for scores in by_method.values())
    assert of_labels >= best - 0.01


def test_label_by_order_is_the_first_ok_description(
    planted_run: Run, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("order") / "run"
    run = copied(planted_run, folder, ["publish"], describe={"label_by": "order"})
    run_local(run, Silent())
    by_method = {
        method: {row["latent"]: row for row in rows(run, "descriptions", method)}
        for method in run.config.describe.methods
    }
    for row in rows(run, "labels"):
        ok = [m for m, made in by_method.items() if made[row["latent"]]["status"] == "ok"]
        assert row["method"] == ok[0]
        assert row["label"] == by_method[ok[0]][row["latent"]]["description"]
        assert row["margin"] is None


def test_comparison_sets_true_descriptions_above_shuffled_ones(planted_run: Run) -> None:
    """What says what fires, and what it does; no scorer gives shuffled descriptions more."""
    scores = run_scores(planted_run, SAE)
    found = {(line.measure.name, line.method): line for line in compare.lines(scores)}
    for name in ("input_auroc", "output_win_rate", "detection_auroc", "fuzzing_auroc"):
        line = found[name, "ensemble_raw"]
        assert line.mean.mean is not None and line.floor.mean is not None
        assert line.mean.mean > 0.95 and 0.4 < line.floor.mean < 0.6
        assert line.lift.mean.interval is not None and line.lift.p is not None
        assert line.lift.mean.interval.low > 0.35 and line.lift.p < 0.001
    lift = found["input_auroc", "token_change"].lift.mean.mean
    assert lift is not None and abs(lift) < 0.05, "it does not say what fires"
    tests = {m.name: test for m, name, test in compare.chance_tests(scores) if name == compare.ALL}
    assert tests["output_win_rate"].verdict == "at chance"
    assert tests["unseen_win_rate"].verdict != "off chance"
    assert compare.off_chance_sentence(planted_run) is None


@pytest.fixture(scope="module")
def shuffled_runs(planted_run: Run, tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    """The planted run with every description given to another latent, scored anew."""
    root = tmp_path_factory.mktemp("shuffled")
    return [shuffled(planted_run, root / f"by-{shift}", shift) for shift in SHIFTS]


_SCORES = (
    *("write_sentences", "detection", "fuzzing"),
    *("input_score", "output_score", "unseen_tokens"),
)


def shuffled(run: Run, folder: Path, shift: int) -> Run:
    methods = run.config.score.methods
    score = {"three_set_methods": methods, "num_draws": 1, "num_unseen_trials": 0}
    copy = copied(run, folder, (*_SCORES, "publish"), score=score, select={"controls": 0})
    for method in methods:
        given = {row["latent"]: row for row in rows(run, "descriptions", method)}

        def moved(row: Row, given: dict[int, Row] = given) -> Row:
            return {**given[(row["latent"] + shift) % len(given)], "latent": row["latent"]}

        rewritten(copy, f"descriptions/{method}", moved)
    run_local(copy, Silent())
    return copy


def judged(runs: list[Run], kind: str) -> Iterator[Row]:
    for run in runs:
        for method in run.config.score.methods:
            for row in rows(run, "judgements", method):
                if row["kind"] == kind and row["status"] == "ok":
                    yield row


def test_shuffled_descriptions_are_at_chance_in_two_sets(shuffled_runs: list[Run]) -> None:
    wins = [row["win"] for row in judged(shuffled_runs, "two_set")]
    assert len(wins) > 1000
    assert is_at_chance(share(wins), len(wins), 1 / 2)


def test_shuffled_descriptions_are_at_chance_in_three_sets(shuffled_runs: list[Run]) -> None:
    right = [row["right"] for row in judged(shuffled_runs, "three_set")]
    assert len(right) > 1000
    assert is_at_chance(share(right), len(right), 1 / 3)


def test_shuffled_descriptions_score_far_below_true_ones_on_inputs(
    planted_run: Run, shuffled_runs: list[Run], planted: PlantedTruth
) -> None:
    def mean_auroc(run: Run) -> float:
        scores = rows(run, "input_scores", "ensemble_raw")
        return share(r["auroc"] for r in scores if planted.is_alive(r["latent"]))

    assert mean_auroc(planted_run) > 0.95
    assert all(mean_auroc(run) < 0.6 for run in shuffled_runs)


def test_controls_are_descriptions_of_others_and_score_at_the_floor(planted_run: Run) -> None:
    selection = rows(planted_run, "selection")
    controls = {row["latent"] for row in selection if row["control"]}
    panel = {row["latent"] for row in selection if row["panel"]}
    assert len(controls) == planted_run.config.select.controls
    wins = []
    for method in planted_run.config.score.methods:
        true = {row["latent"]: row for row in rows(planted_run, "descriptions", method)}
        given = rows(planted_run, "descriptions", f"{method}.shuffled")
        assert {row["latent"] for row in given} == controls
        for row in given:
            assert row["source"] in panel - {row["latent"]}
            assert row["description"] == true[row["source"]]["description"]
        judged = rows(planted_run, "judgements", f"{method}.shuffled")
        wins += [t["win"] for t in judged if t["kind"] == "two_set" and t["status"] == "ok"]
    assert len(wins) > 1000
    assert is_at_chance(share(wins), len(wins), 1 / 2)
    floor = [row["auroc"] for row in rows(planted_run, "input_scores", "ensemble_raw.shuffled")]
    assert share(floor) < 0.6


KNOWS_THE_WORD = ("ensemble_raw", "max_act")


def mean_of(run: Run, planted: PlantedTruth, step: str, score: str, method: str) -> float:
    scores = [r for r in rows(run, f"{step}_scores", method) if planted.is_alive(r["latent"])]
    scored = [row[score] for row in scores if row["status"] == "ok"]
    assert len(scored) >= planted.num_alive - 4, "four at most were given a dead latent's nothing"
    return share(scored)


@pytest.mark.parametrize("step", ["detection", "fuzzing"])
def test_true_descriptions_tell_held_out_texts_apart_and_shuffled_ones_do_not(
    planted_run: Run, shuffled_runs: list[Run], planted: PlantedTruth, step: str
) -> None:
    for score in ("auroc", "balanced_accuracy", "average_precision", "f1"):
        for method in KNOWS_THE_WORD:
            assert mean_of(planted_run, planted, step, score, method) > 0.97
    for score in ("auroc", "balanced_accuracy"):
        floors = [
            mean_of(run, planted, step, score, method)
            for run in shuffled_runs
            for method in KNOWS_THE_WORD
        ]
        assert share(floors) == pytest.approx(0.5, abs=0.03)
    # What only names the effect says nothing of where the latent is active.
    assert mean_of(planted_run, planted, step, "auroc", "token_change") == pytest.approx(
        0.5, abs=0.08
    )


def test_dead_latents_have_no_text_to_ask_about(planted_run: Run, planted: PlantedTruth) -> None:
    for step in ("detection", "fuzzing"):
        assert all(
            planted.is_alive(row["latent"]) for row in rows(planted_run, f"{step}s", "keywords")
        )
        dead = [
            row
            for row in rows(planted_run, f"{step}_scores", "keywords")
            if not planted.is_alive(row["latent"])
        ]
        assert len(dead) == 4
        for row in dead:
            assert (row["status"], row["auroc"], row["num_active"]) == ("no_evidence", None, 0)


@pytest.mark.parametrize(
    ("judge", "tolerance"),
    [
        ("always_yes", 0.0),
        ("by_length", 0.0),
        ("by_marks", 0.0),
        # 52 latents with five texts of either kind: a standard error of 0.027.
        ("by_place", 0.08),
        ("by_number_of_texts", 0.08),
    ],
)
def test_judge_that_reads_no_description_is_at_the_floor(
    planted_run: Run, planted: PlantedTruth, tmp_path: Path, judge: str, tolerance: float
) -> None:
    folder = tmp_path / judge
    shutil.copytree(planted_run.uri, folder)
    shutil.rmtree(folder / "answers")
    for name in ("detections", "detection_scores", "fuzzings", "fuzzing_scores"):
        shutil.rmtree(folder / "sae" / SAE / name / "max_act")
    llm = planted_run.config.llm.model_copy(update={"script": f"blind_judges:{judge}"})
    config = planted_run.config.model_copy(update={"llm": llm})
    run = replace(planted_run, uri=str(folder), config=config)
    run_local(run, Silent())
    for step in ("detection", "fuzzing"):
        assert mean_of(run, planted, step, "auroc", "max_act") == pytest.approx(
            0.5, abs=tolerance + 1e-9
        )


def test_texts_of_a_trial_are_treated_equally(planted_run: Run) -> None:
    """A partner steered half as far could be told apart by its fluency alone."""
    reached = [row for row in rows(planted_run, "completions") if row["status"] == "ok"]
    assert {round(row["kl_target"], 6) for row in reached} == {0.25, 0.5, 1.0}
    assert all(abs(row["kl_reached"] / row["kl_target"] - 1) < 0.0501 for row in reached)
    for method in planted_run.config.score.methods:
        statuses = {row["status"] for row in rows(planted_run, "judgements", method)}
        assert "unequal_treatment" not in statuses


def share(values: object) -> float:
    listed = [float(value) for value in values]  # type: ignore[attr-defined]
    return sum(listed) / len(listed)
