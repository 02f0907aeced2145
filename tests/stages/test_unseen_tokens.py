"""Unseen tokens on a planted truth with families of words: what is shown, who wins, who does not.

Latent i promotes its effect and 59 more words of its family; evidence shows the first of them.
"""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from chance import is_at_chance

from ray_autointerp.cluster.progress import Silent
from ray_autointerp.config import Config
from ray_autointerp.config_file import parse_config, read_config
from ray_autointerp.execution.run_local import run_local
from ray_autointerp.llm.client import Answer, Request
from ray_autointerp.llm.scripted import ScriptedLLM, planted_script
from ray_autointerp.methods.intervals import wilson_interval
from ray_autointerp.models.planted import PlantedTruth, write_planted
from ray_autointerp.pipeline import label
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.shards import tasks_of
from ray_autointerp.reports.latent_card import latent_card
from ray_autointerp.runs.context import WorkerContext
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Row, Tables
from ray_autointerp.stages import unseen_tokens

SAE = "planted"
METHODS = ("ensemble_raw", "keywords")
LATENTS = 40
Script = Callable[[Request], Answer]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> PlantedTruth:
    return write_planted(
        tmp_path_factory.mktemp("families"), num_latents=LATENTS, num_dead=2, family=60
    )


def config(truth: PlantedTruth, root: Path, **score: Any) -> Config:
    raw = read_config(truth.config).model_dump(mode="json")
    raw["run"]["root"] = str(root)
    raw["select"] |= {"rule": "all", "panel": LATENTS, "sample": 3}
    raw["evidence"] |= {"change_modes": ["all"]}
    raw["describe"]["methods"] = METHODS
    raw["score"] |= {"methods": METHODS, "num_units": 1, "num_draws": 1, "three_set_methods": []}
    raw["score"] |= {"num_unseen_trials": 8, "num_choosing_trials": 4, **score}
    raw["steering"] |= {"num_prompts": 3, "new_tokens": 2, "kl_targets": [0.5]}
    return parse_config(raw, truth.config)


@pytest.fixture(scope="module")
def run(truth: PlantedTruth, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return label(config(truth, tmp_path_factory.mktemp("runs")), run_local, Silent())


def trials_of(run: Run, method: str = METHODS[0]) -> list[Row]:
    found: list[Row] = Tables(run).read("unseen_judgements", SAE, method).to_pylist()
    return found


def scores_of(run: Run, method: str = METHODS[0]) -> list[Row]:
    found: list[Row] = Tables(run).read("unseen_scores", SAE, method).to_pylist()
    return found


def rerun(
    run: Run,
    method: str,
    *,
    script: Script = planted_script,
    shift: int = 0,
    latents: list[int] | None = None,
) -> dict[str, list[Row]]:
    """What the stage would write if each latent had the description of `shift` latents on."""
    tasks = tasks_of(
        step_named("unseen_tokens"), run.config, run.axes, {SAE: Tables(run).selected(SAE)}
    )
    written: dict[str, list[Row]] = {"unseen_judgements": [], "unseen_scores": []}
    for task in [task for task in tasks or () if task.method == method]:
        context: Any = WorkerContext(run).for_task(task, ScriptedLLM(script))
        tables = context.tables
        read = tables.row

        def row(table: str, sae: str, wanted: list[int], *more: str, read: Any = read) -> Any:
            if table != "descriptions":
                return read(table, sae, wanted, *more)
            others = read(table, sae, list(range(LATENTS)), *more)
            return {latent: others[(latent + shift) % LATENTS] for latent in wanted}

        tables.row = row
        if latents is not None:
            shard = tables.chosen(task)
            tables.chosen = lambda _, shard=shard: [one for one in shard if one in latents]
        context.write = lambda _, table, rows: written[table].extend(rows)
        asyncio.run(unseen_tokens.run(task, context))
    return written


def folded(texts: Any) -> set[str]:
    return {text.strip().casefold() for text in texts}


def shown_to_explainers(run: Run) -> Iterator[tuple[int, set[str]]]:
    """By latent, every token that its evidence lists show, and the held-out ranking's first 20."""
    tables = Tables(run)
    latents = list(tables.selection(SAE))
    read = {
        name: tables.rows(name, SAE, latents, mode)
        for name, mode in (
            ("jacobian_proj", None),
            ("vocab_proj", None),
            ("token_change", "all"),
            ("held_out_change", None),
        )
    }
    for latent in latents:
        rows = [row for name in read for row in read[name][latent] if row.get("sign", 1) == 1]
        rows = [row for row in rows if row.get("strength", "maximum") == "maximum"]
        yield latent, folded(entry["text"] for row in rows for entry in row["promoted"][:20])


def test_true_descriptions_win_on_tokens_that_they_cannot_have_copied(
    run: Run, truth: PlantedTruth
) -> None:
    for method in METHODS:
        for row in scores_of(run, method):
            assert (row["status"], row["num_trials"]) == ("ok", 8)
            assert row["win_rate"] == 1 and row["mean_lift"] > 5
            assert row["win_rate_low"] == pytest.approx(wilson_interval(1.0, 8).low)
        words = fmean(row["word_overlap_win_rate"] for row in scores_of(run, method))
        assert words == pytest.approx(0.5, abs=0.05), "nothing of the lists stands in the evidence"
    for row in trials_of(run):
        family = truth.effects[row["latent"]]
        assert fmean(token.startswith(family) for token in row["tokens"]) > 0.9


def test_shuffled_descriptions_are_at_chance(run: Run) -> None:
    wins = [
        row["win"]
        for method in METHODS
        for shift in (7, 11, 17)
        for row in rerun(run, method, shift=shift)["unseen_judgements"]
        if row["status"] == "ok"
    ]
    assert len(wins) > 2000
    assert is_at_chance(fmean(wins), len(wins))


def test_no_list_holds_a_token_that_evidence_shows_of_either_latent(run: Run) -> None:
    shown = dict(shown_to_explainers(run))
    for row in trials_of(run):
        pair = shown[row["latent"]] | shown[row["partner"]]
        assert len(pair) >= 40
        own, other = folded(row["tokens"]), folded(row["partner_tokens"])
        assert not (own | other) & pair and not own & other
        assert len(own) == len(row["tokens"]) == len(row["partner_tokens"]) == len(other) > 0
        assert len({row["latent"], row["partner"], row["stranger"]}) == 3


@pytest.mark.parametrize("table", ["jacobian_proj", "vocab_proj", "token_change"])
@pytest.mark.parametrize("side", ["promoted", "suppressed"])
def test_token_that_evidence_shows_is_not_unseen(
    run: Run, monkeypatch: pytest.MonkeyPatch, table: str, side: str
) -> None:
    """Whatever its place in the held-out ranking, and in whatever spelling."""
    listed = next(row["tokens"][0] for row in trials_of(run) if row["latent"] == 3)
    read = Tables.rows

    def showing(self: Tables, name: str, *args: Any, **kwargs: Any) -> Any:
        found = read(self, name, *args, **kwargs)
        if name == table and 3 in found:
            entry = {"text": f" {listed.upper()}"}
            found[3] = [{**row, side: [entry, *row[side]]} for row in found[3]]
        return found

    monkeypatch.setattr(Tables, "rows", showing)
    trials = rerun(run, METHODS[0], latents=[3])["unseen_judgements"]
    assert all(listed not in row["tokens"] and row["tokens"] for row in trials)


def test_choosing_trials_share_no_token_with_the_published_ones_and_are_not_counted(
    run: Run,
) -> None:
    by_latent: dict[int, dict[bool, list[Row]]] = {}
    for row in trials_of(run):
        by_latent.setdefault(row["latent"], {False: [], True: []})[row["choosing"]].append(row)
    assert len(by_latent) == LATENTS
    draws = []
    for trials in by_latent.values():
        assert [row["trial"] for row in trials[False]] == list(range(8))
        assert [row["trial"] for row in trials[True]] == list(range(4))
        published, choosing = (
            folded(token for row in trials[side] for token in row["tokens"])
            for side in (False, True)
        )
        assert published and choosing and not published & choosing
        draws.append(
            fmean(
                (a["partner"], a["stranger"]) == (b["partner"], b["stranger"])
                for a, b in zip(trials[False], trials[True], strict=False)
            )
        )
    assert fmean(draws) < 0.1, "draws of their own"

    def only_choosing_wins(request: Request) -> Answer:
        answer = planted_script(request)
        is_published = any(token in request.messages[1].content for token in odd)
        return Answer("A", "stop", choice_logprobs={"A": 0.0, "B": 0.0}) if is_published else answer

    odd = {token for row in trials_of(run) if not row["choosing"] for token in row["tokens"]}
    again = rerun(run, METHODS[0], script=only_choosing_wins, latents=[5])
    choosing_wins = [row["win"] for row in again["unseen_judgements"] if row["choosing"]]
    assert choosing_wins and again["unseen_scores"][0]["win_rate"] == 0.5


def test_trial_of_a_latent_does_not_depend_on_its_shard(run: Run) -> None:
    alone = rerun(run, METHODS[0], latents=[9, 31])
    whole = [row for row in rerun(run, METHODS[0])["unseen_judgements"] if row["latent"] in (9, 31)]
    assert alone["unseen_judgements"] == whole
    published = [row for row in trials_of(run) if row["latent"] in (9, 31)]
    assert [row["tokens"] for row in published] == [row["tokens"] for row in whole]


def test_judge_without_logprobs_leaves_a_status_and_no_rate(run: Run) -> None:
    written = rerun(run, METHODS[0], script=lambda request: Answer("neither", "stop"), latents=[3])
    assert {row["status"] for row in written["unseen_judgements"]} == {"unreadable"}
    (score,) = written["unseen_scores"]
    assert (score["status"], score["win_rate"], score["num_trials"]) == ("unreadable", None, 0)


def test_latent_without_a_description_is_not_judged(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_: Request) -> Answer:
        raise AssertionError("nothing is to be asked")

    described = Tables.rows

    def none_ok(self: Tables, table: str, *args: Any, **kwargs: Any) -> Any:
        rows = described(self, table, *args, **kwargs)
        if table == "descriptions":
            return {i: [{**row, "status": "refused"} for row in rows[i]] for i in rows}
        return rows

    monkeypatch.setattr(Tables, "rows", none_ok)
    written = rerun(run, METHODS[0], script=failing, latents=[3])
    assert {row["status"] for row in written["unseen_judgements"]} == {"no_evidence"}
    assert written["unseen_scores"][0]["status"] == "no_evidence"


def test_labels_and_cards_hold_the_win_rate(run: Run) -> None:
    for row in Tables(run).read("labels", SAE).to_pylist():
        assert row["unseen_win_rate"] == 1
        assert 0.6 < row["unseen_win_rate_low"] < row["unseen_win_rate_high"] == 1
    card = latent_card(run, SAE, 0)
    scored = [d.scores["unseen_tokens"] for d in card.descriptions if "unseen_tokens" in d.scores]
    assert [row["win_rate"] for row in scored] == [1, 1]


def test_no_trials_switch_the_step_off(truth: PlantedTruth, run: Run, tmp_path: Path) -> None:
    off = config(truth, tmp_path, num_unseen_trials=0)
    assert tasks_of(step_named("unseen_tokens"), off, run.axes, {}) in ([], None)
    few = {"rule": "sample", "num_latents": 3, "panel": 3}
    off = off.model_copy(update={"select": off.select.model_copy(update=few)})
    made = label(off, run_local, Silent())
    assert not list(Path(made.uri).glob("**/unseen_*"))
    labels = Tables(made).read("labels", SAE).to_pylist()
    assert {row["unseen_win_rate"] for row in labels} == {None}
    chosen = next(row["latent"] for row in labels if row["chosen"])
    assert all("unseen_tokens" not in d.scores for d in latent_card(made, SAE, chosen).descriptions)
