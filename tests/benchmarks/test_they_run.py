"""Every benchmark still runs, on toys; what it measures there means nothing."""

import importlib
import json
import logging
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ray_autointerp.config import Config
from ray_autointerp.config_file import read_config
from ray_autointerp.models.planted import PlantedTruth
from ray_autointerp.plan.estimate import estimate
from ray_autointerp.plan.evidence import EXPLAINERS
from ray_autointerp.preflight.forecast import forecast
from ray_autointerp.prompts import sentences
from ray_autointerp.prompts.shown import Shown
from ray_autointerp.runs.run import Run

PACKAGE = "ray_autointerp"
FOLDER = str(Path(__file__).parents[2] / "jobs" / "benchmarks")

Bench = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Run a script's `main` with arguments; the JSON lines it prints."""

    def run(name: str, *arguments: str) -> list[dict[str, Any]]:
        monkeypatch.syspath_prepend(FOLDER)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        level, threads = logging.getLogger(PACKAGE).level, torch.get_num_threads()
        importlib.import_module(name).main()
        logging.getLogger(PACKAGE).setLevel(level)
        torch.set_num_threads(threads)
        lines = capsys.readouterr().out.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    return run


def races(rows: list[dict[str, Any]]) -> list[str]:
    return [row["race"] for row in rows if "race" in row]


def test_token_change_races(
    bench: Bench, planted_config: Callable[..., Config], tmp_path: Path
) -> None:
    model = planted_config(tmp_path).subject.model
    small = ("--rounds", "1", "--directions", "2")
    rows = bench("token_change", "--model", model, "--layer", "0", *small)
    assert len(races(rows)) == 1 + 6 + 2
    # Not that it is positive: what is reckoned from differences of times may be anything here.
    assert all(math.isfinite(row["ratio"]) for row in rows if "race" in row)


def test_active_race(bench: Bench, planted_run: Run) -> None:
    rows = bench("token_change_active", planted_run.uri, "--latents", "4", "--rounds", "1")
    assert [row["mode"] for row in rows if "mode" in row] == ["all", "active"]
    assert len(races(rows)) == 2


def test_max_act_race(bench: Bench) -> None:
    rows = bench("max_act", "--tokens", "512", "--rounds", "1")
    assert rows[0]["ratio"] > 0


def test_output_power_of_a_toy(bench: Bench, planted: PlantedTruth, tmp_path: Path) -> None:
    """On the planted model the diffs say all, and the list the one token that matters."""
    small = ("--latents", "5", "--windows", "4", "--jacobian-windows", "4")
    rows = bench("output_power", str(planted.config), "--root", str(tmp_path), *small)
    (found,) = (row for row in rows if "powers" in row)
    assert found["latents"] == 5 and len(found["powers"]) == 4 * 2 * 5
    rates = {
        (p["observer"], p["kl_target"], p["texts_per_set"]): p["win_rate"] for p in found["powers"]
    }
    assert rates["linear observer", 1.0, 12] == 1
    assert 0.7 < rates["list judge", 1.0, 12] < 1
    tokens = list(found["tokens_per_question"].values())
    assert tokens == sorted(tokens) and tokens[0] > 100


def test_every_reading_of_an_sae_is_measured(
    bench: Bench, planted: PlantedTruth, tmp_path: Path
) -> None:
    """The forms that mean the same are the same; of the planted SAE's weights, read as TopK."""
    sae = Path(shutil.copytree(planted.folder / "sae", tmp_path / "sae"))
    told = json.loads((sae / "cfg.json").read_text())
    top_k = {"architecture": "topk", "k": 4, "rescale_acts_by_decoder_norm": False}
    (sae / "cfg.json").write_text(json.dumps(told | top_k | {"apply_b_dec_to_input": True}))
    small = ("--sae", str(sae), "--earlier", str(sae), "--tokens", "500")
    rows = bench("sae_fit", str(planted.config), str(tmp_path / "work"), *small)
    found = {(row["reading"], row["subject"]): row for row in rows}
    assert len(rows) == 9 + 14
    stored = found["as stored", "as it is"]
    for row in rows:
        if row["right"] and row["subject"] == "as it is" and "JumpReLU" not in row["reading"]:
            assert row["unexplained"] == pytest.approx(stored["unexplained"], rel=1e-4)
            assert row["l0"] == pytest.approx(stored["l0"], rel=1e-4)
    assert found["TopK read as ReLU", "as it is"]["architecture"] == "standard"
    assert found["as stored", "random weights"]["unexplained"] != stored["unexplained"]


def test_prompts_are_raced_by_what_their_descriptions_score(
    bench: Bench, quick_run: Run, tmp_path: Path
) -> None:
    """The scripted explainer reads the marks: a variant without them has nothing to say."""
    cut = ("--methods", "max_act", "--variants", "list-alone", "cap-20", "--latents", "6")
    command = ("prompts", quick_run.uri, *cut, "--cache", str(tmp_path / "cache"))
    (row,) = bench(*command)
    found = {variant["variant"]: variant for variant in row["variants"]}
    assert set(found) == {"packaged", "list-alone", "cap-20", "packaged, shuffled"}
    assert found["packaged"]["is_chosen"] and found["packaged"]["detection"] == 1
    assert found["cap-20"]["detection_lift"]["mean"] == 0
    assert found["list-alone"]["detection"] < 0.7
    assert found["packaged, shuffled"]["detection"] < 0.8
    files = sorted((tmp_path / "cache").rglob("*.parquet"))
    assert bench(*command) == [row] and sorted((tmp_path / "cache").rglob("*.parquet")) == files


def test_prompt_is_chosen_on_half_and_told_on_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed description counts as the floor; a latent that no variant is judged on, not."""
    monkeypatch.syspath_prepend(FOLDER)
    prompts = importlib.import_module("prompts")

    def raced(*scores: float | None, failed: int = 0) -> Any:
        status = {i: "lint" if i == failed else "ok" for i in range(1, 6)}
        rows = {i: {"status": status[i], "description": "a b"} for i in status}
        by_latent = dict(zip(status, scores, strict=True))
        return prompts.Raced(rows, by_latent, dict.fromkeys(status), 7.0, num_copied=failed)

    found = {
        "packaged": raced(0.6, 0.6, 0.9, 0.9, None),
        "other": raced(0.7, 0.7, 0.8, None, None, failed=4),
    }
    shown, rows = prompts.table(found, SimpleNamespace(raced=range(1, 6), choosing=[1, 2]))
    by_name = {row["variant"]: row for row in rows}
    assert [row["variant"] for row in rows] == ["packaged", "other"]
    assert by_name["other"]["is_chosen"] and not by_name["packaged"]["is_chosen"]
    assert (by_name["packaged"]["copied"], by_name["other"]["copied"]) == (0, 4)
    assert by_name["other"]["choosing"] == pytest.approx(0.7)
    assert by_name["other"]["held_out"] == pytest.approx((0.8 + 0.5) / 2)
    lift = by_name["other"]["detection_lift"]
    assert (lift["num_latents"], lift["mean"]) == (2, pytest.approx((-0.1 - 0.4) / 2))
    assert "| other * | 0.700 | 0.650 | -0.250 (-0.400 to -0.100) |" in shown


def test_every_variant_of_a_prompt_asks_something_else(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """By its instructions, worked examples, evidence or cap; and its files are read."""
    monkeypatch.syspath_prepend(FOLDER)
    variants = importlib.import_module("prompt_variants")
    tokens = [{"text": f" word{n}", "logit": 1.0} for n in range(30)]
    lists = {"status": "ok", "promoted": tokens, "suppressed": tokens}
    example = {"texts": ["a", " cat", " sat"], "activations": [0.0, 2.0, 1.0]}
    quoted = ", ".join(f'"{n}"' for n in range(20))
    keywords = {"status": "ok", "trigger": f"a space, {quoted}", "promotes": quoted}
    rows: dict[str, Any] = {
        "jacobian_proj": [lists],
        "vocab_proj": [lists],
        "token_change": [{**lists, "sign": 1}],
        "top_examples": [{"split": "explain", "status": "ok", "examples": [example] * 30}],
        "descriptions/keywords": [keywords],
    }
    describe = {"num_examples": 10, "num_tokens_shown": 12, "cap_words": 30}
    for method in variants.METHODS:
        asked = {}
        for name, variant in variants.variants_of(method).items():
            with_own = describe | variant.describe
            shown = Shown(with_own["num_examples"], with_own["num_tokens_shown"], 2.0)
            explainer = variants.explainer_of(method, name, variant, tmp_path)
            question = explainer.question(rows, shown, with_own["cap_words"], False)
            asked[name] = (question.messages, question.read("cat " * 8, "stop"))
        assert len(asked) > 8
        assert len({str(one) for one in asked.values()}) == len(asked), method
        packaged = EXPLAINERS[method].question(rows, Shown(10, 12, 2.0), 30, False)
        assert packaged is not None and asked["packaged"][0] == packaged.messages


def test_prompts_of_sentences_are_raced_by_the_input_score(
    bench: Bench, quick_run: Run, tmp_path: Path
) -> None:
    """The scripted writer reads the question alone: other examples change nothing."""
    cut = ("--variants", "explained", "such-as", "--latents", "6")
    command = ("sentence_prompts", quick_run.uri, *cut, "--cache", str(tmp_path / "cache"))
    (row,) = bench(*command)
    found = {variant["variant"]: variant for variant in row["variants"]}
    assert set(found) == {"packaged", "explained", "such-as"}
    assert found["packaged"]["auroc"] > 0.9 and found["packaged"]["latents"] == 6
    assert found["packaged"]["auroc_over_shuffled"]["mean"] > 0.3
    assert (
        found["explained"]["auroc_lift"]["mean"] == found["explained"]["hit_rate_lift"]["mean"] == 0
    )
    files = sorted((tmp_path / "cache").rglob("*.parquet"))
    assert bench(*command) == [row] and sorted((tmp_path / "cache").rglob("*.parquet")) == files


def test_every_variant_of_the_sentence_prompt_asks_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    race = importlib.import_module("sentence_prompts")
    names = ["packaged", *race.variant_names(), "explained+two-examples"]
    description = 'fires on "a"; promotes "b"'
    own = (sentences.ACTIVATING, description, 2)
    asked = {name: race.asked_with(name, sentences.ask)(*own) for name in names}
    assert asked["packaged"] == sentences.ask(*own)
    assert len(set(asked.values())) == len(asked) > 8
    assert "fires on" not in asked["such-as"][-1].content


def test_gpu_races_on_a_toy(bench: Bench) -> None:
    small = ("--rounds", "1", "--directions", "2", "--latents", "2")
    rows = bench("gpu", "--tiny", *small)
    assert len(races(rows)) == 1 + 6 + 3 + 3 + 1
    profiles = [row["profile"] for row in rows if "profile" in row]
    assert profiles == ["passes", "max_act", "measured"]


def test_our_side_of_the_delphi_race_keeps_every_non_zero(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(FOLDER)
    importlib.import_module("max_act_delphi").make(tmp_path, 256, 4096)
    small = ("--folder", str(tmp_path), "--tokens", "4096")
    (row,) = bench("max_act_delphi", "--side", "ours", *small)
    assert row["nonzeros"] == 4096 * 32


def test_schedule_bench_drives_every_task(bench: Bench) -> None:
    (whole,) = bench("schedule", "--width", "2048")
    assert whole["num_driven"] == whole["num_tasks"] > 500
    (rest,) = bench("schedule", "--width", "1024", "--saes", "2", "--resume")
    assert 0 < rest["num_driven"] < rest["num_tasks"]


def test_matching_bench_finds_planted_latents_again(capfd: pytest.CaptureFixture[str]) -> None:
    """Copies of one direction (correlation 1) are told apart by nothing."""
    command = [sys.executable, f"{FOLDER}/matching.py", "--settings", "256:0.3:0.1:0", "256:0:0:1"]
    subprocess.run(command, check=True)
    found = [json.loads(x) for x in capfd.readouterr().out.splitlines() if x.startswith("{")]
    assert found[0]["precision"] == found[0]["recall"] == 1
    assert found[1]["precision"] < 0.5 and found[1]["nearest"]["precision"] < 0.5
    assert all(row["peak_mb"] >= row["before_mb"] > 0 for row in found)


def test_checkpoints_bench_matches_an_sae_with_itself(bench: Bench, planted: PlantedTruth) -> None:
    itself = ("--earlier", str(planted.folder / "sae"), "--tokens", "512")
    rows = bench("matching_checkpoints", str(planted.config), *itself)
    shares = [row for row in rows if "threshold" in row]
    assert {row["matched"] for row in shares} == {1} and {row["moved"] for row in shares} == {0}
    found = {row["cosine"]: row for row in rows if "cosine" in row}
    assert found["0.99 to 1"]["latents"] == rows[0]["latents"]
    assert found["0.99 to 1"]["correlation_quartiles"] == [1, 1, 1]


def test_carry_over_of_a_checkpoint_onto_itself_keeps_every_label(
    bench: Bench, planted: PlantedTruth, tmp_path: Path
) -> None:
    itself = ("--earlier", str(planted.folder / "sae"), "--root", str(tmp_path))
    rows = bench("carry_over", str(planted.config), *itself, "--latents", "50")
    curve = [row for row in rows if "threshold" in row]
    assert all(row["auroc"] == row["auroc_before"] and row["lost"] == 0 for row in curve)
    found = rows[-1]
    assert found["matched"] == 1 and found["saved"] == pytest.approx(found["kept"])
    assert 0 < found["calls"] < found["calls_anew"]


def test_hours_of_a_cluster(bench: Bench, planted: PlantedTruth) -> None:
    """Never below what any schedule could reach; busy GPUs' time is the work of the tasks."""
    subject = str(read_config(planted.config).subject.model)
    small = ("--cases", "16k", "--rules", "all", "--latents", "512", "--workers", "1")
    rows = bench("cluster_hours", *small, "--gpus", "1", "3", "--tokenizer", subject)
    assert [(row["gpus"], row["in_turns"]) for row in rows] == [(1, True), (3, rows[1]["in_turns"])]
    for row in rows:
        assert row["hours"] >= row["bound_hours"] > 0
        assert row["hours"] * row["gpus"] >= row["work_hours"] > 0
        assert row["money"] == pytest.approx(3 * row["gpus"] * row["hours"], rel=0.01)
    assert rows[1]["hours"] < rows[0]["hours"]
    assert rows[0]["work_hours"] == rows[1]["work_hours"]


def test_virtual_gpus_do_all_work_and_idle_only_where_they_must(
    monkeypatch: pytest.MonkeyPatch, planted: PlantedTruth
) -> None:
    """Without starts and tables, one GPU that the pools take turns on idles for cpu steps alone."""
    monkeypatch.syspath_prepend(FOLDER)
    hours, events, rates = map(
        importlib.import_module, ("cluster_hours", "cluster_events", "cluster_rates")
    )
    names = ("subject_start_s", "engine_start_s", "task_s", "answer_token_s", "top_examples_s")
    names += ("keywords_s", "publish_s")
    free = rates.Rates(**dict.fromkeys(names, 0.0), corpus_tokens=1e12, sae_bytes_per_s=1e15)
    subject = read_config(planted.config).subject.model
    case = hours.build("16k", "all", Path(subject), free, 512)
    alone = case.ran(events.Workers(1, 1, 1, take_turns=True))
    worked = sum(pool.work for pool in alone.pools.values())
    assert alone.seconds == pytest.approx(worked, rel=1e-6)
    many = case.ran(events.Workers(3, 5, 8))
    for name in ("subject", "llm"):
        assert many.pools[name].work == pytest.approx(alone.pools[name].work)
    assert many.num_tasks == alone.num_tasks
    bound = events.lower_bound(alone, case.ran(None).seconds, 8)
    assert bound <= many.seconds < alone.seconds
    lines = estimate(case.config, case.axes, rates.NUM_LAYERS, rates.LAYER)
    assert alone.num_tasks == sum(line.num_tasks for line in lines)
    tokens = sum(
        (usage.num_prompt_tokens - usage.num_cached_tokens) / free.prompt_tokens
        + usage.num_generated_tokens / free.generated_tokens
        for usage in forecast(case.config, case.axes).steps.values()
    )
    assert alone.pools["llm"].work == pytest.approx(tokens, rel=0.01)


def test_viewer(bench: Bench, tmp_path: Path) -> None:
    (row,) = bench("viewer", "--latents", "40", "--rounds", "1", "--keep", str(tmp_path))
    for page in ("first_page_s", "search_s", "latent_page_s"):
        assert len(row[page]) == 3
    assert (tmp_path / "synthetic" / "manifest.json").exists()
