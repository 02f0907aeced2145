"""A finished run of tables written by hand: scores without any model, for tests of reports."""

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from ray_autointerp.config import Config
from ray_autointerp.plan.controls import CONTROL_TEXTS
from ray_autointerp.plan.flow import step_named
from ray_autointerp.plan.reads import producer_of
from ray_autointerp.plan.shards import Axes, LatentRange, methods_of
from ray_autointerp.records.layout import labels_file
from ray_autointerp.records.schemas import TABLES
from ray_autointerp.records.task import Task
from ray_autointerp.runs.run import Run
from ray_autointerp.runs.tables import Tables
from ray_autointerp.storage.parquet import write_table

METHODS = ("max_act", "ensemble_raw_vocab_proj_token_change", "keywords")
"""One of them has the longest name there is."""
HOOKS = {"low": "blocks.2.hook_resid_post", "high": "blocks.8.hook_mlp_out"}
NUM_LATENTS, NUM_CONTROLS = 24, 16
NUM_UNITS, NUM_TRIALS = 12, 8
DEAD = (20, 21)
LINT = (5,)
"""Latents for which max_act's description is no description."""

By = dict[tuple[str, str, str, str], dict[int, float]]


@dataclass
class Tiny:
    """A run and what was put into it."""

    run: Run
    values: By = field(default_factory=dict)
    """By SAE, variant, table and column: the values that are not null, by latent."""
    chosen_method: dict[tuple[str, int], str] = field(default_factory=dict)


def tiny_run(folder: Path, name: str, seed: int, leak: float = 0.0) -> Tiny:
    """Two SAEs, three methods. `leak` is added to the shuffled win rates on outputs, and to those
    with unsteered text in the target's place.
    """
    config = Config.model_validate(
        {
            "run": {"name": name, "root": str(folder), "seed": 3},
            "subject": {"model": "openai-community/gpt2"},
            "sae": [{"id": sae, "path": sae} for sae in HOOKS],
            "corpus": {"path": "corpus.parquet"},
            "llm": {"backend": "scripted", "script": "judges:fair"},
            "describe": {"methods": METHODS},
            "score": {"methods": METHODS, "three_set_methods": ["max_act"], "fuzzing_texts": 0},
            "select": {"panel": 8, "sample": 8, "controls": NUM_CONTROLS},
        }
    )
    latents = dict.fromkeys(HOOKS, LatentRange(0, NUM_LATENTS))
    axes = Axes(1, latents, NUM_LATENTS, 10, HOOKS, 16, 16)
    tiny = Tiny(Run(config, axes, str(folder / name)))
    for number, sae in enumerate(HOOKS):
        _write_sae(tiny, sae, random.Random(seed + number), leak)
    return tiny


def _write_sae(tiny: Tiny, sae: str, draw: random.Random, leak: float) -> None:
    everyone = range(NUM_LATENTS)
    marks = [
        {
            "latent": n,
            "chosen": True,
            "panel": n < 8,
            "sample": n < 8,
            "control": n < NUM_CONTROLS,
            "order": n,
        }
        for n in everyone
    ]
    _write(tiny, sae, "selection", None, marks)
    stats = [
        {"latent": n, "status": "ok", "density": 0.001 * (7 * n % 24), "is_dead": n in DEAD}
        for n in everyone
    ]
    _write(tiny, sae, "latent_stats", None, stats)
    nearest = [
        {"latent": n, "status": "ok", "neighbours": [{"latent": n ^ 1, "cosine": 0.02 * n}]}
        for n in everyone
    ]
    _write(tiny, sae, "neighbours", None, nearest)
    f1 = [
        {"latent": n, "status": "ok", "f1": draw.random(), "f1_shuffled": draw.random() / 9}
        for n in everyone
    ]
    _write(tiny, sae, "keyword_scores", None, f1)
    for method in METHODS:
        described = [_described(method, n, draw) for n in everyone]
        _write(tiny, sae, "descriptions", method, described)
        _write_scores(tiny, sae, method, everyone, draw, 0.3)
        _write_scores(tiny, sae, f"{method}.shuffled", range(NUM_CONTROLS), draw, 0.0, leak)
        _write_judgements(tiny, sae, method, leak)
    for source in methods_of(step_named("revive"), tiny.run.config):
        _write(tiny, sae, "revivals", source, [_revival(str(source), n) for n in everyone])
    labels: list[dict[str, Any]] = []
    for n in everyone:
        method = draw.choice([m for m in METHODS if m != "max_act" or n not in LINT])
        tiny.chosen_method[sae, n] = method
        labels.append({"latent": n, "status": "ok", "method": method, "chosen": True})
    schema = TABLES["labels"].schema
    table = pa.Table.from_pylist(labels, schema=schema)
    write_table(Tables(tiny.run).store, labels_file(sae), table, schema, {})


def _revival(source: str, latent: int) -> dict[str, Any]:
    """Tokens that the encoder reads revive the first of the dead ones; nothing else does."""
    if latent not in DEAD:
        return {"latent": latent, "status": "alive"}
    row: dict[str, Any] = {"latent": latent, "status": "ok", "revived": False, "num_texts": 20}
    row["activation"] = 0.0
    if latent == DEAD[0] and source == "tokens.reads":
        row |= {"revived": True, "activation": 3.5, "kind": "token", "text": " moor"}
    return row


def _described(method: str, latent: int, draw: random.Random) -> dict[str, Any]:
    if method == "max_act" and latent in LINT:
        return {"latent": latent, "status": "lint"}
    text = " ".join(["word"] * draw.randint(2, 9))
    return {"latent": latent, "status": "ok", "description": text}


def _write_scores(
    tiny: Tiny,
    sae: str,
    variant: str,
    latents: range,
    draw: random.Random,
    lift: float,
    leak: float = 0.0,
) -> None:
    """A true description gets `lift` more than a shuffled one, cut at 1."""

    def rate(more: float, trials: int) -> float:
        return min(1.0, sum(draw.random() < 0.5 + more for _ in range(trials)) / trials)

    rows: dict[str, list[dict[str, Any]]] = {}
    for n in latents:
        columns: dict[str, dict[str, Any]] = {
            "input_scores": {
                "difference_over_max": lift + draw.random() / 5,
                "auroc": rate(lift, 20),
                "hit_rate": rate(lift, 10),
                "paper_success": draw.choice([0.0, 0.5, 1.0]),
            },
            "output_scores": {
                "win_rate": rate(lift / 2 + leak, NUM_UNITS),
                "three_set_success": draw.choice([0.0, 1.0]) if "max_act" in variant else None,
                "word_overlap_win_rate": rate(lift / 3, NUM_UNITS),
                "num_units": NUM_UNITS,
            },
            "unseen_scores": {
                "win_rate": rate(lift / 4, NUM_TRIALS),
                "word_overlap_win_rate": rate(0.0, NUM_TRIALS),
                "num_trials": NUM_TRIALS,
            },
            "detection_scores": {"auroc": rate(lift, 20), "near_miss_auroc": None},
        }
        for table, values in columns.items():
            status = "ok"
            if variant == "max_act" and n in LINT or table == "detection_scores" and n in DEAD:
                values, status = {}, "no_evidence"
            rows.setdefault(table, []).append({"latent": n, "status": status, **values})
    for table, made in rows.items():
        _write(tiny, sae, table, variant, made)


def _write_judgements(tiny: Tiny, sae: str, method: str, leak: float) -> None:
    """Every ordinary trial is won; the judge picks a control text whenever it wins, or is sure of
    the unsteered one. One trial of each latent was not judged.
    """
    draw = random.Random(f"{tiny.run.uri.rpartition('/')[2]} {sae} {method}")
    rows = []
    for n in range(NUM_LATENTS):
        for kind in ("two_set", *(sorted(CONTROL_TEXTS) if n < NUM_CONTROLS else ())):
            chance = {"two_set": 1.0, "unsteered": 0.5 + leak}.get(kind, 0.5)
            wins = [float(draw.random() < chance) for _ in range(NUM_UNITS)]
            for unit, win in enumerate(wins[1:], start=1):
                right = 1.0 if kind == "unsteered" else win
                rows.append(_judgement(n, kind, unit, win=win, right=right))
            rows.append(_judgement(n, kind, 0, status="unreadable"))
            tiny.values[sae, method, kind, "win"] = {
                **tiny.values.get((sae, method, kind, "win"), {}),
                n: sum(wins[1:]) / (NUM_UNITS - 1),
            }
    made = producer_of("judgements", method)
    count = -(-NUM_LATENTS // 10)
    for shard in range(count):
        part = [row for row in rows if row["latent"] // 10 == shard]
        task = Task(made.name, sae, method, shard, count)
        Tables(tiny.run).write(task, "judgements", part)


def _judgement(latent: int, kind: str, unit: int, **columns: Any) -> dict[str, Any]:
    key = {"latent": latent, "kind": kind, "text_set": unit, "sign": 1, "kl_target": 1.0}
    return {**key, "choosing": False, "status": "ok", **columns}


def _write(
    tiny: Tiny, sae: str, table: str, variant: str | None, rows: list[dict[str, Any]]
) -> None:
    tables, kind = Tables(tiny.run), producer_of(table, variant)
    size = 10 if kind.split == "selection" else len(rows)
    count = -(-len(rows) // size)
    for shard in range(count):
        part = rows[shard * size : (shard + 1) * size]
        tables.write(Task(kind.name, sae, variant, shard, count), table, part)
    for row in rows:
        for column, value in row.items():
            if isinstance(value, float):
                of_column = tiny.values.setdefault((sae, variant or "", table, column), {})
                of_column[row["latent"]] = value
