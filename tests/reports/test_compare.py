"""The comparison of runs against figures computed anew from what was written into their tables.

After a wanted change: `UPDATE_GOLDEN=1 pytest tests/reports/test_compare.py`, then read the diff.
"""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from rich.console import Console
from scipy.stats import spearmanr
from tiny_tables import (
    DEAD,
    HOOKS,
    LINT,
    METHODS,
    NUM_CONTROLS,
    NUM_LATENTS,
    NUM_TRIALS,
    NUM_UNITS,
    Tiny,
    tiny_run,
)

from ray_autointerp.errors import UserError
from ray_autointerp.methods.chance import ChanceTest, chance_test
from ray_autointerp.plan.controls import CONTROL_TARGETS, CONTROL_TEXTS
from ray_autointerp.reports import compare
from ray_autointerp.reports.compare_table import comparison
from ray_autointerp.reports.published_results import published_results
from ray_autointerp.reports.run_scores import (
    KEYWORD_F1,
    LABEL,
    MAIN,
    MEASURES,
    Measure,
    RunScores,
    run_scores,
)
from ray_autointerp.runs.run import Run

GOLDEN = Path(__file__).parent / "golden" / "compare_100.txt"
BY_NAME = {measure.name: measure for measure in (*MEASURES, KEYWORD_F1)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_run(tmp_path_factory.mktemp("tiny"), "first", 1)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return tiny_run(tmp_path_factory.mktemp("other"), "second", 50, leak=0.25)


def all_scores(made: Tiny) -> list[RunScores]:
    return [run_scores(made.run, sae) for sae in HOOKS]


def put_in(made: Tiny, sae: str, method: str, measure: Measure) -> dict[int, float]:
    """What was written; of the label, what was written for each latent's own method."""
    base, _, control = method.partition(".")
    if base != LABEL:
        return made.values.get((sae, method, measure.table, measure.column), {})
    found = {}
    for n in range(NUM_LATENTS):
        variant = ".".join(filter(None, (made.chosen_method[sae, n], control)))
        values = made.values.get((sae, variant, measure.table, measure.column), {})
        found |= {n: values[n]} if n in values else {}
    return found


def close(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, abs=1e-6)


def mean(values: Any) -> float | None:
    listed = list(values)
    return fmean(listed) if listed else None


@pytest.mark.parametrize("sae", HOOKS)
def test_means_floors_and_paired_lifts_are_those_of_the_tables(tiny: Tiny, sae: str) -> None:
    made = [line for line in compare.lines(run_scores(tiny.run, sae)) if line.measure != KEYWORD_F1]
    wanted = {
        (method, measure.name)
        for method in (*METHODS, LABEL)
        for measure in MEASURES
        if put_in(tiny, sae, method, measure)
    }
    assert {(line.method, line.measure.name) for line in made} == wanted
    assert len(made) == len(wanted) > 30
    for line in made:
        own = put_in(tiny, sae, line.method, line.measure)
        floor = put_in(tiny, sae, f"{line.method}.shuffled", line.measure)
        both = own.keys() & floor.keys()
        assert both <= set(range(NUM_CONTROLS))
        assert (line.mean.num_latents, line.mean.mean) == (len(own), close(mean(own.values())))
        assert (line.floor.num_latents, line.floor.mean) == (
            len(floor),
            close(mean(floor.values())),
        )
        lift = line.lift
        assert lift.mean.mean == close(mean(own[n] - floor[n] for n in both))
        assert (lift.wins, lift.losses) == (
            sum(own[n] > floor[n] + 1e-6 for n in both),
            sum(own[n] < floor[n] - 1e-6 for n in both),
        )
        for one in (line.mean, lift.mean):
            if one.num_latents > 1:
                assert one.interval is not None and one.mean is not None
                assert one.interval.low <= one.mean <= one.interval.high


def test_keyword_f1_has_its_floor_from_its_own_table(tiny: Tiny) -> None:
    (line,) = (
        line
        for line in compare.lines(run_scores(tiny.run, "low"))
        if line.measure.name == "keyword_f1"
    )
    own, floor = (tiny.values["low", "", "keyword_scores", name] for name in ("f1", "f1_shuffled"))
    assert (line.method, line.mean.num_latents) == ("keywords", NUM_LATENTS)
    assert line.lift.mean.mean == close(mean(own[n] - floor[n] for n in own))


def test_papers_shares_of_success_by_denominator(tiny: Tiny) -> None:
    for name in ("input_paper_success", "output_three_set"):
        scores, measure = run_scores(tiny.run, "low"), BY_NAME[name]
        written = put_in(tiny, "low", "max_act", measure)
        assert not set(LINT) & written.keys()
        made = compare.success(scores, "max_act", measure)
        total = sum(written.values())
        assert made.scored == close(100 * total / (NUM_LATENTS - len(LINT)))
        assert made.with_failures == close(100 * total / NUM_LATENTS)
        alive = [value for n, value in written.items() if n not in DEAD]
        assert made.alive == close(100 * fmean(alive))
    nothing = compare.success(scores, "keywords", BY_NAME["output_three_set"])
    assert (nothing.scored, nothing.alive) == (None, None)


def test_leaking_scorer_alone_is_off_chance(tiny: Tiny, other: Tiny) -> None:
    for made, verdict in ((tiny, "too few trials to tell"), (other, "off chance")):
        found = {
            (measure.name, method): test
            for measure, method, test in compare.chance_tests(run_scores(made.run, "low"))
        }
        assert found.keys() == {
            (name, method)
            for name in ("output_win_rate", "unseen_win_rate")
            for method in (compare.ALL, *METHODS)
        }
        whole = found["output_win_rate", compare.ALL]
        rates = [
            put_in(made, "low", f"{method}.shuffled", BY_NAME["output_win_rate"])
            for method in METHODS
        ]
        assert whole.rate == close(mean(r[n] for r in rates for n in range(NUM_CONTROLS)))
        assert whole.num_trials == len(METHODS) * NUM_CONTROLS * NUM_UNITS
        assert whole.num_latents == NUM_CONTROLS
        assert found["unseen_win_rate", "keywords"].num_trials == NUM_CONTROLS * NUM_TRIALS
        assert found["unseen_win_rate", compare.ALL].verdict != "off chance"
        if made is other:
            assert whole.verdict == verdict
    assert compare.off_chance_sentence(tiny.run) is None
    said = compare.off_chance_sentence(other.run)
    assert said is not None and said.endswith(".")
    of_others, of_texts = said.split(". Off chance: ")
    assert of_others.count("output win rate") == len(HOOKS)
    assert "unseen" not in of_others
    assert of_texts.count("with unsteered text") == len(HOOKS)
    assert "random direction" not in of_texts


def test_verdicts_are_corrected_for_all_tests_of_the_run(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over all methods one a forced choice and SAE, by method as many more as there are methods."""
    made: list[int] = []

    def recorded(rates: Sequence[float], num_trials: int, num_tests: int = 1) -> ChanceTest:
        made.append(num_tests)
        return chance_test(rates, num_trials, num_tests)

    monkeypatch.setattr(compare, "chance_test", recorded)
    scores = run_scores(tiny.run, "low")
    found = [*compare.chance_tests(scores), *compare.control_text_tests(scores)]
    choices = ["output_win_rate", "unseen_win_rate", *CONTROL_TARGETS]
    whole = len(HOOKS) * len(choices)
    assert len(found) == len(made) == len(choices) * (1 + len(METHODS))
    for (_, method, _), num_tests in zip(found, made, strict=True):
        assert num_tests == (whole if method == compare.ALL else whole * len(METHODS))


@pytest.mark.parametrize("sae", HOOKS)
def test_control_texts_are_told_by_kind_and_method(tiny: Tiny, other: Tiny, sae: str) -> None:
    """Ordinary trials, all of them won here, and trials that were not judged do not count."""
    for made in (tiny, other):
        scores = run_scores(made.run, sae)
        found = {(kind, name): test for kind, name, test in compare.control_text_tests(scores)}
        assert found.keys() == set(product(CONTROL_TARGETS, (compare.ALL, *METHODS)))
        for kind in CONTROL_TARGETS:
            wins = {method: made.values[sae, method, kind, "win"] for method in METHODS}
            whole = found[kind, compare.ALL]
            assert whole.num_latents == NUM_CONTROLS
            assert whole.num_trials == len(METHODS) * NUM_CONTROLS * (NUM_UNITS - 1)
            assert whole.rate == close(mean(v for own in wins.values() for v in own.values()))
            for method in METHODS:
                assert found[kind, method].rate == close(mean(wins[method].values()))
        assert found["random_direction", compare.ALL].verdict != "off chance"
        is_off = found["unsteered", compare.ALL].verdict == "off chance"
        assert is_off == (made is other)
        assert compare.picks(scores, "unsteered").mean == 1.0
        assert compare.picks(scores, "random_direction").mean == close(
            found["random_direction", compare.ALL].rate
        )


def test_wins_against_the_nearest_latent_are_paired_with_those_against_others(tiny: Tiny) -> None:
    scores = run_scores(tiny.run, "low")
    found = {method: (own, more) for method, own, more in compare.against_nearest(scores)}
    assert scores.median_cosine == pytest.approx(0.02 * 7.5)
    for method in METHODS:
        wins = tiny.values["low", method, "neighbour", "win"]
        ordinary = put_in(tiny, "low", method, BY_NAME["output_win_rate"])
        own, more = found[method]
        assert (own.num_latents, own.mean) == (NUM_CONTROLS, close(fmean(wins.values())))
        both = wins.keys() & ordinary.keys()
        assert more.mean.mean == close(fmean(wins[n] - ordinary[n] for n in both))


def test_methods_are_paired_on_the_latents_that_both_have(tiny: Tiny) -> None:
    measure = BY_NAME["input_auroc"]
    pairs = list(compare.method_pairs(run_scores(tiny.run, "low"), measure))
    assert [pair[:2] for pair in pairs] == list(combinations(METHODS, 2))
    for one, two, made in pairs:
        ours, theirs = (put_in(tiny, "low", method, measure) for method in (one, two))
        both = ours.keys() & theirs.keys()
        assert made.mean.mean == close(mean(ours[n] - theirs[n] for n in both))
        assert made.wins == sum(ours[n] > theirs[n] for n in both)
        assert made.wins + made.ties + made.losses == len(both)


def test_runs_are_paired_by_sae_and_latent(tiny: Tiny, other: Tiny) -> None:
    ours, theirs = all_scores(tiny), all_scores(other)
    found = {(m, measure.name): d for m, measure, d in compare.run_pairs(ours, theirs[::-1])}
    assert compare.num_shared(ours, theirs) == len(HOOKS) * NUM_LATENTS
    for (method, name), made in found.items():
        differences = []
        for sae in HOOKS:
            one, two = (put_in(run, sae, method, BY_NAME[name]) for run in (tiny, other))
            differences += [one[n] - two[n] for n in one.keys() & two.keys()]
        assert made.mean.num_latents == len(differences)
        assert made.mean.mean == close(fmean(differences))
        assert made.wins == sum(d > 1e-6 for d in differences)
    assert ("max_act", "output_three_set") in found
    (half,) = {compare.num_shared(ours[:1], theirs)}
    assert half == NUM_LATENTS


def test_correlations_and_thirds_by_hand(tiny: Tiny) -> None:
    scores = run_scores(tiny.run, "low")
    by_measure = [put_in(tiny, "low", "max_act", measure) for measure in MAIN]
    for (one, two), found in zip(
        combinations(by_measure, 2), compare.agreements(scores, "max_act"), strict=True
    ):
        both = sorted(one.keys() & two.keys())
        assert found == close(spearmanr([one[n] for n in both], [two[n] for n in both])[0])
    alive = sorted((7 * n % 24, n) for n in range(NUM_LATENTS) if n not in DEAD)
    ends = [0, 8, 15, 22]  # 22 latents in thirds
    for start, stop, means in zip(
        ends[:-1], ends[1:], compare.by_density(scores, "max_act"), strict=True
    ):
        third = {n for _, n in alive[start:stop]}
        for values, made in zip(by_measure, means, strict=True):
            assert made.mean == close(mean(values[n] for n in third & values.keys()))


def test_csv_holds_every_line_and_its_control(tiny: Tiny) -> None:
    stream = io.StringIO()
    compare.write_csv(all_scores(tiny), stream)
    rows = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert list(rows[0]) == (
        "run sae method control score n mean low high floor lift lift_low lift_high p".split()
    )
    lines = [(s.sae, line) for s in all_scores(tiny) for line in compare.lines(s)]
    own = [row for row in rows if not row["control"]]
    assert len(own) == len(lines)
    for row, (sae, line) in zip(own, lines, strict=True):
        assert (row["run"], row["sae"], row["method"]) == ("first", sae, line.method)
        assert float(row["mean"]) == line.mean.mean
        assert row["lift"] == ("" if line.lift.mean.mean is None else str(line.lift.mean.mean))
        control = next(
            r
            for r in rows
            if r["control"] == "shuffled"
            and all(r[name] == row[name] for name in ("sae", "method", "score"))
        )
        assert control["mean"] == row["floor"] and control["lift"] == ""
    texts = [row for row in rows if row["control"] in CONTROL_TEXTS]
    assert len(texts) == len(HOOKS) * len(CONTROL_TEXTS) * len(METHODS)
    for row in texts:
        wins = tiny.values[row["sae"], row["method"], row["control"], "win"]
        assert (row["score"], int(row["n"]), row["floor"]) == ("output_win_rate", len(wins), "")
        assert float(row["mean"]) == close(fmean(wins.values()))


def test_published_results_are_of_the_papers_models_alone() -> None:
    gemma = published_results("google/gemma-2-2b", "blocks.12.hook_resid_post")
    assert gemma["max_act"] == (56.6, 49.2) and gemma["ensemble_raw"] == (66.6, 64.9)
    llama = published_results("meta-llama/Llama-3.1-8B", "blocks.3.hook_mlp_out")
    assert llama["ensemble_concat_uncapped"] == (39.1, 55.5)
    assert published_results("models/gpt2/", "blocks.3.hook_resid_mid")["token_change"] == (
        25.4,
        43.4,
    )
    assert published_results("google/gemma-2-9b", "blocks.12.hook_resid_post") == {}
    assert published_results("gpt2", "blocks.3.hook_attn_out") == {}


def shown(ours: list[RunScores], theirs: list[RunScores]) -> str:
    console = Console(width=100, file=io.StringIO(), color_system=None)
    for part in comparison(ours, theirs):
        console.print(part)
    assert isinstance(console.file, io.StringIO)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    return "\n".join(lines) + "\n"


def test_report_is_the_golden_one(tiny: Tiny, other: Tiny) -> None:
    report = shown(all_scores(tiny), all_scores(other))
    assert max(map(len, report.splitlines())) <= 100
    assert "\u2026" not in report, "nothing is cut"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(report, encoding="utf-8")
    assert report == GOLDEN.read_text(encoding="utf-8")


def test_published_results_are_told_apart_where_neutral_sentences_are_not_the_papers(
    tiny: Tiny,
) -> None:
    config = tiny.run.config
    score = config.score.model_copy(update={"neutral_sentences": "written"})
    run = replace(tiny.run, config=config.model_copy(update={"score": score}))
    written = shown([run_scores(run, sae) for sae in HOOKS], [])
    assert "published" in written and "written neutral" not in written
    assert "written neutral" in shown(all_scores(tiny), [])


def test_run_without_controls_has_scores_without_floors(quick_run: Run) -> None:
    scores = run_scores(quick_run, "planted")
    assert all(
        line.floor.mean is None for line in compare.lines(scores) if line.measure in MEASURES
    )
    assert list(compare.chance_tests(scores)) == []
    assert compare.off_chance_sentence(quick_run) is None
    assert "input AUROC" in shown([scores], [])


def test_run_without_labels_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    run = Run(tiny.run.config, tiny.run.axes, str(tmp_path))
    with pytest.raises(UserError, match="not published"):
        run_scores(run, "low")
